/**
 * Child processes: a tool of the set-up, whose output is kept until it fails, and the command itself,
 * which gets the terminal. Signals that end this process are passed to whichever runs; where setpriv is
 * there, a child also ends when this process is killed outright: the command by SIGTERM, a tool by SIGKILL
 * (npm takes a SIGTERM as time to tidy up, into the next set-up's work).
 */

import { spawn, spawnSync } from 'node:child_process'
import { constants } from 'node:os'

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP']
/** Ctrl-C reaches this process from the terminal and once more through npm: one press, one signal. */
const SAME_PRESS_MS = 500
/** How often to see whether the npm that started this is still there. */
const PARENT_CHECK_MS = 500
/** What is kept of a tool's output; its end tells what went wrong. */
const KEPT_CHARACTERS = 20_000

const running = new Set()
let stoppedBy
let canTie

/** A signal ended the set-up: there is nothing to explain. */
export class Stopped extends Error {
  constructor(signal) {
    super(`stopped by ${signal}`)
    this.signal = signal
  }
}

/** 128+n for a signal, as shells have it. */
export function exitCodeOf({ code, signal }) {
  return signal ? 128 + constants.signals[signal] : code
}

export function forwardSignals() {
  for (const signal of FORWARDED) {
    let last = 0
    process.on(signal, () => {
      const now = Date.now()
      if (now - last < SAME_PRESS_MS) return
      last = now
      stop(signal)
    })
  }
  if (process.env.npm_lifecycle_event) watchParent()
}

function stop(signal) {
  stoppedBy = signal
  for (const child of running) child.kill(signal)
  if (running.size === 0) process.exit(exitCodeOf({ signal }))
}

/** A signal to npm may end the shell between npm and this process without ever coming here. */
function watchParent() {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    stop('SIGTERM')
  }, PARENT_CHECK_MS)
  timer.unref()
}

/**
 * Runs a tool of the set-up with its output kept aside.
 * Resolves to `{ code, signal, output }`; a tool that cannot be started has code 127.
 */
export async function runTool(file, args, { cwd, env, timeoutMs } = {}) {
  const child = spawnTied('KILL', file, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const timer = timeoutMs && setTimeout(() => child.kill('SIGTERM'), timeoutMs)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-KEPT_CHARACTERS)
    })
  }
  const result = await ended(child, 'close')
  clearTimeout(timer)
  if (stoppedBy) throw new Stopped(stoppedBy)
  return { ...result, output: output || (result.error?.message ?? '') }
}

/** Runs the command with this process's stdin, stdout and stderr; resolves to the exit code to end with. */
export async function handOver(file, args, { env } = {}) {
  if (stoppedBy) throw new Stopped(stoppedBy)
  const result = await ended(spawnTied('TERM', file, args, { env, stdio: 'inherit' }), 'exit')
  if (result.error) throw result.error
  return exitCodeOf(result)
}

function spawnTied(deathSignal, file, args, options) {
  canTie ??= spawnSync('setpriv', ['--pdeathsig', 'TERM', '--', 'true'], { stdio: 'ignore' }).status === 0
  const tie = canTie ? ['setpriv', '--pdeathsig', deathSignal, '--'] : []
  const [first, ...rest] = [...tie, file, ...args]
  return spawn(first, rest, options)
}

function ended(child, event) {
  running.add(child)
  return new Promise((resolve) => {
    const settle = (result) => {
      running.delete(child)
      resolve(result)
    }
    child.on('error', (error) => settle({ code: 127, signal: null, error }))
    child.on(event, (code, signal) => settle({ code, signal }))
  })
}
