/**
 * Files that pass by in flows: bytes in, one record of Zeek's files log out when a file ends. Only the first
 * bytes are kept, to tell what it is.
 *
 * A file fetched in ranges comes in pieces, on several connections maybe: these share one file by its URL, and
 * it is logged once for each of them when it is complete, or when nothing more has come for a while.
 */

import { createHash } from 'node:crypto'
import { MIME_BYTES, sniffMime } from './protocols/mime.ts'
import { createOcspReader } from './protocols/ocsp.ts'
import { createPeReader } from './protocols/pe.ts'
import type { Fields, FileSink, Flow } from './protocols/protocol.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** `F` and 17 characters of base 62, from the flow's uid (which follows from the capture) and the file's number in it. */
export function fuidOf(uid: string, ordinal: number): string {
  let value = createHash('sha256').update(`${uid}/${ordinal}`).digest().readBigUInt64BE(0)
  value = (value << 38n) | BigInt(ordinal & 0xffff)
  let text = ''
  for (let i = 0; i < 17; i++) {
    text += ALPHABET[Number(value % 62n)]
    value /= 62n
  }
  return `F${text}`
}

type Write = (log: string, record: object) => void

/** Looks into a file of a certain type, as it passes. */
interface Reader {
  data(bytes: Buffer): void
  /** Bytes are missing. */
  gap?(): void
  records(): [log: string, fields: Fields][]
}

const ANALYZERS: Record<string, { name: string; open(head: Buffer): Reader }> = {
  'application/ocsp-response': {
    name: 'OCSP_REPLY',
    open(head) {
      const ocsp = createOcspReader(head)
      return { data: ocsp.data, records: () => ocsp.records().map((fields) => ['ocsp', fields]) }
    },
  },
  'application/x-dosexec': {
    name: 'PE',
    open(head) {
      const pe = createPeReader(head)
      return { data: pe.data, gap: pe.gap, records: () => pe.records().map((fields) => ['pe', fields]) }
    },
  },
}

interface Carrier {
  flow: Flow
  fromOriginator: boolean
}

interface File {
  sink: FileSink
  last(): number
  add(carrier: Carrier): void
}

/** The first bytes of a file, in pieces of any order. */
interface EarlyBytes {
  add(offset: number, bytes: Buffer): void
  /** All of them are there. */
  whole(): boolean
  /** What is there without a hole. */
  start(): Buffer
}

function createEarlyBytes(head: Buffer): EarlyBytes {
  const bytes = Buffer.alloc(MIME_BYTES)
  const there = new Uint8Array(MIME_BYTES)
  const add = (offset: number, part: Buffer) => {
    if (offset >= MIME_BYTES) return
    const used = part.copy(bytes, offset)
    there.fill(1, offset, offset + used)
  }
  const length = () => {
    const hole = there.indexOf(0)
    return hole < 0 ? MIME_BYTES : hole
  }
  add(0, head)
  return { add, whole: () => length() === MIME_BYTES, start: () => bytes.subarray(0, length()) }
}

