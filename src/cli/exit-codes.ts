/** What the process says to whoever called it. Documented in the README. */
export const EXIT = {
  ok: 0,
  /** Something failed that the message tells. */
  failed: 1,
  /** The command line or a setting is wrong. */
  usage: 2,
  /** A capture's receipt does not balance, or a file was refused. */
  unbalanced: 3,
  /** The query was refused or cannot be answered. */
  query: 4,
  /** `doctor` found an error. */
  unwell: 5,
} as const
