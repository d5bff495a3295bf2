/**
 * Finds the captures in a file: the file itself, or what gzip, zstd or zip wrap, by content alone.
 *
 * In: a path. Out: for every capture the hash of its uncompressed content and what its records look like, and,
 * where it is compressed or a copy is asked for, the uncompressed copy on the disk. The file is read once.
 * What is cut or damaged inside a wrapper is kept as far as it can be unwrapped.
 */

import { createHash, type Hash } from 'node:crypto'
import { type FileHandle, open, statfs } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { Readable, type Transform } from 'node:stream'
import { constants, createGunzip, createZstdDecompress } from 'node:zlib'
import type { CaptureInspector, FoundCapture, Inspection, InspectOptions } from '../../stages/ports.ts'
import { messageOf, PipelineError } from '../../state/errors.ts'
import { SNIFF_BYTES, sniffContainer } from '../capture/sniff.ts'
import { createRecordWalker, type RecordWalker, type Walk } from './record-walker.ts'
import { zipMembers } from './zip.ts'

const READ_BYTES = 1 << 20
const WRAPPERS_DEEP = 2

export interface InspectorOptions {
  /** A capture larger than this, uncompressed, is refused. */
  maxBytes: number
  /** Free space below which no copy goes on. */
  floorBytes?: number
  /** Bytes that a copy may still take, by whatever other rule; looked at as often. */
  leftBytes?: () => number
}

/** How often a copy looks at the disk. */
const LOOK_EVERY_BYTES = 64 << 20

type Bytes = AsyncIterable<Buffer>
type Limits = Required<InspectorOptions>

export function createInspector({
  maxBytes,
  floorBytes = 0,
  leftBytes = () => Number.POSITIVE_INFINITY,
}: InspectorOptions): CaptureInspector {
  return {
    async inspect(path, options) {
      const file = await open(path, 'r').catch((cause) => {
        throw new PipelineError('io', `cannot read the file: ${messageOf(cause)}`, { retryable: true, cause })
      })
      try {
        return await inspectFile(file, options, { maxBytes, floorBytes, leftBytes })
      } finally {
        await file.close()
      }
    },
  }
}

async function inspectFile(file: FileHandle, options: InspectOptions, limits: Limits): Promise<Inspection> {
  const hash = createHash('sha256')
  const head = Buffer.alloc(SNIFF_BYTES)
  const { bytesRead } = await file.read(head, 0, SNIFF_BYTES, 0)
  const kind = sniffContainer(head.subarray(0, bytesRead))
  const isWrapped = kind === 'zip' || kind === 'gzip' || kind === 'zstd'
  const content = tee(readAll(file, options, isWrapped), hash)
  if (kind === 'zip') return await inspectZip(file, content, hash, options, limits)

  const found = await findCapture(
    content,
    { ...options, copy: options.copy || kind === 'gzip' || kind === 'zstd' },
    limits,
  )
  for await (const _rest of content); // what follows the wrapped content belongs to the file's hash
  const container = kind === 'gzip' || kind === 'zstd' ? kind : 'none'
  return { container, fileSha256: hash.digest('hex'), captures: [found], ignored: [] }
}

/** Every member is looked at; those that are no captures are named with the reason. */
async function inspectZip(
  file: FileHandle,
  content: Bytes,
  hash: Hash,
  options: InspectOptions,
  limits: Limits,
): Promise<Inspection> {
  for await (const _block of content);
  const captures: FoundCapture[] = []
  const ignored: Inspection['ignored'] = []
  for await (const { name, openStream } of zipMembers(file)) {
    options.signal.throwIfAborted()
    try {
      const found = await findCapture(await openStream(), { ...options, copy: true }, limits)
      captures.push({ ...found, member: basename(name) })
    } catch (error) {
      if (!(error instanceof PipelineError) || error.retryable) throw error
      ignored.push({ member: name, reason: error.message })
    }
  }
  if (captures.length === 0) {
    const first = ignored[0]
    const why = first
      ? `of its ${ignored.length} files none is a capture (${first.member}: ${first.reason})`
      : 'it is empty'
    throw new PipelineError('capture_not_recognized', `a zip archive without a capture: ${why}`)
  }
  return { container: 'zip', fileSha256: hash.digest('hex'), captures, ignored }
}

/** Takes wrappers off until a capture appears; hashes, follows and copies it on the way. */
async function findCapture(content: Bytes, options: InspectOptions, limits: Limits, deep = 0): Promise<FoundCapture> {
  const source = content[Symbol.asyncIterator]()
  const { head, blocks } = await peek(source).catch((error) => {
    throw asUnreadable(error)
  })
  const kind = sniffContainer(head)
  if (kind === 'gzip' || kind === 'zstd') {
    if (deep === WRAPPERS_DEEP)
      throw new PipelineError('capture_not_recognized', `compressed more than ${WRAPPERS_DEEP} times`)
    return await findCapture(decompress(blocks, kind), options, limits, deep + 1)
  }
  // No bytes at all are a capture without packets: the monitor calls it empty.
  const format = head.length === 0 ? 'pcap' : kind
  if (format !== 'pcap' && format !== 'pcapng') throw notRecognized(head, kind, deep)
  return await takeIn(blocks, format, head, options, limits)
}

