/**
 * Uploads: files in, each sent piece by piece from the byte on that the server has, until it says what became of it.
 *
 * They live as long as the page does, whichever place of it is shown. A few run at once, the others wait their turn. A
 * connection that breaks is taken up again at the offset that arrived; the same file chosen once more is the same upload.
 */

import { useSyncExternalStore } from 'react'
import type { Upload } from '../../api/contract.ts'
import { ApiError, ask, hrefOf, messageOf, problemError } from './api.ts'

export type UploadState = 'waiting' | 'sending' | 'checking' | 'accepted' | 'duplicate' | 'empty' | 'refused' | 'failed'

export interface Sending {
  key: number
  name: string
  source: string
  bytes: number
  sent: number
  /** Bytes a second, of late. */
  rate: number
  state: UploadState
  reason: string | undefined
  captures: readonly string[]
}

interface Work {
  file: File
  id?: string
  abort?: () => void
  isCancelled?: true
}

const AT_ONCE = 3
const ATTEMPTS = 6
/** A browser may send a request again by itself when its connection breaks: then it is this much, not the whole file. */
const PIECE_BYTES = 16 * 2 ** 20
const LOOK_MS = 800
const SHOWN_EVERY_MS = 120

let list: readonly Sending[] = []
let nextKey = 1
let running = 0
const works = new Map<number, Work>()
const watchers = new Set<() => void>()

export function useUploads(): readonly Sending[] {
  return useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher)
      return () => watchers.delete(watcher)
    },
    () => list,
  )
}

export function isActive({ state }: Sending): boolean {
  return state === 'waiting' || state === 'sending' || state === 'checking'
}

function show(next: readonly Sending[]): void {
  list = next
  for (const watcher of watchers) watcher()
}

function change(key: number, how: Partial<Sending>): void {
  show(list.map((each) => (each.key === key ? { ...each, ...how } : each)))
}

export function addFiles(files: readonly File[], source: string): void {
  const added = files.map((file): Sending => {
    const key = nextKey++
    works.set(key, { file })
    const common = { sent: 0, rate: 0, reason: undefined, captures: [] }
    return { key, name: file.name, source, bytes: file.size, state: 'waiting', ...common }
  })
  show([...added, ...list])
  startNext()
}

export function clearEnded(): void {
  for (const each of list) if (!isActive(each)) works.delete(each.key)
  show(list.filter(isActive))
}

export function cancelUpload(key: number): void {
  const work = works.get(key)
  if (work) {
    work.isCancelled = true
    work.abort?.()
    if (work.id) void ask('DELETE /api/uploads/:id', { params: { id: work.id } }).catch(() => undefined)
  }
  works.delete(key)
  show(list.filter((each) => each.key !== key))
}

export function repeatUpload(key: number): void {
  change(key, { state: 'waiting', reason: undefined, sent: 0 })
  startNext()
}

window.addEventListener('beforeunload', (event) => {
  if (list.some(({ state }) => state === 'waiting' || state === 'sending')) event.preventDefault()
})

function startNext(): void {
  while (running < AT_ONCE) {
    const next = list.findLast(({ state }) => state === 'waiting')
    const work = next && works.get(next.key)
    if (!next || !work) return
    running++
    change(next.key, { state: 'sending' })
    void send(next, work).finally(() => {
      running--
      startNext()
    })
  }
}

async function send({ key, source }: Sending, work: Work): Promise<void> {
  const { file } = work
  if (file.size === 0) return change(key, { state: 'refused', reason: 'The file is empty.' })
  try {
    const body = { name: file.name, bytes: file.size, modified: file.lastModified, ...(source && { source }) }
    let upload = await ask('POST /api/uploads', { body })
    work.id = upload.id
    let failures = 0
    while (upload.state === 'receiving' && !work.isCancelled) {
      try {
        // The server may still be away: asking what has arrived is part of the attempt.
        if (failures > 0) upload = await ask('GET /api/uploads/:id', { params: { id: upload.id } })
        if (upload.state === 'receiving') upload = await putPiece(key, work, upload)
        failures = 0
      } catch (error) {
        if (work.isCancelled) return
        if (!canGoOn(error) || ++failures >= ATTEMPTS) throw error
        await pause(500 * 2 ** failures)
      }
    }
    if (!work.isCancelled) void follow(key, upload)
  } catch (error) {
    if (work.isCancelled) return
    const isRefusal = error instanceof ApiError && error.status >= 400 && error.status < 500
    change(key, { state: isRefusal ? 'refused' : 'failed', reason: messageOf(error), rate: 0 })
  }
}

/** Cut off, or busy with the bytes of a connection that is dead: what arrived is kept. */
function canGoOn(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false
  const { status } = error
  return status === 0 || status === 409 || status === 429 || status >= 500 || error.problem?.code === 'upload_cut'
}

/** `fetch` does not tell how much of a body has gone out: this does. */
function putPiece(key: number, work: Work, { id, offset }: Upload): Promise<Upload> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    work.abort = () => request.abort()
    request.open('PUT', hrefOf('PUT /api/uploads/:id', { params: { id }, query: { offset } }))
    request.setRequestHeader('content-type', 'application/octet-stream')
    const begun = performance.now()
    let shown = 0
    request.upload.onprogress = ({ loaded }) => {
      const now = performance.now()
      if (now - shown < SHOWN_EVERY_MS) return
      shown = now
      const rate = (1000 * loaded) / Math.max(1, now - begun)
      change(key, { sent: Math.min(work.file.size, offset + loaded), rate })
    }
    request.onload = () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText) as Upload)
      else reject(problemError(request.status, request.responseText))
    }
    request.onerror = () => reject(new ApiError(0, 'The connection broke.'))
    request.onabort = () => reject(new ApiError(0, 'The upload was stopped.'))
    request.send(work.file.slice(offset, offset + PIECE_BYTES))
  })
}

/** What became of it, as soon as the pipeline has looked at it. */
async function follow(key: number, first: Upload): Promise<void> {
  let upload = first
  change(key, { state: 'checking', sent: upload.bytes, rate: 0 })
  while (upload.state === 'received') {
    await pause(LOOK_MS)
    if (!works.has(key)) return
    upload = await ask('GET /api/uploads/:id', { params: { id: upload.id } }).catch(() => upload)
  }
  const { state, reason, captures } = upload
  if (state === 'receiving') change(key, { state: 'failed', reason: 'The server lost a part of it; send it again.' })
  else change(key, { state, reason: reason ?? undefined, captures })
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
