import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { readCapture } from '../../../../src/capture/reader.ts'
import { openTsharkEngine, type TsharkEngineOptions } from '../../../../src/engines/tshark/engine.ts'
import { PARTS_FROM_BYTES } from '../../../../src/engines/tshark/parts.ts'
import type { ConvertRequest, Engine } from '../../../../stages/ports.ts'
import { accountBalances } from '../../../../state/capture.ts'
import { PipelineError } from '../../../../state/errors.ts'
import { scratch } from '../../capture/files.ts'
import { captureOf, request } from '../capture-of.ts'
import { ip4, type Sent, udp } from '../flows/packets.ts'

const SAMPLE = new URL('../../../fixtures/sample.pcap', import.meta.url).pathname
const CORPUS = new URL('../../../../../shared/corpus/', import.meta.url).pathname
const POISONED = new URL('../../../support/poisoned-worker.ts', import.meta.url)
const here = existsSync(CORPUS)
const where = here ? '' : ' (skipped: no ../shared/corpus here)'

async function convert(engine: Engine, capturePath: string, more: Partial<ConvertRequest> = {}) {
  const ask = await request(capturePath, more)
  const result = await engine.convert(ask)
  const lines: Record<string, string[]> = {}
  for (const name of (await readdir(ask.outDir)).sort())
    lines[name] = (await readFile(join(ask.outDir, name), 'utf8')).trimEnd().split('\n')
  return { result, lines }
}

const convertWith = async (path: string, options: TsharkEngineOptions, more?: Partial<ConvertRequest>) =>
  convert(await openTsharkEngine(options), path, more)

const sorted = (lines: Record<string, string[]>) =>
  Object.fromEntries(Object.entries(lines).map(([log, all]) => [log, [...all].sort()]))

/** Questions of many hosts to one server, so many bytes each. */
const questions = (count: number, size = 100): Sent[] =>
  Array.from({ length: count }, (_, n) => ({
    at: n / 1000,
    data: ip4({
      src: `10.0.${(n >> 8) & 255}.${n & 255}`,
      dst: '192.0.2.1',
      protocol: 17,
      payload: udp(40_000 + (n & 1023), 9999, Buffer.alloc(size, `question ${n} `)),
    }),
  }))

const says = (host: string, words: string, at = 0): Sent => ({
  at,
  data: ip4({ src: host, dst: '198.51.100.7', protocol: 17, payload: udp(5000, 6000, words) }),
})

describe('a capture in parts', () => {
  it('gives the same lines in the same order, however many workers there are', async () => {
    const path = await captureOf(join(await scratch(), 'large.pcap'), questions(7500, 1200))
    expect(readFileSync(path).length).toBeGreaterThan(PARTS_FROM_BYTES)
    const [one, two, three] = [
      await convertWith(path, { parallel: 1 }),
      await convertWith(path, { parallel: 2 }),
      await convertWith(path, { parallel: 3 }),
    ]
    expect(one.lines['conn.ndjson']).toHaveLength(7500)
    expect(two).toEqual(one)
    expect(three).toEqual(one)
  })

  it('gives the records that it gives as a whole, uids included', async () => {
    const whole = await convertWith(SAMPLE, { parallel: 1 })
    const parts = await convertWith(SAMPLE, { parallel: 2, partsFromBytes: 0 })
    expect(sorted(parts.lines)).toEqual(sorted(whole.lines))
    expect(parts.result.packets).toEqual(whole.result.packets)
    expect(parts.result.logs).toEqual(whole.result.logs)
  })

  it('corrects the clock in every part as it does in the whole', async () => {
    const clock = { clockOffsetUs: -90_000_001 }
    const whole = await convertWith(SAMPLE, { parallel: 1 }, clock)
    const parts = await convertWith(SAMPLE, { parallel: 2, partsFromBytes: 0 }, clock)
    expect(sorted(parts.lines)).toEqual(sorted(whole.lines))
    const first = async (more: Partial<ConvertRequest>) =>
      (await convertWith(SAMPLE, { parallel: 1 }, more)).result.packets.firstTime as number
    expect((await first(clock)) - (await first({}))).toBeCloseTo(-90.000001, 6)
  })

  // A packet of the year 1970 or 2100 moves the clock for all flows of its part; as a whole, for all flows.
  const TIMES_JUMP = new Set(['brimcap--in.pcap', 'brimcap--zero.pcap'])

  it.skipIf(!here)(
    `gives the records that it gives as a whole, over captures of every kind${where}`,
    { timeout: 240_000 },
    async () => {
      const whole = await openTsharkEngine({ parallel: 1 })
      const parts = await openTsharkEngine({ parallel: 2, partsFromBytes: 0 })
      const plain = join(await scratch(), 'plain')
      const different: string[] = []
      let captures = 0
      for (const dir of ['pcaps', 'pcaps-unpaired'])
        for (const name of readdirSync(join(CORPUS, dir))) {
          const bytes = readFileSync(join(CORPUS, dir, name))
          writeFileSync(plain, name.endsWith('.gz') ? gunzipSync(bytes) : bytes)
          try {
            const [a, b] = [await convert(whole, plain), await convert(parts, plain)]
            captures++
            const same =
              JSON.stringify([sorted(a.lines), a.result.packets]) ===
              JSON.stringify([sorted(b.lines), b.result.packets])
            if (!same && !TIMES_JUMP.has(name)) different.push(name)
          } catch (error) {
            if (!(error instanceof PipelineError && error.code === 'capture_not_recognized')) throw error
          }
        }
      expect(different).toEqual([])
      expect(captures).toBeGreaterThan(500)
    },
  )
})

