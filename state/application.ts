/**
 * Completions in, changes of the ledger out. Everything here is part of the caller's transaction.
 */

import type { Artifacts } from './artifacts.ts'
import { type Captures, isBeingRemoved } from './captures.ts'
import type { Commits } from './commits.ts'
import { type Completion, capturesOf, type Fact } from './completion.ts'
import type { StageName } from './job.ts'
import type { Jobs } from './jobs.ts'
import type { Prepared } from './prepared.ts'
import type { Published } from './published.ts'
import type { Sinks } from './sinks.ts'

export interface ApplicationParts {
  jobs: Jobs
  captures: Captures
  commits: Commits
  artifacts: Artifacts
  published: Published
  prepared: Prepared
  sinks: Sinks
  settle(captureId: string): void
}

export function createApplication(parts: ApplicationParts) {
  const { jobs, artifacts, prepared } = parts

  function record(completion: Completion): void {
    const { lease, stage, outputs } = completion
    for (const { key } of completion.jobs) jobs.complete({ stage, key, lease }, outputs)
    takeOver(completion)
    for (const fact of completion.facts) applyFact(parts, fact)
    for (const job of completion.handOffs) jobs.add(job)
    settleAll(completion)
  }

  function applyPrepared(lease: string, isLocal: (stage: StageName) => boolean): boolean {
    const completion = prepared.get(lease)?.completion
    if (completion === undefined || !prepared.remove(lease)) return false
    finish(completion)
    takeOver(completion)
    for (const fact of completion.facts) applyFact(parts, fact)
    for (const job of completion.handOffs) {
      if (isLocal(job.stage)) jobs.add(job)
      else jobs.addSent(job)
    }
    settleAll(completion)
    return true
  }

  function applyElsewhere(completion: Completion, ledgerId: string): void {
    finish(completion)
    for (const fact of completion.facts) {
      if (fact.kind === 'commit') parts.commits.addElsewhere(fact.commit, ledgerId)
      else applyFact(parts, fact)
    }
    for (const job of completion.handOffs) jobs.addSent(job)
    for (const path of completion.consumed) artifacts.release(path)
    settleAll(completion)
  }

  function finish({ stage, jobs: finished, outputs, failure }: Completion): void {
    const status = failure === undefined ? 'done' : 'failed'
    for (const job of finished) jobs.finishAs(status, { stage, ...job }, { outputs, failure })
  }

  function takeOver({ keep, consumed, stage, jobs: [first] }: Completion): void {
    for (const path of keep) artifacts.add(path, stage, first?.captureId)
    for (const path of consumed) artifacts.release(path)
  }

  function settleAll(completion: Completion): void {
    for (const id of capturesOf(completion)) parts.settle(id)
  }

  return { record, applyPrepared, applyElsewhere }
}

function applyFact(parts: ApplicationParts, fact: Fact): void {
  const { captures, commits, published, sinks } = parts
  if (fact.kind === 'arrival') applyArrival(captures, fact)
  else if (fact.kind === 'capture') captures.add(fact.capture)
  else if (fact.kind === 'keys') captures.setKeyLog(fact.captureId, fact.keyLog)
  else if (fact.kind === 'conversion') captures.recordConversion(fact.captureId, fact.conversion)
  else if (fact.kind === 'published') published.add(fact.captureId, fact.chunks)
  else if (fact.kind === 'indexed') sinks.record(fact.sink, fact.batch, fact.counts)
  else if (fact.kind === 'commit') commits.add(fact.commit)
  else forget(parts, fact.captureId)
}

/** Another process may have been faster with the same content. */
function applyArrival(captures: Captures, { arrival, capture }: Extract<Fact, { kind: 'arrival' }>): void {
  const isKnown = capture !== undefined && !captures.add(capture)
  captures.addArrival(isKnown ? { ...arrival, outcome: 'duplicate' } : arrival)
  // Whoever records an arrival has its file in its place.
  if (arrival.captureId !== undefined) captures.markFileStored(arrival.captureId)
}

/** Rows in our own dataset are taken out by whoever sweeps; without any it is gone at once. */
function forget({ jobs, captures, commits, published, sinks }: ApplicationParts, captureId: string): void {
  published.removeOf(captureId)
  sinks.removeOf(captureId)
  jobs.removeOf(captureId)
  const state = captures.get(captureId)?.state
  if (state !== undefined && commits.filesOf(captureId).length > 0) {
    if (!isBeingRemoved(state)) captures.setState(captureId, 'forgotten')
    return
  }
  commits.removeOf(captureId)
  if (state !== undefined && !isBeingRemoved(state)) captures.remove(captureId)
}
