import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { METRICS } from '../../../src/api/metrics.ts'
import { sample } from '../../fixtures/variants.ts'
import { type ApiHome, openApiHome } from '../../support/api.ts'
import { metricsTable } from '../../support/metrics-page.ts'
import { until } from '../../support/pipeline.ts'
import { canRunPromtool, noPromtool, promtool } from '../../support/promtool.ts'

const root = join(import.meta.dirname, '../../..')
const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/

async function scrape(home: ApiHome) {
  const { text, headers } = await home.get('/metrics')
  const lines = text.trim().split('\n')
  const samples = lines.flatMap((line) => {
    const [, name = '', labels = '', value] = LINE.exec(line) ?? []
    return line.startsWith('#') ? [] : [{ name, labels, value: Number(value) }]
  })
  const value = (name: string, labels = '') =>
    samples.find((each) => each.name === `pcap_pipeline_${name}` && each.labels === labels)?.value
  return { text, headers, lines, samples, value }
}

describe('/metrics', () => {
  it('tells of every stage, of the captures and of the disk, what the ledger and this process know', async () => {
    await using home = await openApiHome()
    const [id] = await home.load('sample.pcap', sample())
    const records = home.parts.ledger.receipt(id as string).total.records
    const { headers, lines, value } = await scrape(home)
    expect(headers['content-type']).toContain('version=0.0.4')
    for (const line of lines)
      expect(line).toMatch(
        /^# (HELP|TYPE) pcap_pipeline_\w+ .+$|^pcap_pipeline_\w+(\{(\w+="[^"\n]*",?)+\})? [-\d.e+]+$/,
      )
    for (const stage of ['monitor', 'convert', 'split', 'distribute', 'upload']) {
      expect(value('jobs', `stage="${stage}",status="waiting"`)).toBe(0)
      expect(value('jobs_done_total', `stage="${stage}"`)).toBeGreaterThan(0)
      expect(value('work_seconds_count', `stage="${stage}"`)).toBeGreaterThan(0)
      expect(value('work_seconds_sum', `stage="${stage}"`)).toBeGreaterThan(0)
    }
    expect(value('events_done_total', 'stage="upload"')).toBe(records)
    expect(value('captures', 'state="done"')).toBe(1)
    expect(value('captures', 'state="unbalanced"')).toBe(0)
    expect(value('arrivals', 'outcome="accepted"')).toBe(1)
    expect(value('rows', 'sink="parquet"')).toBe(records)
    // Whole blocks of the disk.
    expect(value('directory_bytes', 'directory="captures"')).toBe(Math.ceil(sample().length / 4096) * 4096)
    expect(value('intake_paused', 'reason="disk"')).toBe(0)
    expect(value('children', 'kind="worker"')).toBe(1)
    expect(value('children_rss_bytes', 'kind="worker"')).toBeGreaterThan(20_000_000)
    expect(value('start_time_seconds')).toBeCloseTo((Date.now() - process.uptime() * 1000) / 1000, -1)
  }, 60_000)

  it('counts what goes wrong: salvaged captures, failures by their code, what was given up', async () => {
    await using home = await openApiHome()
    const [id] = (await home.load('cut.pcap', sample().subarray(0, 20_000))) as [string]
    expect((await scrape(home)).value('captures_salvaged')).toBe(1)
    rmSync(join(home.parts.layout.dataDir, home.parts.ledger.captures.get(id)?.path as string))
    await home.post(`/api/captures/${id}/reprocess`, {})
    await until(() => home.parts.ledger.captures.get(id)?.state === 'failed', 'it fails')
    const given = async () => (await scrape(home)).value('jobs', 'stage="convert",status="failed"') === 1
    await until(given, 'it is shown')
    const { value } = await scrape(home)
    expect(value('job_failures_total', 'stage="convert",code="artifact_missing"')).toBe(1)
    expect(value('jobs_given_up_total', 'stage="convert"')).toBe(1)
    expect(value('captures', 'state="failed"')).toBe(1)
  }, 60_000)

  it('exposes every metric that the rules and the dashboard name', async () => {
    await using home = await openApiHome()
    const { samples } = await scrape(home)
    const exposed = new Set(samples.map(({ name }) => name))
    for (const file of ['deploy/prometheus/pcap-pipeline.rules.yml', 'deploy/grafana/pcap-pipeline.json']) {
      const named = readFileSync(join(root, file), 'utf8').match(/\bpcap_pipeline_\w+/g) ?? []
      expect(named.length).toBeGreaterThan(10)
      expect([...new Set(named)].filter((name) => !exposed.has(name))).toEqual([])
    }
  }, 60_000)

  it('tells of each metric once, and all of them in docs/metrics.md', () => {
    const names = METRICS.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
    const page = readFileSync(join(root, 'docs/metrics.md'), 'utf8')
    expect(page).toContain(metricsTable())
    expect(page.match(/^\| `pcap_pipeline_/gm)).toHaveLength(METRICS.length)
  })

  it.skipIf(!canRunPromtool)(
    `passes promtool${noPromtool}`,
    async () => {
      await using home = await openApiHome()
      expect(promtool(['check', 'metrics'], (await scrape(home)).text)).toBe('')
    },
    60_000,
  )
})
