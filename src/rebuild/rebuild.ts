/**
 * A ledger made anew: of the dataset, the captures, and what a former ledger still tells.
 *
 * In: the data directory, and a ledger to take over from (a backup, or the damaged one). Out: a ledger in which every
 * capture is proven whole, or queued to be converted again once its rows are removed. It is built beside the former
 * one and takes its place in one step; whoever is killed before that has changed nothing but files of the dataset that
 * cannot be read, or hold nothing of their own, which are in quarantine. Safe to repeat.
 */

import { rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { putAside, shortHash } from '../../stages/durable.ts'
import type { CaptureInspector } from '../../stages/ports.ts'
import { PipelineError } from '../../state/errors.ts'
import { type Layout, makeLayout } from '../../state/layout.ts'
import {
  beginReplacement,
  buildingPath,
  endReplacement,
  finishReplacement,
  replaceLedger,
} from '../../state/replacement.ts'
import type { Config } from '../config.ts'
import { makeWorkDir } from '../query/dataset.ts'
import { buildLedger } from './build.ts'
import { readCaptures } from './capture-evidence.ts'
import { readDataset } from './dataset-evidence.ts'
import { readQuarantine } from './quarantine-evidence.ts'
import { openSalvage, type Salvage } from './salvage.ts'
import { checkUnused } from './unused.ts'
import { type Evidence, type Verdict, verdictsOf } from './verdicts.ts'

export interface RebuildOptions {
  config: Pick<Config, 'bus' | 'query' | 'upload'>
  layout: Layout
  inspector: CaptureInspector
  /** The ledger to take over from; default: the one that is there. */
  from?: string
  /** What it is at. */
  say(text: string): void
}

export interface Rebuilt {
  /** The former ledger's new name; absent when there was none. */
  kept?: string
  /** A replacement that was cut short has been finished, and nothing else was done. */
  wasFinished: boolean
  verdicts: Verdict[]
  /** Captures of which nothing is left. */
  gone: string[]
  /** Files that were put into quarantine, with why. */
  aside: { path: string; reason: string }[]
  /** Files that were left alone, with why. */
  leftAlone: { path: string; reason: string }[]
  /** Rows taken over from the former ledger, by table; absent when nothing of it could be read. */
  copied?: Record<string, number>
  /** What of the former ledger could not be read. */
  unread: string[]
  /** Events that came without a capture. */
  streamed: number
}

const MB = 1024 * 1024

/** Throws `usage` where the ledger is shared, `io` where it is in use, `ledger_damaged`. */
export async function rebuild({ config, layout, inspector, from, say }: RebuildOptions): Promise<Rebuilt> {
  checkAlone(config)
  makeLayout(layout)
  const { isUnfinished } = beginReplacement(layout.ledger)
  try {
    checkUnused(layout.ledger)
    if (isUnfinished) {
      const kept = finishReplacement(layout.ledger)
      if (from === undefined) return { ...NOTHING, kept, wasFinished: true }
      beginReplacement(layout.ledger)
    }
    const former = openSalvage(from ?? layout.ledger)
    using salvage = 'problem' in former ? undefined : former
    const evidence = await gather({ config, layout, inspector, say, salvage })
    const { verdicts, gone } = verdictsOf(evidence)
    const aside = await setAside(evidence, layout)
    say('building the ledger')
    const copied = buildLedger({ path: buildingPath(layout.ledger), layout, evidence, verdicts, salvage })
    const unread = 'problem' in former ? [former.problem] : [...former.problems]
    salvage?.[Symbol.dispose]()
    checkUnused(layout.ledger)
    const kept = replaceLedger(layout.ledger)
    const leftAlone = [
      ...evidence.dataset.foreign.map((path) => ({ path, reason: 'it is no file of ours' })),
      ...evidence.quarantine.damaged,
      ...[...evidence.captures.damaged].map(([id, reason]) => ({ path: join(layout.captures, id), reason })),
    ]
    const streamed = evidence.dataset.logs
      .filter(({ captureId }) => captureId === '')
      .reduce((n, { rows }) => n + rows, 0)
    return {
      ...{ kept, wasFinished: false, verdicts, gone, aside, leftAlone, unread, streamed },
      ...(salvage !== undefined && { copied }),
    }
  } finally {
    endReplacement(layout.ledger)
  }
}

const NOTHING: Rebuilt = {
  ...{ wasFinished: false, verdicts: [], gone: [], aside: [], leftAlone: [], unread: [], streamed: 0 },
}

/** What is on a bus cannot be found in the folders of one host. */
function checkAlone({ bus }: RebuildOptions['config']): void {
  if (bus.kind === 'embedded') return
  throw new PipelineError(
    'usage',
    'with BUS=kafka the ledgers of all hosts follow one another, and one alone cannot be restored or rebuilt; docs/kafka.md',
  )
}

async function gather({
  config: { query, upload },
  layout,
  inspector,
  say,
  salvage,
}: Omit<RebuildOptions, 'from'> & { salvage?: Salvage }): Promise<Evidence> {
  const tempDir = await makeWorkDir(layout.cache)
  try {
    say('reading the dataset')
    const dataset = await readDataset({
      ...{ root: layout.parquet, tempDir, threads: upload.threads },
      memoryMb: Math.round(query.memoryBytes / MB),
    })
    say(`reading the captures; ${dataset.files.length} files of the dataset are done`)
    return {
      dataset,
      quarantine: await readQuarantine(join(layout.quarantine, 'lines')),
      captures: await readCaptures(layout, inspector, (done, all) => {
        if (done > 0 && done % 100 === 0) say(`reading the captures: ${done} of ${all}`)
      }),
      former: salvage?.captures ?? new Map(),
    }
  } finally {
    await rm(tempDir, { recursive: true, force: true })
  }
}

async function setAside({ dataset }: Evidence, layout: Layout): Promise<Rebuilt['aside']> {
  const redundant = dataset.redundant.map((path) => ({ path, reason: 'every row of it is in other files as well' }))
  const aside = [...dataset.damaged, ...redundant]
  for (const { path, reason } of aside) {
    const target = join(layout.quarantine, `dataset-${shortHash(path)}-${basename(path)}`)
    const told = { file: path, code: 'artifact_damaged', reason, at: new Date().toISOString() }
    await writeFile(`${target}.reason.json`, `${JSON.stringify(told, null, 2)}\n`)
    await putAside(path, target)
  }
  return aside
}
