/**
 * Uploads: bytes of a request in, a file in the inbox out.
 *
 * Bytes go to a hidden file in the inbox, never into memory; when the last one is there it is flushed and linked to its
 * name, and queued as the watcher would queue it. Whatever is cut off goes on at the offset that arrived; the same file
 * sent again is the same upload, and its content decides whether it is a capture that is known. What is no capture is
 * refused with its first bytes. Names are for people: only a harmless form of them is used on the disk.
 */

import { createHash } from 'node:crypto'
import { link, lstat, mkdir, open, readFile, rename, rm, statfs, unlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Readable } from 'node:stream'
import { flush } from '../../stages/durable.ts'
import { arrivalJob, capturesOf, encodePath } from '../../stages/monitor/arrival.ts'
import { DEFAULT_SOURCE, isPartialName } from '../../stages/monitor/scan.ts'
import { errnoOf, PipelineError } from '../../state/errors.ts'
import type { Ledger } from '../../state/ledger.ts'
import { SNIFF_BYTES, sniffContainer } from '../capture/sniff.ts'
import type { Upload } from './contract.ts'
import { notFound, refusal } from './problems.ts'
import { DONE, type Routes } from './routes.ts'

export interface UploadParts {
  ledger: Ledger
  inbox: string
  maxBytes: number
  diskFloorBytes: number
  wake(): void
}

interface Announced {
  id: string
  name: string
  source: string
  bytes: number
}

type State = Announced & {
  /** Of the monitor's job, once all is there. */
  job?: string
  refused?: string
  isBusy: boolean
  endedAt?: number
}

const ENDED_KEPT_MS = 24 * 3_600_000
const MOST_KNOWN = 10_000

