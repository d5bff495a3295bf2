import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { settingNames } from '../../src/config/settings.ts'
import { loadConfig } from '../../src/config.ts'
import { STAGE_NAMES } from '../../state/job.ts'
import { KAFKA_VERSION } from '../support/kafka/install.ts'

const text = readFileSync(join(import.meta.dirname, '../../deploy/compose.yaml'), 'utf8')

/** The lines of a block, which are indented by two more than its head. */
function block(head: string): string[] {
  const [, after = ''] = text.split(`${head}\n`)
  return after.split(/^(?=\S)/m)[0]?.split('\n') ?? []
}

it('the compose file gives its stages settings that there are, and that go together', () => {
  const entries = block('x-environment: &environment').flatMap((line) => {
    const [, name, value] = /^ {2}(\w+): (.*)$/.exec(line) ?? []
    return name === undefined ? [] : [[name, (value as string).replaceAll('"', '')]]
  })
  expect(entries.length).toBeGreaterThan(5)
  expect(entries.map(([name]) => name).filter((name) => !settingNames.some((known) => known === name))).toEqual([])
  const config = loadConfig({ env: Object.fromEntries(entries), cwd: '/', envFile: '/dev/null' })
  expect(config).toMatchObject({ dataDir: '/data', stateDir: '/state', bus: { kind: 'kafka' }, warnings: [] })
})

it('the compose file runs every stage, each with a ledger of its own, and the broker that is tested', () => {
  // Who uploads indexes as well.
  for (const stage of STAGE_NAMES.filter((name) => name !== 'index')) {
    expect(text).toContain(`  ${stage}:\n    <<: *pipeline\n    command: [stage, ${stage}]\n`)
    expect(text.split(`- state-${stage}:/state`)).toHaveLength(2)
  }
  expect(text).toContain(`image: apache/kafka:${KAFKA_VERSION}\n`)
})
