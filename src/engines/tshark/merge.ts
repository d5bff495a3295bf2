/**
 * Puts the logs of a capture's parts together. Out: one file a log, the parts one after another, and what was written. What Zeek says once a capture, and each part has said for itself, is said once.
 */

import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { PipelineError } from '../../../state/errors.ts'
import type { Piece } from './pass.ts'

interface Written {
  records: number
  bytes: number
}

const BLOCK_BYTES = 256 << 10
const LF = 10

/** In: the pieces of all passes, in the order of the parts. */
export async function mergeLogs(pieces: readonly Piece[], outDir: string): Promise<Record<string, Written>> {
  const written: Record<string, Written> = {}
  const logs = [...new Set(pieces.map(({ log }) => log))].sort()
  for (const log of logs) {
    const parts = pieces.filter((piece) => piece.log === log && piece.records > 0)
    if (parts.length === 0) continue
    const repeat = REPEATS[log]
    await using file = await open(join(outDir, `${log}.ndjson`), 'w')
    written[log] =
      repeat === undefined || parts.length === 1 ? await append(parts, file) : await appendOnce(parts, file, repeat)
  }
  return written
}

async function append(parts: readonly Piece[], file: FileHandle): Promise<Written> {
  const buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES)
  let [records, bytes] = [0, 0]
  for (const piece of parts) {
    for await (const block of blocksOf(piece, buffer)) {
      await file.appendFile(block)
      bytes += block.length
    }
    records += piece.records
  }
  return { records, bytes }
}

/** Each is valid until the next one is asked for. */
async function* blocksOf({ path, ranges, tail }: Piece, buffer: Buffer): AsyncGenerator<Buffer> {
  if (path !== undefined) {
    await using file = await open(path)
    for (const [offset, length] of ranges)
      for (let done = 0; done < length; ) {
        const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, length - done), offset + done)
        if (bytesRead === 0) throw new PipelineError('artifact_damaged', `${path} ends too early`, { retryable: true })
        yield buffer.subarray(0, bytesRead)
        done += bytesRead
      }
  }
  if (tail !== '') yield Buffer.from(tail)
}

type Fields = Record<string, unknown> & { ts: number }

/** What makes a record the same as another, and for how many seconds that is not told again. */
type Repeat = (record: Fields) => { key: string; within: number } | undefined

const REPEATS: Record<string, Repeat> = { x509: certificate, weird: oddity }

/** Zeek logs a certificate again only after a day. */
function certificate({ fingerprint, host_cert, client_cert }: Fields) {
  return { key: `${fingerprint} ${host_cert} ${client_cert}`, within: 86_400 }
}

/** What is weird about a log is told once; about packets of no flow, once in ten minutes for a pair of addresses. */
function oddity({ uid, name, addl, 'id.orig_h': orig, 'id.resp_h': resp }: Fields) {
  if (uid !== undefined) return undefined
  if (name === 'log_container_field_truncated') return { key: `${name} ${addl}`, within: Number.POSITIVE_INFINITY }
  return { key: orig === undefined ? String(name) : `${name} ${orig} ${resp}`, within: 600 }
}

/** A hostile capture may have any number of them; those beyond are told, repeated or not. */
const MAX_REMEMBERED = 500_000

/** Each part has left its own repetitions out: those of different parts remain. The earliest stays. */
async function appendOnce(parts: readonly Piece[], file: FileHandle, repeat: Repeat): Promise<Written> {
  const kept = await earliest(parts, repeat)
  let [records, bytes] = [0, 0]
  for await (const lines of linesOf(parts)) {
    const text = lines
      .filter((line) => {
        const record: Fields = JSON.parse(line)
        const same = repeat(record)
        const times = same && kept.get(same.key)
        if (times === undefined) return true
        const at = times.indexOf(record.ts)
        if (at >= 0) times.splice(at, 1)
        return at >= 0
      })
      .map((line) => {
        records++
        return `${line}\n`
      })
      .join('')
    await file.appendFile(text)
    bytes += Buffer.byteLength(text)
  }
  return { records, bytes }
}

/** Of each record that is there more than once: the times at which it is told. */
async function earliest(parts: readonly Piece[], repeat: Repeat): Promise<Map<string, number[]>> {
  const seen = new Map<string, { times: number[]; within: number }>()
  let count = 0
  for await (const lines of linesOf(parts)) {
    for (const line of lines) {
      const record: Fields = JSON.parse(line)
      const same = repeat(record)
      if (same === undefined || ++count > MAX_REMEMBERED) continue
      const known = seen.get(same.key)
      if (known === undefined) seen.set(same.key, { times: [record.ts], within: same.within })
      else known.times.push(record.ts)
    }
  }
  // Of none is it known whether it was there before.
  if (count > MAX_REMEMBERED) return new Map()
  return new Map([...seen].map(([key, { times, within }]) => [key, spaced(times, within)]))
}

function spaced(times: number[], within: number): number[] {
  let last = Number.NEGATIVE_INFINITY
  return times
    .sort((a, b) => a - b)
    .filter((time) => {
      if (time < last + within) return false
      last = time
      return true
    })
}

/** Some whole lines at a time, without their ends. */
async function* linesOf(parts: readonly Piece[]): AsyncGenerator<string[]> {
  const buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES)
  for (const piece of parts) {
    let rest: Buffer[] = []
    for await (const block of blocksOf(piece, buffer)) {
      const end = block.lastIndexOf(LF)
      if (end >= 0) {
        yield Buffer.concat([...rest, block.subarray(0, end)])
          .toString('utf8')
          .split('\n')
        rest = []
      }
      // The block is used again.
      if (end + 1 < block.length) rest.push(Buffer.from(block.subarray(end + 1)))
    }
  }
}