export function uploadRoutes({ handle }: Routes, { ledger, inbox, maxBytes, diskFloorBytes, wake }: UploadParts): void {
  const known = new Map<string, State>()
  const partOf = (id: string) => join(inbox, `.upload-${id}.part`)
  const noteOf = (id: string) => join(inbox, `.upload-${id}.json`)

  handle('createUpload', async ({ body }) => await describe(await announce(body)))
  handle('getUpload', async ({ params }) => await describe(await find(params.id)))
  handle('listUploads', async () => ({ uploads: await Promise.all([...known.values()].map(describe)) }))
  handle('sendUpload', async ({ params, query, body }) => {
    const state = await find(params.id)
    return await describe(await receive(state, query.offset, bodyOf(body)))
  })
  handle('cancelUpload', async ({ params }) => {
    const state = await find(params.id)
    if (state.isBusy) throw refusal(409, 'upload_busy', 'bytes of this upload are arriving at this moment')
    await forget(state.id)
    known.delete(state.id)
    return DONE
  })
  handle('putFile', async ({ params, query, body, request }) => {
    const length = request.headers['content-length']
    if (length === undefined) throw refusal(411, 'invalid_request', 'say how long the file is (Content-Length)')
    const bytes = Number(length)
    if (!Number.isSafeInteger(bytes) || bytes <= 0) throw refusal(400, 'invalid_request', 'the file is empty')
    const state = await announce({ name: basename(params.name), bytes, source: query.source })
    if (state.job !== undefined) restart(state)
    return await describe(await receive(state, 0, bodyOf(body)))
  })

  /** The same file announced again is the same upload, unless what became of it is gone. */
  async function announce(file: {
    name: string
    bytes: number
    source?: string | undefined
    modified?: number | undefined
  }): Promise<State> {
    if (file.bytes > maxBytes) throw tooLarge(maxBytes)
    const source = sourceOf(file.source)
    const identity = JSON.stringify([file.name, file.bytes, source, file.modified ?? null])
    const id = createHash('sha256').update(identity).digest('hex').slice(0, 32)
    const old = known.get(id)
    if (old !== undefined && !(await isOver(old))) return old
    const { bavail, bsize } = await statfs(inbox)
    if (bavail * bsize - file.bytes < diskFloorBytes) {
      throw new PipelineError('disk_full', 'there is not enough space on the disk for this file (DISK_FLOOR_MB)')
    }
    forgetEnded()
    const state: State = { id, name: file.name, source, bytes: file.bytes, isBusy: false }
    known.set(id, state)
    await mkdir(inbox, { recursive: true })
    const { isBusy: _, ...note } = state
    await writeFile(noteOf(id), JSON.stringify(note))
    return state
  }

  /** Of an upload that ended: refused, or its captures were forgotten. */
  async function isOver(state: State): Promise<boolean> {
    const { state: now, captures } = await describe(state)
    if (now === 'refused') return true
    return captures.length > 0 && captures.every((id) => ledger.captures.get(id) === undefined)
  }

  function restart(state: State): void {
    delete state.job
    delete state.refused
  }

  function forgetEnded(): void {
    for (const [id, { endedAt }] of known) {
      const isOld = endedAt !== undefined && endedAt + ENDED_KEPT_MS < Date.now()
      if (isOld || (endedAt !== undefined && known.size > MOST_KNOWN)) known.delete(id)
    }
    if (known.size > MOST_KNOWN) throw refusal(429, 'rate_limited', 'too many uploads at once; end some of them first')
  }

  /** Also of an upload that an earlier process began. */
  async function find(id: string): Promise<State> {
    const state = known.get(id)
    if (state !== undefined) return state
    const text = await readFile(noteOf(id), 'utf8').catch(() => undefined)
    if (text === undefined) throw notFound('there is no such upload; announce the file first')
    const { name, source, bytes } = JSON.parse(text) as Announced
    const found: State = { id, name, source, bytes, isBusy: false }
    known.set(id, found)
    return found
  }

  async function receive(state: State, offset: number, body: Readable): Promise<State> {
    if (state.job !== undefined) return state
    if (state.isBusy) throw refusal(409, 'upload_busy', 'bytes of this upload are arriving already')
    const arrived = await sizeOf(partOf(state.id))
    if (offset > arrived) throw refusal(409, 'upload_offset', `only ${arrived} bytes have arrived: go on from there`)
    state.isBusy = true
    try {
      await write(state, offset, body)
      if ((await sizeOf(partOf(state.id))) === state.bytes) await publish(state)
      return state
    } catch (error) {
      // A client that goes on sending must be read, else it never sees the answer.
      body.resume()
      if (error instanceof PipelineError && error.code === 'capture_not_recognized') {
        state.refused = error.message
        state.endedAt = Date.now()
        await forget(state.id)
      }
      throw error
    } finally {
      state.isBusy = false
    }
  }

  async function write(state: State, offset: number, body: Readable): Promise<void> {
    const path = partOf(state.id)
    const file = await open(path, offset === 0 ? 'w' : 'r+')
    try {
      await file.truncate(offset)
      const check = checkBytes(offset, state.bytes)
      let at = offset
      // The stream is left open whatever happens: it is the connection that the answer goes over.
      for await (const chunk of body.iterator({ destroyOnReturn: false })) {
        check(chunk)
        at += (await file.write(chunk, 0, chunk.length, at)).bytesWritten
      }
    } catch (error) {
      if (errnoOf(error) === 'ENOSPC') throw new PipelineError('disk_full', 'the disk is full', { cause: error })
      if (errnoOf(error) === 'ERR_STREAM_PREMATURE_CLOSE' || errnoOf(error) === 'ECONNRESET')
        throw refusal(400, 'upload_cut', 'the connection ended before the file did; go on from the offset that arrived')
      throw error
    } finally {
      await file.close()
    }
  }

  /** A link, which takes no name that something has, rather than a rename, which would. */
  async function publish(state: State): Promise<void> {
    const part = partOf(state.id)
    await flush(part)
    const folder = state.source === DEFAULT_SOURCE ? inbox : join(inbox, state.source)
    await mkdir(folder, { recursive: true })
    const name = safeFileName(state.name)
    const path = await linkFree(part, folder, name, state.id)
    await unlink(part)
    await flush(folder)
    const { dev, ino, size, mtimeMs } = await lstat(path)
    const file = { dev, ino, bytes: size, mtimeMs }
    const job = arrivalJob({ path: encodePath(Buffer.from(path)), name: basename(path), source: state.source, ...file })
    ledger.jobs.add(job)
    state.job = job.key
    state.endedAt = Date.now()
    await rm(noteOf(state.id), { force: true })
    wake()
  }

  async function forget(id: string): Promise<void> {
    await rm(partOf(id), { force: true })
    await rm(noteOf(id), { force: true })
  }

  async function describe({ id, name, source, bytes, job, refused }: State): Promise<Upload> {
    const common = { id, name, source, bytes }
    if (refused !== undefined) return { ...common, offset: 0, state: 'refused', reason: refused, captures: [] }
    if (job === undefined)
      return { ...common, offset: await sizeOf(partOf(id)), state: 'receiving', reason: null, captures: [] }
    const row = ledger.jobs.find('monitor', job)
    const captures = row === undefined ? [] : capturesOf(row)
    const all = { ...common, offset: bytes, captures }
    if (row?.status === 'failed') return { ...all, state: 'refused', reason: row.error }
    if (captures.length === 0) return { ...all, state: 'received', reason: null }
    return { ...all, state: outcomeOf(captures), reason: null }
  }

  /** By the newest arrival of its captures. */
  function outcomeOf(captures: readonly string[]): Upload['state'] {
    const outcomes = captures.map((id) => ledger.captures.arrivals(id).at(-1)?.outcome)
    if (outcomes.includes('accepted')) return 'accepted'
    return outcomes.includes('empty') ? 'empty' : 'duplicate'
  }
}