/** 300 questions of as many hosts, and a flow of five datagrams of which the middle one says `words`. */
async function poisoned(words: string | string[], options: TsharkEngineOptions = {}) {
  const bad = [words].flat()
  const path = await captureOf(join(await scratch(), 'poisoned.pcap'), [
    ...questions(300),
    says('10.9.9.9', 'good day', 1),
    ...bad.map((each, n) => says('10.9.9.9', each, 2 + n / 10)),
    says('10.9.9.9', 'goodbye', 3),
  ])
  const handed: { text: string; packets: number; reason: string }[] = []
  const { result, lines } = await convertWith(path, {
    parallel: 2,
    worker: POISONED,
    onPoison: async (file, reason) => {
      let [text, packets] = ['', 0]
      await readCapture(file, {
        onPacket({ buffer, offset, capLen }) {
          text += buffer.toString('latin1', offset + 28, offset + capLen)
          packets++
        },
      })
      handed.push({ text, packets, reason })
    },
    ...options,
  })
  const conn = lines['conn.ndjson']?.map((line) => JSON.parse(line)) ?? []
  expect(accountBalances(result.packets)).toBe(true)
  expect(result.packets.inFile).toBe(302 + bad.length)
  return { result, conn, handed, flow: conn.filter((row) => row['id.orig_h'] === '10.9.9.9') }
}

describe('a capture that no worker can take', { timeout: 180_000 }, () => {
  const small = { memoryBytes: 256 << 20 }
  it.each([
    ['stands still', 'STAND STILL', 'the dissection stood still', { silenceMs: 3000 }],
    ['fills its heap', 'EAT MEMORY', 'more than 256 MB of memory', small],
    ['takes memory beside its heap', 'EAT BUFFERS', 'more than 256 MB of memory', small],
    ['ends by itself', 'GO AWAY', 'exit code 7', {}],
    ['aborts', 'ABORT', 'SIGABRT', {}],
    ['is killed', 'KILLED', 'SIGSEGV', {}],
    ['throws what nobody has foreseen', 'THROW UP', 'nobody has foreseen this', {}],
  ])('loses only the packet on which a worker %s: it is handed out, and counted', async (_, words, why, options) => {
    for (const partsFromBytes of [0, 1e9]) {
      const { result, conn, handed, flow } = await poisoned(words, { ...options, partsFromBytes })
      expect(handed).toEqual([{ text: words, packets: 1, reason: expect.stringContaining(why) }])
      expect(result.packets).toMatchObject({ decoded: 302, skipped: { poison: 1 } })
      expect(conn).toHaveLength(301)
      // The rest of its flow is one flow still.
      expect(flow).toMatchObject([{ orig_pkts: 2, duration: 2 }])
      expect(result.warnings).toEqual([expect.stringMatching(/^1 packet set aside: /)])
    }
  })

  it('loses several packets that fail in several ways, each a capture of its own', async () => {
    const words = ['GO AWAY', 'so far so good', 'ABORT', 'THROW UP']
    const { handed, flow, result } = await poisoned(words)
    expect(handed.map(({ text }) => text)).toEqual(['GO AWAY', 'ABORT', 'THROW UP'])
    expect(flow).toMatchObject([{ orig_pkts: 3 }])
    expect(result.packets.skipped).toEqual({ poison: 3 })
  })

  it('is divided further where no single packet is to blame, by hosts and then by time', async () => {
    // A hundred of them are too many for a worker, and so are fifty.
    const words = Array.from({ length: 100 }, () => 'BIT BY BIT')
    const { handed, conn, result } = await poisoned(words, small)
    expect(handed).toEqual([])
    expect(result.packets).toMatchObject({ decoded: 402, skipped: {} })
    const sent = conn.filter((row) => row['id.orig_h'] === '10.9.9.9').map((row) => row.orig_pkts)
    expect(sent.length).toBeGreaterThan(1)
    expect(sent.reduce((sum, n) => sum + n, 0)).toBe(102)
  })

  it('loses only the one packet after which a worker fails, when others are in hand, or none', async () => {
    const { handed, result, flow } = await poisoned('TRIP THEN FALL')
    expect(handed).toEqual([
      { text: 'TRIP THEN FALL', packets: 1, reason: expect.stringContaining('it has tripped before') },
    ])
    expect(result.packets).toMatchObject({ decoded: 302, skipped: { poison: 1 } })
    expect(flow.reduce((sum, { orig_pkts }) => sum + orig_pkts, 0)).toBe(2)
  })

  it('is tried again later when a worker ends before there is anything to dissect', async () => {
    const path = await captureOf(join(await scratch(), 'undivided.pcap'), questions(3))
    const converting = convertWith(path, { worker: POISONED, partsFromBytes: 0 })
    await expect(converting).rejects.toMatchObject({ code: 'engine_failed', retryable: true })
  })

  it('is set aside as a whole in the end where nearly all of it is poison', async () => {
    const { handed, result, conn } = await poisoned(Array.from({ length: 200 }, () => 'GO AWAY'))
    expect(handed.reduce((sum, { packets }) => sum + packets, 0)).toBe(result.packets.skipped.poison)
    expect(result.packets.skipped.poison).toBeGreaterThanOrEqual(200)
    expect(conn.length).toBeGreaterThanOrEqual(300)
  })
})
