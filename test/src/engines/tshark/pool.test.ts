import { fork } from 'node:child_process'
import { once } from 'node:events'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { findCutOff } from '../../../../src/engines/cut-off.ts'
import type { PassRequest } from '../../../../src/engines/tshark/pass.ts'
import { createPool } from '../../../../src/engines/tshark/pool.ts'
import { isAlive } from '../../../support/alive.ts'
import { scratch } from '../../capture/files.ts'
import { captureOf } from '../capture-of.ts'
import { ip4, udp } from '../flows/packets.ts'

const SAMPLE = new URL('../../../fixtures/sample.pcap', import.meta.url).pathname
const POISONED = new URL('../../../support/poisoned-worker.ts', import.meta.url)

const POOL_THAT_HANGS = new URL('../../../support/pool-that-hangs.ts', import.meta.url).pathname
const { isOffline: offline, endsWithParent: withParent } = await findCutOff()

const passOver = async (capturePath: string): Promise<PassRequest> => ({
  captureId: 'c'.repeat(64),
  source: { capturePath },
  outPath: join(await scratch(), 'lines'),
})

const packetThatSays = async (words: string): Promise<PassRequest> => {
  const data = ip4({ src: '10.0.0.1', dst: '10.0.0.2', protocol: 17, payload: udp(5000, 6000, words) })
  return passOver(await captureOf(join(await scratch(), 'one.pcap'), [{ at: 0, data }]))
}

const never = { signal: new AbortController().signal }

const MB = 1 << 20
const usual = { workers: 1, memoryBytes: 512 * MB, silenceMs: 20_000 }
const isHere = process.platform === 'linux'
const where = isHere ? '' : ' (skipped: no /proc here)'

describe('the pool', () => {
  it('runs more passes than it has workers, and tells how far each is', async () => {
    const pool = createPool({ ...usual, workers: 2 })
    const progress: number[] = []
    const onProgress = ({ packets }: { packets: number }) => progress.push(packets)
    const pass = await passOver(SAMPLE)
    const results = await Promise.all(Array.from({ length: 5 }, () => pool.pass(pass, { ...never, onProgress })))
    for (const result of results) expect(result).toEqual(results[0])
    expect(results[0]).toMatchObject({ faults: [], packets: results[0]?.account?.inFile })
    expect(progress).toEqual(Array.from({ length: 5 }, () => results[0]?.packets))
  })

  it('tells how a worker failed, whatever it was, and goes on with another', { timeout: 120_000 }, async () => {
    const pool = createPool({ ...usual, memoryBytes: 256 * MB, silenceMs: 3000, worker: POISONED })
    const crashed = (how: string) => ({
      code: 'engine_failed',
      details: { crashed: true },
      message: expect.stringContaining(how),
    })
    const cases: [string, object][] = [
      ['STAND STILL', { code: 'engine_timeout' }],
      ['EAT MEMORY', { code: 'engine_memory' }],
      ['GO AWAY', crashed('exit code 7')],
      ['ABORT', crashed('SIGABRT')],
      ['KILLED', crashed('SIGSEGV')],
      ['THROW UP', crashed('nobody has foreseen this')],
    ]
    for (const [words, failure] of cases)
      await expect(pool.pass(await packetThatSays(words), never), words).rejects.toMatchObject(failure)
    expect((await pool.pass(await packetThatSays('good day'), never)).packets).toBe(1)
  })

  it.skipIf(!isHere)(`ends a worker whose buffers, which no heap limit counts, take too much${where}`, async () => {
    const pool = createPool({ ...usual, memoryBytes: 256 * MB, worker: POISONED })
    const eats = await packetThatSays('EAT BUFFERS')
    await expect(pool.pass(eats, never)).rejects.toMatchObject({ code: 'engine_memory' })
  })

  it('tells a worker that does not start from one that fails: that is no fault of a capture', async () => {
    const pool = createPool({ ...usual, worker: new URL('file:///no/such/worker.ts') })
    await expect(pool.pass(await passOver(SAMPLE), never)).rejects.toMatchObject({
      code: 'engine_failed',
      retryable: true,
      message: expect.stringContaining('could not be started'),
      details: {},
    })
  })

  it.skipIf(!offline)(`gives its workers no network${offline ? '' : ' (skipped: no namespaces here)'}`, async () => {
    const pool = createPool({ ...usual, worker: POISONED })
    const tells = await packetThatSays('TELL YOUR NETWORK')
    await expect(pool.pass(tells, never)).rejects.toThrow('my network is lo.')
  })

  it.skipIf(!withParent)(
    `leaves no worker behind, also one that stands still, when its process is killed${withParent ? '' : ' (skipped: no setpriv here)'}`,
    async () => {
      const { source } = await packetThatSays('STAND STILL')
      const { capturePath } = source as { capturePath: string }
      const parent = fork(POOL_THAT_HANGS, [capturePath], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
      const [worker] = (await once(parent, 'message')) as [number]
      expect(isAlive(worker)).toBe(true)
      parent.kill('SIGKILL')
      await vi.waitFor(() => expect(isAlive(worker)).toBe(false), { timeout: 5000 })
    },
  )

  it('lets the tasks of a higher priority go first', async () => {
    const pool = createPool(usual)
    const pass = await passOver(SAMPLE)
    const order: string[] = []
    const run = (name: string, priority: number) =>
      pool.pass(pass, { ...never, priority }).then(() => void order.push(name))
    await Promise.all([run('first', 0), run('second', 0), run('urgent', 1)])
    expect(order).toEqual(['first', 'urgent', 'second'])
  })

  it('ends a pass when the caller gives up, one that waits as well', async () => {
    const pool = createPool({ ...usual, worker: POISONED })
    const control = new AbortController()
    const options = { signal: control.signal }
    const stands = await packetThatSays('STAND STILL')
    const both = Promise.allSettled([pool.pass(stands, options), pool.pass(stands, options)])
    setTimeout(() => control.abort(new Error('shutdown')), 200)
    const reason = expect.objectContaining({ message: 'shutdown' })
    expect(await both).toEqual([
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ])
  })

  it('hands failures on as what they are: of the capture, and of the system', async () => {
    const pool = createPool(usual)
    const none = join(await scratch(), 'none')
    await writeFile(none, 'not a capture')
    await expect(pool.pass(await passOver(none), never)).rejects.toMatchObject({ code: 'capture_not_recognized' })
    const gone = { ...(await passOver(SAMPLE)), uidPath: join(await scratch(), 'no/such/folder') }
    await expect(pool.pass(gone, never)).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

it('a pass that is repeated replaces what the first has left in the same file', async () => {
  const sent = Array.from({ length: 40_000 }, (_, n) => ({
    at: n / 1000,
    data: ip4({ src: `10.1.${n >> 8}.${n & 255}`, dst: '10.0.0.2', protocol: 17, payload: udp(n, 6001, 'good day') }),
  }))
  const path = await captureOf(join(await scratch(), 'many.pcap'), sent)
  const pool = createPool(usual)
  const pass = await passOver(path)
  const first = await pool.pass(pass, never)
  const { size } = await stat(pass.outPath)
  expect(first.pieces).toContainEqual(
    expect.objectContaining({ log: 'conn', records: 40_000, path: pass.outPath, tail: '' }),
  )
  expect(await pool.pass(pass, never)).toEqual(first)
  expect((await stat(pass.outPath)).size).toBe(size)
})