function bodyOf(body: unknown): Readable {
  return body as Readable
}

/** Looks at the first bytes as soon as they are there, and lets no more through than were announced. */
function checkBytes(offset: number, total: number): (chunk: Buffer) => void {
  let at = offset
  let head = Buffer.alloc(0)
  let isKnown = offset > 0
  return (chunk) => {
    at += chunk.length
    if (at > total) throw refusal(413, 'upload_longer', `the file has more than the ${total} bytes that were announced`)
    if (isKnown) return
    head = Buffer.concat([head, chunk.subarray(0, SNIFF_BYTES)]).subarray(0, SNIFF_BYTES)
    if (head.length < Math.min(SNIFF_BYTES, total)) return
    if (sniffContainer(head) === undefined) throw notACapture()
    isKnown = true
  }
}

function notACapture(): PipelineError {
  const kinds = 'pcap and pcapng are taken, plain or in gzip, zstd or zip'
  return new PipelineError('capture_not_recognized', `by its first bytes this file is no capture: ${kinds}`)
}

function tooLarge(maxBytes: number): PipelineError {
  return new PipelineError(
    'capture_too_large',
    `the file is larger than ${Math.round(maxBytes / 2 ** 30)} GB (CAPTURE_MAX_GB)`,
  )
}

async function sizeOf(path: string): Promise<number> {
  return (await lstat(path).catch(() => undefined))?.size ?? 0
}

async function linkFree(part: string, folder: string, name: string, id: string): Promise<string> {
  for (const candidate of [name, `${id.slice(0, 8)}-${name}`, `${id}-${Date.now()}-${name}`]) {
    const path = join(folder, candidate)
    try {
      await link(part, path)
      // The monitor moves a file that has one name alone; it is `part` that goes.
      return path
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') continue
      if (errnoOf(error) !== 'EPERM' && errnoOf(error) !== 'ENOTSUP') throw error
      // A file system without hard links.
      await rename(part, path)
      await writeFile(part, '')
      return path
    }
  }
  throw new PipelineError('io', `no free name for ${JSON.stringify(name)} in the inbox`)
}

/** One plain name, of letters that every file system has; the capture keeps it as a name for people alone. */
export function safeFileName(name: string): string {
  const last = name.normalize('NFC').split(/[\\/]/).at(-1) ?? ''
  const plain = last
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu, '')
    .replace(/[<>:"|?*]/g, '_')
    .replace(/^[.\s]+|[.\s]+$/g, '')
  const short = cut(plain, 180)
  if (short === '') return 'capture'
  return isPartialName(short) ? `${short}.pcap` : short
}

/** By bytes of UTF-8: file systems count these. */
function cut(text: string, most: number): string {
  let kept = text
  while (Buffer.byteLength(kept) > most) kept = [...kept].slice(0, -1).join('')
  return kept
}

/** The first folder below the inbox: one plain name. */
function sourceOf(source: string | undefined): string {
  if (source === undefined || source === '' || source === DEFAULT_SOURCE) return DEFAULT_SOURCE
  const safe = safeFileName(source)
  if (safe !== source)
    throw new PipelineError(
      'usage',
      `${JSON.stringify(source)} cannot be a source: letters, digits, dash, underscore and inner dots`,
    )
  return safe
}
