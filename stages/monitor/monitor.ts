/**
 * Monitor: a settled file in, accepted captures in `captures/<sha256>` out, each with a job to convert it.
 *
 * Safe to repeat: the content's hash is the key. What was found out about a file is noted in the ledger before
 * the file is moved, so that an attempt that finds the file gone knows what it was, and finishes. A second
 * copy of a known capture is linked to the first and not processed.
 */

import { copyFile, rename, unlink, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { isBeingRemoved } from '../../state/captures.ts'
import { errnoOf, PipelineError } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { flush, move, safeName, shortHash } from '../durable.ts'
import type { CaptureInspector, FoundCapture, Inspection } from '../ports.ts'
import { oneJob, type Postponed, type Stage, type StageContext, type StageResult } from '../stage.ts'
import { type Arrival, type FileIdentity, identify, pathOf, sameFile } from './arrival.ts'

export interface MonitorOptions {
  ledger: Ledger
  layout: Layout
  inspector: CaptureInspector
  /** How long a file that ends in the middle of a record, or holds none, may still grow. */
  cutGraceMs: number
}

/** What the ledger knows of a file before it is moved. */
interface Note {
  file?: FileIdentity
  inspection?: Inspection
  /** Where a failed attempt put it; a retry reads it there. */
  quarantined?: string
}

export function createMonitor({ ledger, layout, inspector, cutGraceMs }: MonitorOptions): Stage {
  return {
    name: 'monitor',

    handle: oneJob<Arrival>(async (job, context) => {
      const arrival = job.input
      const note = (job.note ?? {}) as Note
      const path = note.quarantined === undefined ? pathOf(arrival) : join(layout.dataDir, note.quarantined)
      const stats = await identify(path)
      if (stats === undefined) return resume(arrival, note)
      if (stats.isSymbolicLink()) {
        throw new PipelineError(
          'capture_not_recognized',
          'a symbolic link, which is not followed; drop the file itself, or a hard link to it',
        )
      }
      if (!stats.isFile()) throw new PipelineError('capture_not_recognized', 'not a regular file')
      const file: FileIdentity = { dev: stats.dev, ino: stats.ino, bytes: stats.size, mtimeMs: stats.mtimeMs }
      if (!note.quarantined && !sameFile(arrival, stats)) return changed(arrival, 'since it was queued')

      const copy = arrival.keep === true || stats.nlink > 1 || stats.dev !== (await identify(layout.captures))?.dev
      const inspection = await inspect(path, copy, context)
      const after = await identify(path)
      if (after === undefined || !sameFile(file, after)) return changed(arrival, 'while it was read')
      const postponed = mayGrow(inspection, file.mtimeMs, arrival)
      if (postponed) return postponed

      ledger.jobs.note(job, { ...note, file, inspection } satisfies Note)
      for (const capture of inspection.captures) await store(capture, path)
      await removeOriginal(path, arrival, inspection)
      return accept(arrival, file.bytes, inspection, context)
    }),

    async giveUp(job, { code, message }) {
      const arrival = job.input as Arrival
      const note = (job.note ?? {}) as Note
      const reason = {
        file: arrival.name,
        source: arrival.source,
        bytes: arrival.bytes,
        code,
        reason: message,
        at: new Date().toISOString(),
      }
      const name = `${shortHash(job.key)}-${safeName(arrival.name)}`
      const quarantined = join(layout.quarantine, name)
      if (!arrival.keep) await putAside(pathOf(arrival), quarantined)
      await writeFile(`${quarantined}.reason.json`, `${JSON.stringify(reason, null, 2)}\n`)
      ledger.transaction(() => {
        if (!arrival.keep)
          ledger.jobs.note(job, { ...note, quarantined: relative(layout.dataDir, quarantined) } satisfies Note)
        ledger.captures.addArrival({
          name: arrival.name,
          source: arrival.source,
          container: 'none',
          bytes: arrival.bytes,
          outcome: 'quarantined',
          reason: message,
        })
      })
    },
  }

  async function inspect(
    path: string | Buffer,
    copy: boolean,
    { workDir, signal, progress }: StageContext,
  ): Promise<Inspection> {
    return await inspector.inspect(path, { copyDir: workDir, copy, signal, onProgress: (bytes) => progress({ bytes }) })
  }

  /** The watcher queues a file that changed again, as another job, once it has settled. */
  function changed({ keep, name }: Arrival, when: string): StageResult {
    if (keep)
      throw new PipelineError('capture_changed', `${name} changed ${when}; wait until it is written`, {
        retryable: true,
      })
    return { outputs: `changed ${when}; it is queued again when it has settled` }
  }

  /** The file is gone: an earlier attempt moved it, or somebody took it away. */
  function resume(arrival: Arrival, { file, inspection }: Note): StageResult {
    if (file === undefined || inspection === undefined) return { outputs: 'gone before it was read' }
    return accept(arrival, file.bytes, inspection)
  }

  /** A tail that ends in the middle of a record is most often a copy that has stalled. */
  function mayGrow({ captures }: Inspection, mtimeMs: number, { keep }: Arrival): Postponed | undefined {
    const ageMs = Date.now() - mtimeMs
    const whole = captures.every(({ complete, packets }) => complete && packets > 0)
    if (keep || whole || ageMs < 0 || ageMs >= cutGraceMs) return undefined
    return { postponedMs: Math.ceil(cutGraceMs - ageMs), why: 'its last record is not complete, or it has none yet' }
  }

  async function store(capture: FoundCapture, original: string | Buffer): Promise<void> {
    const target = storedPath(capture)
    if ((await identify(target)) !== undefined) return
    if (capture.copy !== undefined) return await move(capture.copy, target)
    await flush(original as string)
    await rename(original, target)
    await flush(layout.captures)
  }

  /** After every capture in it is stored. An archive that held other things as well is kept with the reason. */
  async function removeOriginal(path: string | Buffer, arrival: Arrival, { ignored }: Inspection): Promise<void> {
    if (arrival.keep) return
    if (ignored.length === 0) return await unlink(path).catch(ignoreAbsent)
    const kept = join(layout.quarantine, `${shortHash(path.toString())}-${safeName(arrival.name)}`)
    await putAside(path, kept)
    await writeFile(
      `${kept}.reason.json`,
      `${JSON.stringify({ file: arrival.name, source: arrival.source, ignored }, null, 2)}\n`,
    )
  }

  function accept(
    arrival: Arrival,
    bytes: number,
    { container, fileSha256, captures, ignored }: Inspection,
    context?: StageContext,
  ): StageResult {
    const { source } = arrival
    const record = (ledger: Ledger): void => {
      for (const capture of captures) {
        const outcome = acceptOne(arrival, capture)
        const { member, sha256 } = capture
        ledger.captures.addArrival({
          name: arrival.name,
          source,
          container,
          member,
          bytes,
          fileSha256,
          captureId: sha256,
          outcome,
        })
        context?.log.info(MESSAGES[outcome], {
          file: arrival.name,
          capture: sha256.slice(0, 16),
          source,
          packets: capture.packets,
          bytes: capture.bytes,
        })
        if (outcome === 'accepted')
          ledger.jobs.add({ stage: 'convert', key: sha256, captureId: sha256, input: {}, bytes: capture.bytes })
      }
      for (const { member, reason } of ignored) {
        ledger.captures.addArrival({
          name: arrival.name,
          source,
          container,
          member,
          bytes: 0,
          fileSha256,
          outcome: 'quarantined',
          reason,
        })
        context?.log.warn('a member of an archive is no capture', { file: arrival.name, member, reason })
      }
    }
    return { record, outputs: { captures: captures.map(({ sha256 }) => sha256) } }
  }

  function acceptOne({ name, source }: Arrival, capture: FoundCapture): 'accepted' | 'empty' | 'duplicate' {
    const { sha256, format, bytes, packets, complete, member } = capture
    const known = ledger.captures.get(sha256)
    if (known !== undefined && isBeingRemoved(known.state)) {
      throw new PipelineError('artifact_missing', 'the rows of the same capture are being removed at this moment', {
        retryable: true,
      })
    }
    if (known !== undefined) return 'duplicate'
    // Damage may hide packets that only the engine's reader finds, so only a whole file can be called empty.
    const state = packets === 0 && complete ? 'empty' : 'accepted'
    ledger.captures.add({
      id: sha256,
      name: member ?? name,
      source,
      format,
      bytes,
      path: relative(layout.dataDir, storedPath(capture)),
      state,
    })
    return state
  }

  function storedPath({ sha256, format }: FoundCapture): string {
    return join(layout.captures, `${sha256}.${format}`)
  }
}

const MESSAGES = {
  accepted: 'capture accepted',
  empty: 'capture has no packets; nothing to do',
  duplicate: 'capture is known already; linked to the first',
}

/** Moves a file, over file systems as well; what is gone already was moved by an earlier attempt. */
async function putAside(path: string | Buffer, target: string): Promise<void> {
  try {
    await rename(path, target)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    if (errnoOf(error) !== 'EXDEV') throw error
    await copyFile(path, target)
    await flush(target)
    await unlink(path)
  }
}

function ignoreAbsent(error: unknown): void {
  if (errnoOf(error) !== 'ENOENT') throw error
}
