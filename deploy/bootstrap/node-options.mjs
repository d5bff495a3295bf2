/** How the Node that runs the compiled `main.js` is started: in, its arguments; out, its flags and its environment. */

const ALWAYS = ['--enable-source-maps', '--disable-warning=ExperimentalWarning']
/**
 * For a process that takes events in (docs/decisions/0008-kafka-bus.md). The young generation grows with what comes by,
 * millions of objects of a moment, to 128 MB on a large machine; with 8 MB it costs as much CPU time. And freed memory
 * lies about in the arenas of the C library, one for each thread.
 */
const SMALL = { flags: ['--max-semi-space-size=4'], env: { MALLOC_ARENA_MAX: '2' } }

/** What the environment says already is left as it is. */
export function nodeOptions(args, env = process.env) {
  const takesEvents = args.includes('stream') || (args.includes('stage') && args.includes('upload'))
  return takesEvents
    ? { flags: [...ALWAYS, ...SMALL.flags], env: { ...SMALL.env, ...env } }
    : { flags: ALWAYS, env: { ...env } }
}