async function takeIn(
  blocks: Bytes,
  format: 'pcap' | 'pcapng',
  head: Buffer,
  options: InspectOptions,
  { maxBytes, floorBytes, leftBytes }: Limits,
): Promise<FoundCapture> {
  const hash = createHash('sha256')
  const walker: RecordWalker | undefined = head.length > 0 ? createRecordWalker(format, head) : undefined
  const copy = options.copy ? join(options.copyDir, `${Math.random().toString(36).slice(2)}.copy`) : undefined
  const target = copy === undefined ? undefined : await open(copy, 'wx')
  let [bytes, lookedAt] = [0, 0]
  let cut = false
  try {
    for await (const block of unlessDamaged(blocks, () => {
      cut = true
    })) {
      bytes += block.length
      if (bytes > maxBytes) throw tooLarge(maxBytes)
      if (target !== undefined && bytes - lookedAt >= LOOK_EVERY_BYTES) {
        lookedAt = bytes
        await checkSpace(options.copyDir, floorBytes)
        if (leftBytes() < 0) throw overBudget()
      }
      hash.update(block)
      walker?.feed(block)
      await target?.writev([block])
    }
    await target?.sync()
  } finally {
    await target?.close()
  }
  const { packets, complete }: Walk = walker?.end() ?? { packets: 0, complete: true }
  return {
    sha256: hash.digest('hex'),
    bytes,
    format,
    packets,
    complete: complete && !cut,
    ...(copy === undefined ? {} : { copy }),
  }
}

/** `isKept`: blocks may be held while later ones are read. Else each is valid until the next but one is asked for. */
async function* readAll(file: FileHandle, { signal, onProgress }: InspectOptions, isKept: boolean): Bytes {
  const pair = [Buffer.allocUnsafeSlow(READ_BYTES), Buffer.allocUnsafeSlow(READ_BYTES)]
  for (let [position, turn] = [0, 0]; ; turn ^= 1) {
    signal.throwIfAborted()
    const buffer = isKept ? Buffer.allocUnsafe(READ_BYTES) : (pair[turn] as Buffer)
    const { bytesRead } = await file.read(buffer, 0, READ_BYTES, position)
    if (bytesRead === 0) return
    position += bytesRead
    onProgress?.(position)
    yield buffer.subarray(0, bytesRead)
  }
}

/** The same blocks, hashed; can be left and taken up again, so that the rest is hashed too. */
function tee(content: Bytes, hash: Hash): Bytes {
  const source = content[Symbol.asyncIterator]()
  return {
    [Symbol.asyncIterator]: () => ({
      async next() {
        const step = await source.next()
        if (!step.done) hash.update(step.value)
        return step
      },
    }),
  }
}

/** The first bytes, and everything including them. */
async function peek(source: AsyncIterator<Buffer>): Promise<{ head: Buffer; blocks: Bytes }> {
  const first: Buffer[] = []
  let have = 0
  while (have < SNIFF_BYTES) {
    const step = await source.next()
    if (step.done) break
    first.push(step.value)
    have += step.value.length
  }
  async function* blocks(): Bytes {
    yield* first
    for (let step = await source.next(); !step.done; step = await source.next()) yield step.value
  }
  return { head: Buffer.concat(first).subarray(0, SNIFF_BYTES), blocks: blocks() }
}

/** A stream that ends too early gives what is there: the records' structure tells that something is missing. */
function decompress(blocks: Bytes, kind: 'gzip' | 'zstd'): Bytes {
  const transform: Transform =
    kind === 'gzip'
      ? createGunzip({ finishFlush: constants.Z_SYNC_FLUSH, chunkSize: READ_BYTES })
      : createZstdDecompress({ chunkSize: READ_BYTES })
  const source = Readable.from(blocks, { objectMode: false })
  source.on('error', (error) => transform.destroy(error))
  return source.pipe(transform)
}

async function* unlessDamaged(blocks: Bytes, onDamage: () => void): Bytes {
  let any = false
  try {
    for await (const block of blocks) {
      any = true
      yield block
    }
  } catch (error) {
    if (!isDecompressionError(error) || !any) throw asUnreadable(error)
    onDamage()
  }
}

function isDecompressionError(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return /^(Z_|ZSTD_|ERR_ZLIB)/.test(code)
}

function asUnreadable(error: unknown): unknown {
  if (!isDecompressionError(error)) return error
  return new PipelineError('capture_unreadable', `it cannot be decompressed: ${messageOf(error)}`, { cause: error })
}

function notRecognized(head: Buffer, kind: string | undefined, deep: number): PipelineError {
  const where = deep > 0 ? 'what is compressed in it' : 'the file'
  const what =
    kind === 'zip'
      ? 'a zip archive inside another wrapper'
      : `${where} begins with ${head.subarray(0, 4).toString('hex')}`
  return new PipelineError(
    'capture_not_recognized',
    `not a capture: ${what}, which is neither pcap nor pcapng (nor gzip, zstd or zip of one)`,
  )
}

/** A copy stops before the disk is full: what is small in a wrapper may be of any size out of it. */
async function checkSpace(dir: string, floorBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir)
  if (bavail * bsize >= floorBytes) return
  throw new PipelineError(
    'disk_full',
    'the uncompressed copy would leave less free space than DISK_FLOOR_MB; free some, or refuse such captures by CAPTURE_MAX_GB',
    { retryable: true },
  )
}

function overBudget(): PipelineError {
  return new PipelineError(
    'disk_full',
    'the uncompressed copy would take more than is left of the disk (DISK_BUDGET_MB, DISK_FLOOR_MB)',
    { retryable: true },
  )
}

function tooLarge(maxBytes: number): PipelineError {
  return new PipelineError(
    'capture_too_large',
    `larger than ${(maxBytes / 1e9).toFixed(1)} GB uncompressed (CAPTURE_MAX_GB)`,
  )
}
