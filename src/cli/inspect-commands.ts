/** The commands that look: `status`, `captures`, `receipt`, `failed`, `config`. */

import { messageOf } from '../../state/errors.ts'
import { type JobRow, STAGE_NAMES } from '../../state/job.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { GroupLag } from '../bus/kafka/lag.ts'
import { type Config, describeConfig } from '../config.ts'
import { waitText } from '../disk/wait-text.ts'
import { openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { receiptText } from './receipt-text.ts'
import { bytesText, durationText, printable, textTable, timeText } from './text.ts'

interface Output {
  json: boolean
}

export async function status({ json }: Output): Promise<number> {
  await using context = openContext()
  const { ledger, layout, meter } = context.parts()
  const depths = ledger.jobs.depths()
  const now = Date.now()
  const stages = STAGE_NAMES.map((stage) => {
    const of = (status: string) => depths.find((depth) => depth.stage === stage && depth.status === status)
    const waiting = of('ready')
    return {
      stage,
      ready: waiting?.jobs ?? 0,
      /** On the bus, for any host to take. */
      sent: of('sent')?.jobs ?? 0,
      running: of('running')?.jobs ?? 0,
      failed: of('failed')?.jobs ?? 0,
      oldestMs: waiting === undefined ? null : now - waiting.oldest,
    }
  })
  const captures = ledger.captures.summary().states
  const use = meter.measure()
  const waits = [...new Set(ledger.space.waits().map(waitText))]
  const disk = {
    ...context.config.disk,
    freeBytes: use.freeBytes,
    promisedBytes: use.promisedBytes,
    usedBytes: use.usedBytes,
    waits,
  }
  const bus = await busStatus(context.config)
  if (json) {
    context.print(JSON.stringify({ dataDir: layout.dataDir, stages, captures, disk, bus }, null, 2))
    return EXIT.ok
  }
  const rows = stages.map(({ stage, ready, sent, running, failed, oldestMs }) => [
    stage,
    ready,
    ...(bus.kind === 'kafka' ? [sent] : []),
    running,
    failed,
    oldestMs === null ? '' : durationText(oldestMs),
  ])
  context.print(
    textTable(['stage', 'waiting', ...(bus.kind === 'kafka' ? ['sent'] : []), 'running', 'failed', 'oldest'], rows),
  )
  context.print(
    `\ncaptures  ${
      Object.entries(captures)
        .map(([state, n]) => `${n} ${state}`)
        .join(', ') || 'none yet'
    }`,
  )
  context.print(
    `data      ${layout.dataDir}, ${bytesText(disk.freeBytes)} free (intake pauses below ${bytesText(disk.floorBytes)})`,
  )
  if (disk.budgetBytes > 0) context.print(`budget    ${budgetText(disk)}`)
  for (const text of waits) context.print(`waiting   ${text}`)
  if (bus.kind === 'kafka') context.print(`\n${busText(bus)}`)
  return EXIT.ok
}

function budgetText({
  usedBytes,
  budgetBytes,
  promisedBytes,
}: Record<'usedBytes' | 'budgetBytes' | 'promisedBytes', number>): string {
  const promised = promisedBytes > 0 ? `, ${bytesText(promisedBytes)} promised to work in hand` : ''
  return `${bytesText(usedBytes)} of ${bytesText(budgetBytes)} used${promised}`
}

interface BusStatus {
  kind: 'embedded' | 'kafka'
  groups?: GroupLag[]
  /** Why it cannot be told. */
  problem?: string
}

async function busStatus({ bus }: Config): Promise<BusStatus> {
  if (bus.kind === 'embedded') return { kind: 'embedded' }
  const { groupLags } = await import('../bus/kafka/lag.ts')
  try {
    return { kind: 'kafka', groups: await groupLags(bus) }
  } catch (error) {
    return { kind: 'kafka', problem: messageOf(error) }
  }
}

function busText({ groups = [], problem }: BusStatus): string {
  if (problem !== undefined) return `kafka     ${problem}`
  return textTable(
    ['group', 'topic', 'partitions', 'lag'],
    groups.map(({ group, topic, partitions, lag }) => [group, topic, partitions, lag]),
  )
}

export async function captures({ json }: Output): Promise<number> {
  await using context = openContext()
  const { ledger } = context.parts()
  const list = ledger.captures.list()
  if (json) {
    context.print(JSON.stringify(list, null, 2))
    return EXIT.ok
  }
  const waiting = waitingForIndex(ledger)
  const rows = list.map(({ id, state, packets, bytes, source, acceptedAt, fileRemovedAt, name }) => {
    const notes = [
      packets?.salvaged ? 'salvaged' : '',
      fileRemovedAt === null ? '' : 'file removed',
      waiting.has(id) ? `${waiting.get(id)} to be indexed` : '',
    ].filter(Boolean)
    const note = notes.length > 0 ? `${state} (${notes.join(', ')})` : state
    return [id.slice(0, 16), note, packets?.inFile ?? '', bytesText(bytes), source, timeText(acceptedAt), name]
  })
  context.print(textTable(['capture', 'state', 'packets', 'size', 'source', 'arrived', 'file'], rows))
  return EXIT.ok
}

/** Capture → events that Elasticsearch has not yet. */
function waitingForIndex({ jobs }: Ledger): Map<string, number> {
  const waiting = new Map<string, number>()
  for (const { stage, captureId, events } of [...jobs.list({ status: 'ready' }), ...jobs.list({ status: 'running' })])
    if (stage === 'index' && captureId !== null) waiting.set(captureId, (waiting.get(captureId) ?? 0) + events)
  return waiting
}

export async function receipt(text: string, { json }: Output): Promise<number> {
  await using context = openContext()
  const { ledger } = context.parts()
  const found = ledger.receipt(ledger.captures.resolve(text).id)
  context.print(json ? JSON.stringify(found, null, 2) : receiptText(found))
  return found.balanced ? EXIT.ok : EXIT.unbalanced
}

export async function failed({ json }: Output): Promise<number> {
  await using context = openContext()
  const jobs = context.parts().ledger.jobs.list({ status: 'failed' })
  if (json) context.print(JSON.stringify(jobs, null, 2))
  else if (jobs.length === 0) context.tell('nothing has failed')
  else for (const job of jobs) context.print(failureText(job))
  return EXIT.ok
}

function failureText({ stage, key, attempts, updatedAt, error, captureId }: JobRow): string {
  const of = captureId ? `, capture ${captureId.slice(0, 16)}` : ''
  return `${stage} ${printable(key)}${of}\n  ${timeText(updatedAt)}, attempt ${attempts}: ${printable(error ?? '')}`
}

export async function showConfig({ json }: Output): Promise<number> {
  await using context = openContext({ stateless: true })
  const settings = describeConfig(context.config)
  if (json) context.print(JSON.stringify(settings, null, 2))
  else
    context.print(
      textTable(
        ['setting', 'value', 'from'],
        settings.map(({ name, value, source }) => [name, value, source]),
      ),
    )
  return EXIT.ok
}
