/**
 * The measures as Prometheus reads them: text exposition format 0.0.4. One list says of every metric its name, what it is
 * for, and where its samples come from; docs/metrics.md is made of it.
 */

import { ARRIVAL_OUTCOMES } from '../../state/captures.ts'
import type { StageTally } from '../tally.ts'
import type { Measures } from './measures.ts'

/** A summary's have names of their own behind the metric's: `_sum`, `_count`. */
export type Sample = [labels: Record<string, string>, value: number, suffix?: '_sum' | '_count']

export interface Metric {
  name: string
  help: string
  type: 'gauge' | 'counter' | 'summary'
  samples(measures: Measures): Sample[]
}

const PREFIX = 'pcap_pipeline_'
const STATUSES = ['waiting', 'running', 'sent', 'failed'] as const
const CAPTURE_STATES = ['accepted', 'done', 'unbalanced', 'empty', 'failed', 'forgetting', 'reprocessing', 'forgotten']

const metric =
  (type: Metric['type']) =>
  (name: string, help: string, samples: Metric['samples']): Metric => ({
    name: `${PREFIX}${name}`,
    help,
    type,
    samples,
  })
const [gauge, counter, summary] = [metric('gauge'), metric('counter'), metric('summary')]
const one = (value: number): Sample[] => [[{}, value]]
const yes = (value: boolean) => (value ? 1 : 0)

const byStage =
  (value: (tally: StageTally) => number): Metric['samples'] =>
  ({ tally }) =>
    [...tally.stages].map(([stage, each]): Sample => [{ stage }, value(each)])

