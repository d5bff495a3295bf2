/** The health as Prometheus reads it: text exposition format 0.0.4. */

import type { Health } from './contract.ts'

type Sample = [labels: Record<string, string>, value: number]

interface Metric {
  name: string
  help: string
  type: 'gauge' | 'counter'
  samples: Sample[]
}

export function metricsText(health: Health): string {
  return `${metricsOf(health)
    .filter(({ samples }) => samples.length > 0)
    .map(metricText)
    .join('\n')}\n`
}

function metricsOf({ stages, captures, disk, memory, bus, state, sinks, version }: Health): Metric[] {
  const gauge = (name: string, help: string, samples: Sample[]): Metric => ({
    name: `pcap_pipeline_${name}`,
    help,
    type: 'gauge',
    samples,
  })
  const one = (value: number): Sample[] => [[{}, value]]
  const statuses = ['waiting', 'running', 'sent', 'failed'] as const
  return [
    gauge('info', 'The version that runs.', [[{ version }, 1]]),
    gauge('up', 'Whether it can work: 0 when it is failing.', one(state === 'failing' ? 0 : 1)),
    gauge('degraded', 'Whether something needs a look.', one(state === 'ok' ? 0 : 1)),
    gauge(
      'jobs',
      'Jobs by stage and status.',
      stages.flatMap((stage) => statuses.map((status): Sample => [{ stage: stage.stage, status }, stage[status]])),
    ),
    gauge(
      'oldest_job_age_seconds',
      'Age of the oldest job that waits.',
      stages.map(({ stage, oldestSeconds }): Sample => [{ stage }, oldestSeconds ?? 0]),
    ),
    gauge(
      'jobs_done_last_minute',
      'Jobs that were finished within the last minute.',
      stages.map(({ stage, doneLastMinute }): Sample => [{ stage }, doneLastMinute]),
    ),
    gauge(
      'events_last_minute',
      'Events that were worked on within the last minute.',
      stages.map(({ stage, eventsLastMinute }): Sample => [{ stage }, eventsLastMinute]),
    ),
    gauge(
      'captures',
      'Captures by state.',
      Object.entries(captures).map(([name, n]): Sample => [{ state: name }, n]),
    ),
    gauge(
      'rows',
      'Rows by sink.',
      sinks.flatMap(({ name, rows }): Sample[] => (rows === null ? [] : [[{ sink: name }, rows]])),
    ),
    gauge(
      'sink_up',
      'Whether a sink takes events.',
      sinks.map(({ name, state: now }): Sample => [{ sink: name }, now === 'ok' ? 1 : 0]),
    ),
    gauge('disk_free_bytes', 'Free space on the disk of the data.', one(disk.freeBytes)),
    gauge('disk_floor_bytes', 'Free space below which intake pauses.', one(disk.floorBytes)),
    gauge('disk_used_bytes', 'Bytes of all that is kept, the inbox apart.', one(disk.usedBytes)),
    gauge('disk_budget_bytes', 'What that may be; 0 is no budget.', one(disk.budgetBytes)),
    gauge('disk_promised_bytes', 'What work in hand may still take.', one(disk.promisedBytes)),
    gauge('intake_paused', 'Whether intake waits for disk space.', one(disk.waits.length > 0 ? 1 : 0)),
    gauge('captures_bytes', 'Bytes of the stored captures.', one(disk.capturesBytes)),
    gauge('dataset_bytes', 'Bytes of the dataset.', one(disk.datasetBytes)),
    gauge('memory_rss_bytes', 'Resident memory of this process.', one(memory.rssBytes)),
    gauge('memory_heap_bytes', "Memory of this process's heap.", one(memory.heapBytes)),
    gauge(
      'bus',
      'Counters and gauges of the bus.',
      Object.entries(bus.counters).map(([name, n]): Sample => [{ name }, n]),
    ),
  ]
}

function metricText({ name, help, type, samples }: Metric): string {
  const lines = samples.map(([labels, value]) => `${name}${labelText(labels)} ${Number.isFinite(value) ? value : 0}`)
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n')
}

function labelText(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
