/** What one stage hands to the next: the inputs of their jobs, as they lie in the ledger. All paths are relative. */

import type { Numbering } from './ports.ts'

/** Convert → split: what the engine says it wrote. */
export interface LogFile {
  logType: string
  records: number
  bytes: number
}

export interface SplitInput {
  /** The work space that is taken over, below the data directory. */
  artifact: string
  /** Where the `<log>.ndjson` files lie, below the data directory. */
  dir: string
  logs: LogFile[]
}

/** Split → distribute; live events → upload. */
export interface Chunk extends Numbering {
  /** Below the directory that holds it. */
  file: string
  logType: string
  lines: number
  bytes: number
  /** Where they are not those of the job and of the batch. */
  captureId?: string
  source?: string
}

export interface DistributeInput {
  /** The work space that is taken over, below the data directory. */
  artifact: string
  chunks: Chunk[]
}

/** Distribute → upload → index. */
export interface Batch {
  /** Its directory, below the data directory. */
  dir: string
  source: string
  chunks: Chunk[]
  /** Upload → index: which of its events watch lists mean, a file in its directory (event-flags.ts). */
  flags?: string
}
