/**
 * Monitor: a settled file in, accepted captures in `captures/<sha256>` out, each with a job to convert it.
 *
 * Safe to repeat: the content's hash is the key. What was found out about a file is noted in the ledger before
 * the file is moved, so that an attempt that finds the file gone knows what it was, and finishes. A second
 * copy of a known capture is linked to the first and not processed. Key logs of TLS that came with it are stored before
 * it is, and taken away after it was recorded; those that come later are stored with the capture that is there.
 */

import { randomUUID } from 'node:crypto'
import { constants, existsSync, rmSync } from 'node:fs'
import { access, link, rm, unlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { isBeingRemoved, type KeyLog, type NewCapture } from '../../state/captures.ts'
import type { Fact } from '../../state/completion.ts'
import { PipelineError } from '../../state/errors.ts'
import type { Job } from '../../state/job.ts'
import { keysPathOf, type Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { flush, move, putAside, safeName, shortHash } from '../durable.ts'
import type { CaptureInspector, FoundCapture, Inspection } from '../ports.ts'
import { oneJob, type Postponed, type Stage, type StageContext, type StageResult } from '../stage.ts'
import { type Arrival, type FileIdentity, identify, pathOf, sameFile } from './arrival.ts'
import { removeKeyLog, storeKeys } from './keys.ts'

export interface MonitorOptions {
  ledger: Ledger
  layout: Layout
  inspector: CaptureInspector
  /** How long a file that ends in the middle of a record, or holds none, may still grow. */
  cutGraceMs: number
  /** Source → microseconds to add to the times of its captures. */
  clockOffsets: ReadonlyMap<string, number>
}

/** What the ledger knows of a file before it is moved. */
interface Note {
  file?: FileIdentity
  inspection?: Inspection
  /** By the id of the capture that they are stored with. */
  keyLogs?: Record<string, KeyLog>
  /** Where a failed attempt put it; a retry reads it there. */
  quarantined?: string
}

export function createMonitor({ ledger, layout, inspector, cutGraceMs, clockOffsets }: MonitorOptions): Stage {
  return {
    name: 'monitor',

    handle: oneJob<Arrival>(async (job, context) => {
      const arrival = job.input
      if (arrival.keysOf !== undefined) return await takeKeys(arrival, arrival.keysOf, context)
      const note = (job.note ?? {}) as Note
      // An attempt that was cut short has stored it all: only the recording is left, whatever lies at the path by now.
      if (note.inspection !== undefined && (await isStored(note.inspection))) return accept(arrival, note, context)
      const path = note.quarantined === undefined ? pathOf(arrival) : join(layout.dataDir, note.quarantined)
      const stats = await identify(path)
      if (stats === undefined) return { outputs: 'gone before it was read' }
      if (stats.isSymbolicLink()) throw new PipelineError('capture_not_recognized', LINK_MESSAGE)
      if (!stats.isFile()) throw new PipelineError('capture_not_recognized', 'not a regular file')
      const file: FileIdentity = { dev: stats.dev, ino: stats.ino, bytes: stats.size, mtimeMs: stats.mtimeMs }
      if (!note.quarantined && !sameFile(arrival, stats)) return changed(arrival, 'since it was queued')

      if (!arrival.keep) await checkFolder(path)
      const mustCopy = arrival.keep === true || stats.nlink > 1 || stats.dev !== (await identify(layout.captures))?.dev
      const inspection = await inspect(path, mustCopy, context)
      const after = await identify(path)
      if (after === undefined || !sameFile(file, after)) return changed(arrival, 'while it was read')
      const postponed = mayGrow(inspection, job) ?? waitForRemoval(inspection)
      if (postponed) return postponed

      const found = await store(inspection, path, context)
      const keyLogs = await keepKeys(arrival, found.inspection, context)
      const noted: Note = { ...note, file, inspection: found.inspection, keyLogs }
      ledger.jobs.note(job, noted)
      await found.move()
      return accept(arrival, noted, context)
    }),

    async giveUp(job, { code, message }) {
      const arrival = job.input as Arrival
      const note = (job.note ?? {}) as Note
      for (const id of Object.keys(note.keyLogs ?? {}))
        if (ledger.captures.get(id) === undefined) await rm(keysPathOf(layout, id), { force: true })
      // What is in quarantine already was there before this attempt; what lies at its old place is another file.
      if (note.quarantined !== undefined) return
      const reason = {
        file: arrival.name,
        source: arrival.source,
        bytes: arrival.bytes,
        code,
        reason: message,
        at: new Date().toISOString(),
      }
      const kept = await freeName(`${shortHash(job.key)}-${safeName(arrival.name)}`)
      const moved = !arrival.keep && (await moveAside(arrival, kept))
      await writeFile(`${kept}.reason.json`, `${JSON.stringify(reason, null, 2)}\n`)
      ledger.transaction(() => {
        if (moved) ledger.jobs.note(job, { ...note, quarantined: relative(layout.dataDir, kept) } satisfies Note)
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

  /** The keys that came with a file, for each capture in it. */
  async function keepKeys(
    { keys = [] }: Arrival,
    { captures }: Inspection,
    { workDir }: StageContext,
  ): Promise<Record<string, KeyLog>> {
    if (keys.length === 0) return {}
    const sources = keys.map((path) => pathOf({ path }))
    const kept = captures.map(async ({ sha256 }) => {
      const keyLog = await storeKeys(sources, keysPathOf(layout, sha256), join(workDir, `${sha256}.keys`))
      return [sha256, keyLog] as const
    })
    return Object.fromEntries(await Promise.all(kept))
  }

  /** Keys that came after their captures. */
  async function takeKeys(
    arrival: Arrival,
    ids: readonly string[],
    { workDir, log }: StageContext,
  ): Promise<StageResult | Postponed> {
    const states = ids.map((id) => ledger.captures.get(id)?.state)
    if (states.some((state) => state !== undefined && isBeingRemoved(state)))
      return { postponedMs: 1000, why: 'the rows of their capture are being removed at this moment' }
    const present = ids.filter((_, i) => states[i] !== undefined)
    const facts: Fact[] = []
    for (const id of present) {
      const keyLog = await storeKeys([pathOf(arrival)], keysPathOf(layout, id), join(workDir, `${id}.keys`))
      facts.push({ kind: 'keys', captureId: id, keyLog })
      log.info('TLS keys came for a capture that is here; `reprocess` makes use of them', {
        file: arrival.name,
        capture: id.slice(0, 16),
        secrets: keyLog.secrets,
      })
    }
    return {
      guard: () => present.forEach(checkPresent),
      facts,
      afterwards: async () => {
        if (present.length > 0) await removeKeyLog(pathOf(arrival))
      },
      outputs: { keysOf: present },
    }
  }

  /** Keys of a capture that is forgotten at this moment are nobody's: they go, and are looked at again. */
  function checkPresent(id: string): void {
    const state = ledger.captures.get(id)?.state
    if (state !== undefined && !isBeingRemoved(state)) return
    if (state === undefined || state === 'forgetting') rmSync(keysPathOf(layout, id), { force: true })
    throw new PipelineError('artifact_missing', 'the capture of these keys is being removed at this moment', {
      retryable: true,
    })
  }

  async function isStored({ captures }: Inspection): Promise<boolean> {
    for (const capture of captures) if ((await identify(storedPath(capture))) === undefined) return false
    return true
  }

  /** A name in quarantine that nothing has yet: what lies there is never written over. */
  async function freeName(name: string): Promise<string> {
    const path = join(layout.quarantine, name)
    return (await identify(path)) === undefined ? path : join(layout.quarantine, `${randomUUID().slice(0, 8)}-${name}`)
  }

  async function moveAside(arrival: Arrival, target: string): Promise<boolean> {
    const stats = await identify(pathOf(arrival))
    if (stats === undefined || !sameFile(arrival, stats)) return false
    await putAside(pathOf(arrival), target)
    return true
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

  /**
   * A tail that ends in the middle of a record is most often a copy that has stalled. Counted from when the file was
   * queued: a file server's clock need not be ours.
   */
  function mayGrow({ captures }: Inspection, { input, createdAt }: Job<Arrival>): Postponed | undefined {
    const ageMs = Date.now() - createdAt
    const whole = captures.every(({ complete, packets }) => complete && packets > 0)
    if (input.keep || whole || ageMs >= cutGraceMs) return undefined
    return {
      postponedMs: Math.ceil(Math.max(100, cutGraceMs - ageMs)),
      why: 'its last record is not complete, or it has none yet',
    }
  }

  /** Before anything is moved: the stored file of a capture that is being forgotten is about to go. */
  function waitForRemoval({ captures }: Inspection): Postponed | undefined {
    const known = captures.map(({ sha256 }) => ledger.captures.get(sha256)?.state)
    if (known.some((state) => state !== undefined && isBeingRemoved(state)))
      return { postponedMs: 1000, why: 'the rows of the same capture are being removed at this moment' }
    if (captures.some(isLeaving))
      return { postponedMs: 1000, why: 'retention is removing the file of the same capture at this moment' }
    return undefined
  }

  /**
   * How the captures get to their places: by a rename, or, where the file system refuses one (a bind mount, a folder
   * that is not ours), as copies. What is stored already stays as it is.
   */
  async function store(inspection: Inspection, path: string | Buffer, context: StageContext) {
    const [only] = inspection.captures
    if (only !== undefined && only.copy === undefined && (await identify(storedPath(only))) === undefined) {
      await flush(path)
      if (!(await canRename(path, storedPath(only))))
        return await store(await inspect(path, true, context), path, context)
      return { inspection, move: () => move(path, storedPath(only)) }
    }
    const moveCopies = async (): Promise<void> => {
      for (const capture of inspection.captures) {
        const target = storedPath(capture)
        if (capture.copy !== undefined && (await identify(target)) === undefined) await move(capture.copy, target)
      }
    }
    return { inspection, move: moveCopies }
  }

  /**
   * Runs after the recording, and so never takes away what is not accepted. An archive that held other things as well
   * is kept with the reason.
   */
  async function removeOriginal(arrival: Arrival, { file, inspection, quarantined }: Note): Promise<void> {
    if (arrival.keep || file === undefined || inspection === undefined) return
    const path = quarantined === undefined ? pathOf(arrival) : join(layout.dataDir, quarantined)
    const stats = await identify(path)
    if (stats === undefined || !sameFile(file, stats)) return
    const { ignored, fileSha256 } = inspection
    if (quarantined !== undefined) await rm(`${path}.reason.json`, { force: true })
    if (ignored.length === 0) return await unlink(path)
    const kept = await freeName(`${fileSha256.slice(0, 12)}-${safeName(arrival.name)}`)
    await putAside(path, kept)
    const reason = { file: arrival.name, source: arrival.source, ignored }
    await writeFile(`${kept}.reason.json`, `${JSON.stringify(reason, null, 2)}\n`)
  }

  function accept(arrival: Arrival, note: Note, context: StageContext): StageResult {
    const { container, fileSha256, captures, ignored } = note.inspection as Inspection
    const bytes = note.file?.bytes ?? arrival.bytes
    const { source } = arrival
    const told = captures.map((found) => ({ found, outcome: outcomeOf(found) }))
    const arrived = { name: arrival.name, source, container, fileSha256 }
    for (const { found, outcome } of told) {
      context.log.info(MESSAGES[outcome], {
        file: arrival.name,
        capture: found.sha256.slice(0, 16),
        source,
        packets: found.packets,
        bytes: found.bytes,
      })
    }
    for (const { member, reason } of ignored)
      context.log.warn('a member of an archive is no capture', { file: arrival.name, member, reason })
    return {
      guard: () => captures.forEach(checkAcceptable),
      facts: [
        ...told.map(({ found, outcome }): Fact => {
          const { member, sha256 } = found
          const capture = outcome === 'duplicate' ? undefined : newCapture(arrival, found, outcome)
          return { kind: 'arrival', arrival: { ...arrived, member, bytes, captureId: sha256, outcome }, capture }
        }),
        ...Object.entries(note.keyLogs ?? {}).map(([captureId, keyLog]): Fact => ({ kind: 'keys', captureId, keyLog })),
        ...ignored.map(
          ({ member, reason }): Fact => ({
            kind: 'arrival',
            arrival: { ...arrived, member, bytes: 0, outcome: 'quarantined', reason },
          }),
        ),
      ],
      handOffs: told
        .filter(({ outcome }) => outcome === 'accepted')
        .map(({ found: { sha256, bytes } }) => ({
          stage: 'convert',
          key: sha256,
          captureId: sha256,
          input: {},
          bytes,
        })),
      afterwards: async () => {
        await removeOriginal(arrival, note)
        if (!arrival.keep) for (const path of arrival.keys ?? []) await removeKeyLog(pathOf({ path }))
      },
      outputs: { captures: captures.map(({ sha256 }) => sha256) },
    }
  }

  /** As it looks now; when another process is faster, the ledger makes a duplicate of it. */
  function outcomeOf({ sha256, packets, complete }: FoundCapture): 'accepted' | 'empty' | 'duplicate' {
    if (ledger.captures.get(sha256) !== undefined) return 'duplicate'
    // Damage may hide packets that only the engine's reader finds, so only a whole file can be called empty.
    return packets === 0 && complete ? 'empty' : 'accepted'
  }

  function checkAcceptable(capture: FoundCapture): void {
    const known = ledger.captures.get(capture.sha256)
    if (known !== undefined && isBeingRemoved(known.state)) {
      throw new PipelineError('artifact_missing', 'the rows of the same capture are being removed at this moment', {
        retryable: true,
      })
    }
    if (isLeaving(capture))
      throw new PipelineError('artifact_missing', 'retention is removing the file of the same capture', {
        retryable: true,
      })
    // Of a known capture the file may have been removed since it was seen: then this one takes its place.
    const mustBeThere = known === undefined || known.fileRemovedAt !== null
    if (mustBeThere && !existsSync(storedPath(capture))) {
      throw new PipelineError('artifact_missing', 'its stored file went away before it was recorded', {
        retryable: true,
      })
    }
  }

  function isLeaving(capture: FoundCapture): boolean {
    return ledger.retention.isLeaving(relative(layout.dataDir, storedPath(capture)))
  }

  function newCapture({ name, source }: Arrival, capture: FoundCapture, state: 'accepted' | 'empty'): NewCapture {
    const { sha256: id, format, bytes, member } = capture
    const path = relative(layout.dataDir, storedPath(capture))
    // Kept with the capture, so that it is converted alike whatever the setting says later.
    const clockOffsetUs = clockOffsets.get(source) ?? 0
    return { id, name: member ?? name, source, format, bytes, path, state, clockOffsetUs }
  }

  function storedPath({ sha256, format }: FoundCapture): string {
    return join(layout.captures, `${sha256}.${format}`)
  }
}

const LINK_MESSAGE = 'a symbolic link, which is not followed; drop the file itself, or a hard link to it'

const MESSAGES = {
  accepted: 'capture accepted',
  empty: 'capture has no packets; nothing to do',
  duplicate: 'capture is known already; linked to the first',
}

/** A file that cannot be taken away would come again and again. Throws `io` with what to do. */
async function checkFolder(path: string | Buffer): Promise<void> {
  const folder = dirname(path.toString())
  if (!folder.isWellFormed() || folder.includes('\ufffd')) return
  await access(folder, constants.W_OK | constants.X_OK).catch((cause) => {
    throw new PipelineError(
      'io',
      `files in ${folder} cannot be renamed or deleted; give this user the right to write there`,
      { cause },
    )
  })
}

/** Tries it with a name beside the target: rename(2) alone tells whether two folders are on one mount. */
async function canRename(path: string | Buffer, target: string): Promise<boolean> {
  const probe = `${target}.probe`
  try {
    await link(path, probe)
    await unlink(probe)
    return true
  } catch {
    return false
  }
}
