/**
 * One real node on a free port of the loopback, with data of its own that go with it. It dies with the process that
 * started it, however that ends: its launcher is killed with its parent, and it ends when its launcher is gone.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { installElasticsearch } from './install.ts'

export interface NodeOptions {
  /** Over those of the tests. */
  settings?: Record<string, string>
  heapMb?: number
  /** How to ask whether it is up, where plain HTTP is not answered. */
  probe?(url: string): Promise<boolean>
  scheme?: 'http' | 'https'
  /** Puts files into the folder of its configuration. */
  configure?(dir: string): void
}

export interface Node extends AsyncDisposable {
  readonly url: string
  /** Of the server itself. */
  readonly pid: number
  /** SIGKILL, at once. */
  kill(): Promise<void>
  stop(): Promise<void>
  /** Starts it again with the same port and data. */
  restart(): Promise<void>
}

const READY_LIMIT_MS = 120_000
const STOP_LIMIT_MS = 30_000
const NOBODY = 65534
const SETPRIV = '/usr/bin/setpriv'
const JVM = '-XX:TieredStopAtLevel=1 -XX:-UseG1GC -XX:+UseSerialGC -XX:-AlwaysPreTouch'

export async function startNode(options: NodeOptions = {}): Promise<Node> {
  const home = await installElasticsearch()
  const dir = mkdtempSync(join(tmpdir(), 'pcap-pipeline-elasticsearch-'))
  const [http, transport] = [await freePort(), await freePort()]
  const { scheme = 'http', heapMb = 512, settings = {}, configure, probe = isUp } = options
  cpSync(join(home, 'config'), join(dir, 'config'), { recursive: true })
  for (const name of ['data', 'logs', 'tmp']) mkdirSync(join(dir, name))
  configure?.(join(dir, 'config'))
  const isRoot = process.getuid?.() === 0
  if (isRoot) execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, dir])
  const url = `${scheme}://127.0.0.1:${http}`
  let child: ChildProcess | undefined
  let output = ''

  async function start(): Promise<void> {
    const all = {
      'http.host': '127.0.0.1',
      'http.port': String(http),
      'transport.host': '127.0.0.1',
      'transport.port': String(transport),
      'discovery.type': 'single-node',
      'path.data': join(dir, 'data'),
      'path.logs': join(dir, 'logs'),
      'xpack.security.enabled': 'false',
      'cluster.routing.allocation.disk.threshold_enabled': 'false',
      ...settings,
    }
    rmSync(join(dir, 'tmp', 'pid'), { force: true })
    const command = [
      join(home, 'bin', 'elasticsearch'),
      '-p',
      join(dir, 'tmp', 'pid'),
      ...Object.entries(all).map(([name, value]) => `-E${name}=${value}`),
    ]
    const asNobody = isRoot ? ['--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups'] : []
    const wrapped = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'KILL', ...asNobody, ...command] : command
    const env = {
      PATH: process.env.PATH,
      ES_PATH_CONF: join(dir, 'config'),
      ES_TMPDIR: join(dir, 'tmp'),
      ES_JAVA_HOME: process.env.ES_JAVA_HOME ?? javaHome(),
      CLI_JAVA_OPTS: '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC',
      ES_JAVA_OPTS: `-Xms${heapMb}m -Xmx${heapMb}m ${JVM}`,
    }
    output = ''
    const started = spawn(wrapped[0] as string, wrapped.slice(1), { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] })
    child = started
    for (const stream of [started.stdout, started.stderr])
      stream?.on('data', (data: Buffer) => {
        output = `${output}${data}`.slice(-20_000)
      })
    const deadline = Date.now() + READY_LIMIT_MS
    while (!(await probe(url))) {
      if (started.exitCode !== null || Date.now() > deadline)
        throw new Error(`Elasticsearch did not start:\n${output.slice(-3000)}`)
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    const running = child
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
    const ended = once(running, 'exit')
    // The launcher passes SIGTERM on; SIGKILL must reach the server itself.
    if (signal === 'SIGKILL') process.kill(serverPid(), signal)
    else running.kill(signal)
    const limit = setTimeout(() => running.kill('SIGKILL'), STOP_LIMIT_MS)
    await ended
    clearTimeout(limit)
  }

  function serverPid(): number {
    return Number(readFileSync(join(dir, 'tmp', 'pid'), 'utf8'))
  }

  async function dispose(): Promise<void> {
    await end('SIGKILL')
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
  }

  try {
    await start()
  } catch (error) {
    child?.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
    throw error
  }
  return {
    url,
    get pid() {
      return serverPid()
    },
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    restart: start,
    [Symbol.asyncDispose]: dispose,
  }
}

async function isUp(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/_cluster/health?wait_for_status=yellow&timeout=1s`)
    return answer.ok
  } catch {
    return false
  }
}

/** Two levels above what `java` on the PATH is. */
function javaHome(): string {
  return execFileSync('readlink', ['-f', execFileSync('which', ['java'], { encoding: 'utf8' }).trim()], {
    encoding: 'utf8',
  })
    .trim()
    .replace(/\/bin\/java$/, '')
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
