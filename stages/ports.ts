/**
 * What the stages need of the world, written by those who use it. `src/` holds the adapters; the comments
 * state guarantees that every adapter gives.
 */

import type { CaptureFormat, PacketAccount, TlsAccount } from '../state/capture.ts'
import type { EventFlags } from './event-flags.ts'

/** One line a call: the event is a sentence, its values are keys. Never a secret, never payload bytes. */
export interface Log {
  debug(message: string, values?: LogValues): void
  info(message: string, values?: LogValues): void
  warn(message: string, values?: LogValues): void
  error(message: string, values?: LogValues): void
  /** A logger that adds these values to each of its lines; `component` names the line's COMPONENT. */
  child(values: LogValues): Log
}

export type LogValues = Record<string, string | number | boolean | undefined>

export interface ConvertRequest {
  /** An uncompressed pcap or pcapng file, as accepted by the monitor. */
  capturePath: string
  /** SHA-256 of that file's content, 64 hex digits. */
  captureId: string
  /** Microseconds to add to the time of each packet: whatever follows from it is told in the corrected time. */
  clockOffsetUs?: number
  /** A key log of TLS (RFC 9850) that came with the capture; only to be used where the engine may decrypt. */
  keysPath?: string
  /** An existing, empty directory for the `<log>.ndjson` files. */
  outDir: string
  /** An existing, empty directory for whatever the engine needs on the way; the caller removes it. */
  workDir: string
  /** Aborted on a time limit or on shutdown: end all child processes, then reject with the signal's reason. */
  signal: AbortSignal
  log: Log
  onProgress?: (progress: { bytes: number; packets: number }) => void
}

export interface ConvertResult {
  engine: 'zeek' | 'tshark'
  engineVersion: string
  /** Zeek log type → what was written of it. A type without records has no file and no entry. */
  logs: Record<string, { records: number; bytes: number }>
  packets: PacketAccount
  /** Where TLS was to be decrypted and there were keys. */
  tls?: TlsAccount
  /** What an analyst should know about this conversion, a sentence each. */
  warnings: string[]
}

/**
 * Makes Zeek's logs of a capture.
 *
 * Guarantees: `outDir` holds exactly the files that the result names, one JSON object a line in Zeek's own
 * flat field names (`id.orig_h`), every line ended by `\n`; the same capture gives the same lines, uids
 * included; uids of different captures differ; memory does not grow with the capture; no child process
 * outlives the call.
 */
export interface Engine {
  readonly name: 'zeek' | 'tshark'
  convert(request: ConvertRequest): Promise<ConvertResult>
}

/** A capture inside a file: the file itself, or what was compressed in it. */
export interface FoundCapture {
  /** Of the uncompressed content. */
  sha256: string
  bytes: number
  format: CaptureFormat
  /** Whole packet records; when the structure is damaged, those before the damage. */
  packets: number
  /** The last record ends where the content ends; false for a cut tail and for damage. */
  complete: boolean
  /** Its name in a zip archive. */
  member?: string
  /** The uncompressed copy, flushed to disk; absent when the file itself is the uncompressed capture and no copy was asked for. */
  copy?: string
}

export interface Inspection {
  container: 'none' | 'gzip' | 'zstd' | 'zip'
  /** Of the file as it lies there. */
  fileSha256: string
  captures: FoundCapture[]
  /** Members of an archive that are no captures. */
  ignored: { member: string; reason: string }[]
}

export interface InspectOptions {
  /** An existing directory for uncompressed copies. */
  copyDir: string
  /** Copy even what is not compressed. */
  copy: boolean
  signal: AbortSignal
  onProgress?: (bytes: number) => void
}

/**
 * Finds out what a file is, by its content alone.
 *
 * Guarantees: the file is read once, from start to end, in bounded memory; what it decompresses to is bounded.
 * Throws `capture_not_recognized`, `capture_unreadable` and `capture_too_large`, none of them retryable.
 */
export interface CaptureInspector {
  inspect(path: string | Buffer, options: InspectOptions): Promise<Inspection>
}

/** How the events of a chunk are numbered, which is how they get their ids. */
export interface Numbering {
  /** 0-based number of its first line within the log: events are numbered by it. */
  firstOrdinal: number
  /**
   * `explicit`: each line begins with its number, `{"#":17,"ts":…}`, or is `{"#":17}` for an empty record; then
   * `firstOrdinal` says nothing. Absent: the lines follow one another.
   */
  numbering?: 'explicit'
  /** An event's id is this and its number. Absent: 24 digits of the capture's id, the log type. */
  idPrefix?: string
}

/** Lines of one log type and one origin: of one capture, or of events that came without one. */
export interface EventChunk extends Numbering {
  path: string
  logType: string
  /** Absent: the rows have none, and `idPrefix` is there. */
  captureId?: string
  source: string
  lines: number
  bytes: number
}

export interface IndexRequest {
  chunks: readonly EventChunk[]
  /** Whom watch lists mean by which of these events. */
  flags?: EventFlags | undefined
  /** Does not exist yet, in an existing directory: where lines go that become no document. */
  deadLetterFile: string
  signal: AbortSignal
  onProgress?: (events: number) => void
}

export interface IndexResult {
  /** In the order of the chunks: lines = documents + the sum of rejected. `duplicates` are documents that were there. */
  chunks: { lines: number; documents: number; duplicates: number; rejected: Record<string, number> }[]
  hasDeadLetters: boolean
  requests: number
  /** Of documents, as they were sent. */
  bytes: number
  /** Documents that were sent again. */
  retried: number
}

/**
 * Where events become documents that are searched, beside their rows.
 *
 * Guarantees: every line of every chunk is a document, or a line of the dead-letter file with the server's reason;
 * the same event is the same document whenever it is sent. Throws `sink_down` while the server takes nothing.
 */
export interface EventIndex {
  index(request: IndexRequest): Promise<IndexResult>
}

export interface SinkRequest {
  chunks: readonly EventChunk[]
  /** Exists and is empty, on the file system of the dataset. */
  stagingDir: string
  /** Goes into file names. */
  commitId: string
  ingestTimeMs: number
  signal?: AbortSignal
}

export interface SinkResult {
  /** Below `stagingDir`, by the path that they get below the dataset's root. */
  files: { logType: string; path: string; rows: number; bytes: number }[]
  /** In the order of the chunks: lines = rows + the sum of quarantined. */
  chunks: { lines: number; rows: number; quarantined: Partial<Record<string, number>> }[]
  /** Below `stagingDir`: the quarantined lines with their reasons, where there are any. */
  quarantineFile?: string
  /** Of the rows that watch lists mean; absent where no row is. */
  flags?: EventFlags
}

/**
 * Where events become rows.
 *
 * Guarantees: every line of every chunk is a row or a quarantined line; all files are on the disk when the
 * call returns; nothing outside `stagingDir` is touched; memory is bounded.
 */
export interface EventSink {
  write(request: SinkRequest): Promise<SinkResult>
}