export function createFile(write: Write, carrier: Carrier, fuid: string, source: string, start: number): File {
  const carriers = [carrier]
  let head: Buffer | undefined = Buffer.alloc(0)
  let mime: string | undefined
  let [seen, missing, last] = [0, 0, start]
  let [at, furthest] = [0, 0]
  let ended = false
  let analyzers: string[] = []
  let reader: Reader | undefined
  /** Of a file whose pieces come in any order. */
  let early: EarlyBytes | undefined

  function settle(): void {
    if (head === undefined) return
    head = early?.start() ?? head
    mime = sink.knownMime ?? (head.length > 0 ? sniffMime(head) : undefined)
    const analyzer = mime === undefined ? undefined : ANALYZERS[mime]
    if (analyzer !== undefined) {
      analyzers = [analyzer.name]
      reader = analyzer.open(head)
    }
    head = undefined
  }

  function record({ flow, fromOriginator }: Carrier, timedOut: boolean): object {
    return {
      ts: start,
      fuid,
      uid: flow.uid,
      'id.orig_h': flow.origAddr,
      'id.orig_p': flow.origPort,
      'id.resp_h': flow.respAddr,
      'id.resp_p': flow.respPort,
      source,
      depth: sink.depth ?? 0,
      analyzers,
      mime_type: mime,
      filename: sink.filename,
      duration: last - start,
      local_orig: fromOriginator ? flow.origLocal : flow.respLocal,
      is_orig: fromOriginator,
      seen_bytes: seen,
      total_bytes: sink.totalBytes,
      missing_bytes: missing + Math.max(0, furthest - seen - missing),
      overflow_bytes: 0,
      timedout: timedOut,
    }
  }

  const sink: FileSink = {
    fuid,
    data(bytes, ts) {
      const inPlace = at === seen
      const offset = at
      seen += bytes.length
      at += bytes.length
      furthest = Math.max(furthest, at)
      last = ts
      if (head === undefined) {
        reader?.data(bytes)
        return
      }
      if (!inPlace || early !== undefined) {
        early ??= createEarlyBytes(head)
        early.add(offset, bytes)
        if (early.whole()) settle()
        return
      }
      const used = Math.min(bytes.length, MIME_BYTES - head.length)
      head = Buffer.concat([head, bytes.subarray(0, used)])
      if (head.length < MIME_BYTES) return
      settle()
      if (used < bytes.length) reader?.data(bytes.subarray(used))
    },
    gap(length, ts) {
      if (head !== undefined && head.length > 0) settle()
      head = undefined
      reader?.gap?.()
      missing += length
      at += length
      furthest = Math.max(furthest, at)
      last = ts
    },
    seek(offset) {
      at = offset
    },
    mime() {
      return mime
    },
    end(_ts, timedOut = false) {
      if (ended) return
      ended = true
      settle()
      for (const each of carriers) write('files', record(each, timedOut))
      for (const [log, fields] of reader?.records() ?? []) write(log, { ts: start, id: fuid, ...fields })
    },
  }
  return {
    sink,
    last: () => last,
    add(another) {
      if (carriers.length < MAX_CARRIERS && !carriers.some(({ flow }) => flow.uid === another.flow.uid))
        carriers.push(another)
    },
  }
}

const MAX_CARRIERS = 1000
const MAX_SHARED = 10_000
/** Zeek's `default_file_timeout_interval`. */
const TIMEOUT_SECONDS = 120

export interface SharedFiles {
  /** The file of that key, new or known; what comes goes where `seek` says. */
  open(key: string, carrier: Carrier, fuid: () => string, source: string, ts: number): FileSink
  /** A piece is over: the file is, if it is whole. */
  check(key: string, ts: number): void
  finish(): void
}

export function createSharedFiles(write: Write): SharedFiles {
  const files = new Map<string, File & { seen: () => number }>()

  function close(key: string, timedOut: boolean): void {
    const file = files.get(key)
    files.delete(key)
    file?.sink.end(file.last(), timedOut)
  }

  return {
    open(key, carrier, fuid, source, ts) {
      const known = files.get(key)
      if (known !== undefined && ts < known.last() + TIMEOUT_SECONDS) {
        known.add(carrier)
        return known.sink
      }
      if (known !== undefined) close(key, true)
      const oldest = files.size >= MAX_SHARED ? files.keys().next().value : undefined
      if (oldest !== undefined) close(oldest, true)
      let seen = 0
      const file = createFile(write, carrier, fuid(), source, ts)
      const { data } = file.sink
      file.sink.data = (bytes, now) => {
        seen += bytes.length
        data(bytes, now)
      }
      files.set(key, { ...file, seen: () => seen })
      return file.sink
    },
    check(key) {
      const file = files.get(key)
      if (file?.sink.totalBytes !== undefined && file.seen() >= file.sink.totalBytes) close(key, false)
    },
    finish() {
      for (const key of [...files.keys()]) close(key, true)
    },
  }
}
