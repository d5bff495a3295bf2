/** Runs the command line as a user would, from the sources, with a data directory of its own. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MAIN = join(import.meta.dirname, '../../src/main.ts')

export interface Answer {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface Home extends Disposable {
  dir: string
  dataDir: string
  inbox: string
  /** Starts a command and leaves it running. */
  start(...args: string[]): ChildProcess
  /** Runs a command to its end. */
  run(...args: string[]): Promise<Answer>
  /** The rows of a query. */
  rows<T = Record<string, unknown>>(sql: string): Promise<T[]>
}

/** `through` is a command that runs what comes behind it: as another user, or in a mount namespace. */
export function makeHome(settings: Record<string, string> = {}, { through = [] as readonly string[] } = {}): Home {
  const dir = mkdtempSync(join(tmpdir(), 'pcap-pipeline-'))
  const dataDir = join(dir, 'data')
  const started = new Set<ChildProcess>()
  const env = {
    PATH: process.env.PATH,
    HOME: dir,
    DATA_DIR: dataDir,
    STABILITY_INTERVAL_MS: '300',
    RESCAN_INTERVAL_MS: '500',
    // Many run side by side; those that are about the pages ask for a port of their own.
    HTTP_ENABLED: 'false',
    HTTP_PORT: '0',
    ...settings,
  }

  function start(...args: string[]): ChildProcess {
    const [command = '', ...rest] = [...through, process.execPath, MAIN, ...args]
    const child = spawn(command, rest, { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] })
    started.add(child)
    child.once('exit', () => started.delete(child))
    return child
  }

  async function run(...args: string[]): Promise<Answer> {
    const child = start(...args)
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout?.on('data', (data: Buffer) => stdout.push(data))
    child.stderr?.on('data', (data: Buffer) => stderr.push(data))
    const [code, signal] = await once(child, 'close')
    return { code, signal, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }
  }

  async function rows<T>(sql: string): Promise<T[]> {
    const { code, stdout, stderr } = await run('query', sql, '--format', 'json')
    if (code !== 0) throw new Error(`query failed (${code}): ${stderr}`)
    return JSON.parse(stdout)
  }

  return {
    dir,
    dataDir,
    inbox: join(dataDir, 'inbox'),
    start,
    run,
    rows,
    [Symbol.dispose]() {
      for (const child of started) child.kill('SIGKILL')
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
