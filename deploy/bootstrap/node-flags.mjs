/** The flags of the Node that runs the compiled `main.js`: in, its arguments; out, what stands before them. */

const ALWAYS = ['--enable-source-maps', '--disable-warning=ExperimentalWarning']
/**
 * The young generation grows with what comes by, to 128 MB on a large machine: objects of a moment, of which a process
 * that takes in events makes millions. With 8 MB it costs as much CPU time (docs/decisions/0008-kafka-bus.md).
 */
const SMALL_YOUNG_GENERATION = '--max-semi-space-size=4'

export function nodeFlags(args) {
  const takesEvents = args.includes('stream') || (args.includes('stage') && args.includes('upload'))
  return takesEvents ? [...ALWAYS, SMALL_YOUNG_GENERATION] : ALWAYS
}
