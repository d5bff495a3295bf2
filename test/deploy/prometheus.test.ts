import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { canRunPromtool, noPromtool, promtool } from '../support/promtool.ts'

const root = join(import.meta.dirname, '../../deploy')
const rules = join(root, 'prometheus/pcap-pipeline.rules.yml')
const tests = readdirSync(join(root, 'prometheus/tests')).map((name) => join(root, 'prometheus/tests', name))
const alerts = [...readFileSync(rules, 'utf8').matchAll(/^ +- alert: (\w+)$/gm)].map(([, name]) => name as string)

describe('the rules for Prometheus', () => {
  it.skipIf(!canRunPromtool)(`are rules${noPromtool}`, () => {
    expect(promtool(['check', 'rules', rules])).toContain(`SUCCESS: ${alerts.length} rules found`)
  })

  it.skipIf(!canRunPromtool)(`fire when they have to, say what they have to, and are silent else${noPromtool}`, () => {
    expect(promtool(['test', 'rules', ...tests]).match(/SUCCESS/g)).toHaveLength(tests.length)
  })

  it.each(alerts)('%s has a test in which it fires, and one in which it does not', (alert) => {
    const cases = tests.flatMap((path) => readFileSync(path, 'utf8').split('eval_time:').slice(1))
    const own = cases.filter((text) => text.includes(`alertname: ${alert}\n`))
    expect(own.some((text) => text.includes('exp_labels'))).toBe(true)
    expect(own.some((text) => /exp_alerts: \[\]/.test(text))).toBe(true)
  })

  it.each(alerts)('%s has a severity, and tells what to do', (alert) => {
    const text = readFileSync(rules, 'utf8').split(`alert: ${alert}\n`)[1]?.split('- alert:')[0] ?? ''
    expect(text).toMatch(/severity: (?:page|ticket)/)
    expect(text).toMatch(/summary: .+/)
    expect(text).toMatch(/description: .+/)
  })
})

describe('the dashboard for Grafana', () => {
  const dashboard = JSON.parse(readFileSync(join(root, 'grafana/pcap-pipeline.json'), 'utf8'))
  const queries: string[] = dashboard.panels.flatMap(({ targets = [] }: { targets?: { expr: string }[] }) =>
    targets.map(({ expr }) => expr),
  )

  it.skipIf(!canRunPromtool)(`asks what Prometheus understands${noPromtool}`, () => {
    const asRules = queries.map((expr, n) => `      - { record: 'dashboard:${n}', expr: ${JSON.stringify(expr)} }`)
    const text = `groups:\n  - name: dashboard\n    rules:\n${asRules.join('\n')}\n`
    expect(queries.length).toBeGreaterThan(20)
    const dir = mkdtempSync(join(tmpdir(), 'dashboard-'))
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
    writeFileSync(join(dir, 'rules.yml'), text.replaceAll('$', ''))
    expect(promtool(['check', 'rules', join(dir, 'rules.yml')])).toContain('SUCCESS')
  })

  it('has panels that do not lie over one another', () => {
    const taken = new Set<string>()
    for (const { gridPos } of dashboard.panels)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x} ${y}`)).toBe(false)
          taken.add(`${x} ${y}`)
        }
  })
})