export const METRICS: readonly Metric[] = [
  gauge('info', 'The version that runs.', ({ health }) => [[{ version: health.version }, 1]]),
  gauge('up', 'Whether it can work: 0 when it is failing.', ({ health }) => one(yes(health.state !== 'failing'))),
  gauge('degraded', 'Whether something needs a look.', ({ health }) => one(yes(health.state !== 'ok'))),
  gauge(
    'start_time_seconds',
    'When this process started, since the epoch; it changes with each restart.',
    ({ health }) => one(Math.round(Date.parse(health.startedAt) / 1000)),
  ),

  gauge('jobs', 'Jobs by stage and status (waiting, running, sent, failed).', ({ health }) =>
    health.stages.flatMap((stage) => STATUSES.map((status): Sample => [{ stage: stage.stage, status }, stage[status]])),
  ),
  gauge('backlog_bytes', 'Bytes of the input of jobs that wait or run, by stage.', ({ backlog }) =>
    backlog.map(({ stage, bytes }): Sample => [{ stage }, bytes]),
  ),
  gauge('oldest_job_age_seconds', 'Age of the oldest job that waits, by stage.', ({ health }) =>
    health.stages.map(({ stage, oldestSeconds }): Sample => [{ stage }, oldestSeconds ?? 0]),
  ),
  gauge('jobs_done_last_minute', 'Jobs that were finished within the last minute, by any process.', ({ health }) =>
    health.stages.map(({ stage, doneLastMinute }): Sample => [{ stage }, doneLastMinute]),
  ),
  gauge('events_last_minute', 'Events that were worked on within the last minute, by any process.', ({ health }) =>
    health.stages.map(({ stage, eventsLastMinute }): Sample => [{ stage }, eventsLastMinute]),
  ),
  counter(
    'jobs_done_total',
    'Jobs that this process finished, by stage.',
    byStage(({ done }) => done),
  ),
  counter(
    'jobs_given_up_total',
    'Jobs that this process gave up, by stage.',
    byStage(({ givenUp }) => givenUp),
  ),
  counter(
    'job_failures_total',
    'Attempts of this process that failed, by stage and code (docs/failures.md).',
    ({ tally }) =>
      [...tally.stages].flatMap(([stage, { failures }]): Sample[] => [
        [{ stage, code: '' }, 0],
        ...[...failures].map(([code, n]): Sample => [{ stage, code }, n]),
      ]),
  ),
  counter(
    'events_done_total',
    'Events of the jobs that this process finished, by stage.',
    byStage(({ events }) => events),
  ),
  counter(
    'bytes_done_total',
    'Bytes of the input of these jobs, by stage.',
    byStage(({ bytes }) => bytes),
  ),
  summary('work_seconds', 'Duration of the finished calls of a stage; one may take several jobs.', ({ tally }) =>
    [...tally.stages].flatMap(([stage, { seconds, calls }]): Sample[] => [
      [{ stage }, seconds, '_sum'],
      [{ stage }, calls, '_count'],
    ]),
  ),

  gauge('captures', 'Captures by state; the receipt of one that is done balances.', ({ health }) =>
    CAPTURE_STATES.map((state): Sample => [{ state }, health.captures[state] ?? 0]),
  ),
  gauge('captures_salvaged', 'Captures that were cut or damaged and used as far as they are whole.', ({ sums }) =>
    one(sums.salvaged),
  ),
  gauge('captures_with_warnings', 'Captures whose conversion had something to say.', ({ sums }) =>
    one(sums.withWarnings),
  ),
  gauge('quarantined_records', 'Records in quarantine, which became no rows.', ({ sums }) => one(sums.quarantined)),
  gauge('arrivals', 'Files that came, by outcome.', ({ sums }) =>
    ARRIVAL_OUTCOMES.map((outcome): Sample => [{ outcome }, sums.arrivals[outcome] ?? 0]),
  ),

  gauge('rows', 'Rows by sink.', ({ health, sums }) =>
    health.sinks.map(({ name, rows }): Sample => [{ sink: name }, rows ?? sums.sinks[name]?.documents ?? 0]),
  ),
  gauge('rejected_records', 'Records that a sink refused, by sink.', ({ health, sums }) =>
    health.sinks.map(({ name }): Sample => [{ sink: name }, sums.sinks[name]?.rejected ?? 0]),
  ),
  gauge('sink_up', 'Whether a sink takes events; one that is not set is left out.', ({ health }) =>
    health.sinks.flatMap(({ name, state }): Sample[] =>
      state === 'off' ? [] : [[{ sink: name }, yes(state === 'ok')]],
    ),
  ),
  counter('dead_letters_total', 'Messages of live events that this process refused (BUS=kafka).', ({ health }) =>
    one(health.bus.counters.kafka_dead_letters ?? 0),
  ),
  gauge('bus_info', 'What carries work between the stages.', ({ health }) => [[{ kind: health.bus.kind }, 1]]),
  gauge('bus_lag', 'Messages that are on the bus and not read yet (BUS=kafka).', ({ health }) =>
    one(health.bus.counters.kafka_lag ?? 0),
  ),
  gauge('bus', 'Counters and gauges of the bus by name, where it has some (BUS=kafka).', ({ health }) =>
    Object.entries(health.bus.counters).map(([name, n]): Sample => [{ name }, n]),
  ),

  gauge('intake_paused', 'Whether intake is paused, by reason.', ({ health, isIndexPaused }) => [
    [{ reason: 'disk' }, yes(health.disk.freeBytes < health.disk.floorBytes || health.disk.waits.length > 0)],
    [{ reason: 'elasticsearch' }, yes(isIndexPaused)],
  ]),
  gauge('disk_free_bytes', 'Free space on the disk of the data.', ({ health }) => one(health.disk.freeBytes)),
  gauge('disk_total_bytes', 'Size of the disk of the data.', ({ health }) => one(health.disk.totalBytes)),
  gauge('disk_floor_bytes', 'Free space below which intake pauses.', ({ health }) => one(health.disk.floorBytes)),
  gauge('disk_used_bytes', 'Bytes of all that is kept, the inbox apart.', ({ health }) => one(health.disk.usedBytes)),
  gauge('disk_budget_bytes', 'What that may be; 0 is no budget.', ({ health }) => one(health.disk.budgetBytes)),
  gauge('disk_promised_bytes', 'What work in hand may still take.', ({ health }) => one(health.disk.promisedBytes)),
  gauge('directory_bytes', 'Bytes by directory of the data.', ({ directories }) =>
    directories.map(({ name, bytes }): Sample => [{ directory: name }, bytes]),
  ),
  gauge('captures_bytes', 'Bytes of the stored captures.', ({ health }) => one(health.disk.capturesBytes)),
  gauge('dataset_bytes', 'Bytes of the dataset.', ({ health }) => one(health.disk.datasetBytes)),

  gauge('memory_rss_bytes', 'Resident memory of this process.', ({ health }) => one(health.memory.rssBytes)),
  gauge('memory_heap_bytes', "Memory of this process's heap.", ({ health }) => one(health.memory.heapBytes)),
  gauge('children', 'Child processes of this process, by what they are for.', ({ children }) =>
    children.map(({ kind, processes }): Sample => [{ kind }, processes]),
  ),
  gauge('children_rss_bytes', 'Resident memory of these, together.', ({ children }) =>
    children.map(({ kind, rssBytes }): Sample => [{ kind }, rssBytes]),
  ),
]

export function metricsText(measures: Measures): string {
  const shown = METRICS.map((each) => ({ each, samples: each.samples(measures) }))
  const texts = shown.flatMap(({ each, samples }) => (samples.length > 0 ? metricText(each, samples) : []))
  return `${texts.join('\n')}\n`
}

function metricText({ name, help, type }: Metric, samples: Sample[]): string {
  const lines = samples.map(([labels, value, suffix = '']) => {
    return `${name}${suffix}${labelText(labels)} ${Number.isFinite(value) ? value : 0}`
  })
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n')
}

function labelText(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
