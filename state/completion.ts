/**
 * Finished work as data: what the ledger is to hold once it is committed.
 *
 * It is data, not code, so that it can be kept until a commit that lies elsewhere (a Kafka transaction) is known, and
 * be told to the ledgers of other hosts. Applying one is part of a transaction; what applies it sees to it that that
 * happens once in a ledger.
 */

import type { Arrival, Conversion, KeyLog, NewCapture } from './captures.ts'
import type { Commit } from './commits.ts'
import type { NewJob, StageName } from './job.ts'
import type { PublishedChunk } from './published.ts'
import type { SinkCount } from './sinks.ts'

export type Fact =
  /** A file came. With a capture: it is accepted unless the ledger knows it already, which makes a duplicate of it. */
  | { kind: 'arrival'; arrival: Arrival; capture?: NewCapture }
  /** It is in work again, for ledgers that have forgotten it. */
  | { kind: 'capture'; capture: NewCapture }
  /** Keys of TLS are stored with it. */
  | { kind: 'keys'; captureId: string; keyLog: KeyLog }
  /** An engine has read it. */
  | { kind: 'conversion'; captureId: string; conversion: Conversion }
  /** Events of it are where any upload process takes them. */
  | { kind: 'published'; captureId: string; chunks: PublishedChunk[] }
  /** Rows are in the dataset of the ledger that says so. */
  | { kind: 'commit'; commit: Commit }
  /** A sink beside the tables has them. */
  | { kind: 'indexed'; sink: string; batch: string; counts: SinkCount[] }
  /** It was asked for that no row and no trace of it remains. */
  | { kind: 'forgotten'; captureId: string }

export interface Completion {
  /** Of the attempt: also the name of its work space. */
  lease: string
  stage: StageName
  jobs: { key: string; captureId?: string }[]
  outputs?: unknown
  /** Given up, and why; otherwise it is done. */
  failure?: Failure
  /** Directories that this attempt hands on, and that it has taken over; below the data directory. */
  keep: string[]
  consumed: string[]
  handOffs: NewJob[]
  facts: Fact[]
}

export interface Failure {
  code: string
  message: string
}

/** The captures whose end may be near once it is applied. */
export function capturesOf({ jobs, facts }: Pick<Completion, 'jobs' | 'facts'>): Set<string> {
  const ids = jobs.flatMap(({ captureId }) => captureId ?? [])
  for (const fact of facts) {
    if (fact.kind === 'indexed') ids.push(...fact.counts.map(({ captureId }) => captureId))
    else if (fact.kind === 'commit') ids.push(...fact.commit.counts.map(({ captureId }) => captureId))
    else if (fact.kind === 'capture') ids.push(fact.capture.id)
    else if (fact.kind === 'arrival')
      ids.push(...(fact.arrival.captureId === undefined ? [] : [fact.arrival.captureId]))
    else ids.push(fact.captureId)
  }
  return new Set(ids)
}
