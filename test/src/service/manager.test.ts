import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openServiceManager } from '../../../src/service/manager.ts'
import { hasPerl, type Listener, listen } from '../../support/datagrams.ts'
import { recordingLog, until } from '../../support/pipeline.ts'

const LAUNCH = join(import.meta.dirname, '../../../deploy/systemd/launch')
const MAIN = join(import.meta.dirname, '../../../src/main.ts')
const where = hasPerl ? '' : ' (skipped: no perl here)'

async function socketOf(name: string): Promise<{ dir: string; socket: Listener }> {
  const dir = mkdtempSync(join(tmpdir(), 'service-'))
  const socket = await listen(dir, name)
  onTestFinished(() => {
    socket[Symbol.dispose]()
    rmSync(dir, { recursive: true, force: true })
  })
  return { dir, socket }
}

const textsOf = ({ received }: Listener) => received.map(String)

/** The service as its unit starts it. */
function startService(dir: string, env: Record<string, string>, ...args: string[]): ChildProcess {
  const settings = { DATA_DIR: join(dir, 'data'), HTTP_PORT: '0', LOG_FILE: 'off', STOP_TIMEOUT_SECONDS: '7' }
  const child = spawn(LAUNCH, [process.execPath, MAIN, ...args], {
    cwd: dir,
    env: { PATH: process.env.PATH, HOME: dir, ...settings, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

describe.skipIf(!hasPerl)(`a service that systemd watches${where}`, () => {
  it.each(['run', 'stage split', 'serve'])(
    '%s tells that it is ready, that it is alive, and that it stops',
    async (command) => {
      const { dir, socket } = await socketOf('notify')
      const child = startService(dir, { NOTIFY_SOCKET: socket.path, WATCHDOG_USEC: '400000' }, ...command.split(' '))
      await until(() => textsOf(socket).some((text) => text.startsWith('READY=1\nSTATUS=')), 'READY')
      const signs = () => textsOf(socket).filter((text) => text === 'WATCHDOG=1\n').length
      await until(() => signs() > 3, 'signs of life')
      child.kill('SIGTERM')
      expect(await once(child, 'exit')).toEqual([0, null])
      await until(() => textsOf(socket).some((text) => text.startsWith('STOPPING=1\n')), 'STOPPING')
      expect(textsOf(socket).find((text) => text.startsWith('STOPPING=1\n'))).toContain(
        'EXTEND_TIMEOUT_USEC=17000000\n',
      )
    },
  )

  it('gives no sign of life once its event loop stands still', async () => {
    const { dir, socket } = await socketOf('notify')
    const child = startService(dir, { NOTIFY_SOCKET: socket.path, WATCHDOG_USEC: '400000' }, 'stage', 'split')
    await until(() => textsOf(socket).includes('WATCHDOG=1\n'), 'a sign of life')
    child.kill('SIGSTOP')
    await new Promise((resolve) => setTimeout(resolve, 200))
    const before = socket.received.length
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(socket.received).toHaveLength(before)
  })

  it('needs no watchdog, and one that is meant for another process is not its own', async () => {
    const { dir, socket } = await socketOf('notify')
    startService(dir, { NOTIFY_SOCKET: socket.path, WATCHDOG_USEC: '200000', WATCHDOG_PID: '1' }, 'stage', 'split')
    await until(() => socket.received.length > 0, 'READY')
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(textsOf(socket).filter((text) => text.includes('WATCHDOG'))).toEqual([])
  })

  it('runs all the same when nobody listens', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'service-'))
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
    const child = startService(dir, { NOTIFY_SOCKET: join(dir, 'nobody') }, 'tables')
    const said: Buffer[] = []
    child.stderr?.on('data', (data) => said.push(data))
    expect(await once(child, 'close')).toEqual([0, null])
    expect(Buffer.concat(said).toString()).toMatch(/^<4>.*nobody cannot be reached: /)
  })
})

describe('signs of life', () => {
  it('cost nothing where nobody asked for them, also with a descriptor that is no socket', () => {
    const fd = openSync('/dev/null', 'w')
    onTestFinished(() => closeSync(fd))
    const manager = openServiceManager({ notifyFd: fd, watchdogMs: 1000 })
    let looks = 0
    using _watch = manager.watch(() => {
      looks++
      return undefined
    }, recordingLog())
    manager.ready('x')
    expect(looks).toBe(0)
  })

  it.skipIf(!hasPerl)(`stay away while something stands still, which is said once${where}`, async () => {
    const { socket } = await socketOf('notify')
    const script = `
      const { openServiceManager } = await import(${JSON.stringify(join(import.meta.dirname, '../../../src/service/manager.ts'))})
      const { serviceEnvironment } = await import(${JSON.stringify(join(import.meta.dirname, '../../../src/config.ts'))})
      const manager = openServiceManager(serviceEnvironment())
      const started = Date.now()
      const log = { error: (message, { why }) => console.log(message + ': ' + why) }
      manager.watch(() => {
        if (Date.now() - started > 600) process.exit(0)
        if (Date.now() - started > 300) throw new Error('the ledger is gone')
      }, log)
      setInterval(() => {}, 1000)`
    const child = spawn(LAUNCH, [process.execPath, '--input-type=module', '-e', script], {
      env: { PATH: process.env.PATH, NOTIFY_SOCKET: socket.path, WATCHDOG_USEC: '80000' },
    })
    let said = ''
    child.stdout.on('data', (data) => {
      said += data
    })
    await once(child, 'close')
    const texts = textsOf(socket)
    const last = texts.lastIndexOf('WATCHDOG=1\n')
    expect(last).toBeGreaterThan(2)
    expect(texts.slice(last + 1)).toEqual(['STATUS=Error: the ledger is gone\n'])
    expect(said.match(/stands still.*the ledger is gone/g)).toHaveLength(1)
  })
})
