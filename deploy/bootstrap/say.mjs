/** The voice of the set-up: every message goes to stderr, for stdout belongs to the command. */

export function say(message) {
  process.stderr.write(`setup: ${message}\n`)
}

/** A failure that was foreseen: its message says what is wrong and what to do. */
export class SetupError extends Error {}

/** What a set-up step took, for its closing message. */
export function secondsSince(started) {
  return `${((Date.now() - started) / 1000).toFixed(1)} s`
}
