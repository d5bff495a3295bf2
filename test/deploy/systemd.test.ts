import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { settings } from '../../src/config/settings.ts'
import { STAGE_NAMES } from '../../state/job.ts'

const units = join(import.meta.dirname, '../../deploy/systemd')
const isHere = spawnSync('systemd-analyze', ['--version']).status === 0
const where = isHere ? '' : ' (skipped: no systemd-analyze here)'
const INSTANCES = ['monitor', 'convert', 'split', 'distribute', 'upload', 'pages']
const SERVICES = ['pcap-pipeline.service', ...INSTANCES.map((name) => `pcap-pipeline@${name}.service`)]

let root: string
beforeAll(() => {
  // A host with nothing but our units, what they start, and the targets that they name.
  root = mkdtempSync(join(tmpdir(), 'units-'))
  const at = (...path: string[]) => join(root, ...path)
  for (const dir of ['usr/lib/systemd/system', 'usr/lib/pcap-pipeline', 'usr/bin'])
    mkdirSync(at(dir), { recursive: true })
  for (const name of readdirSync(units).filter((each) => each.startsWith('pcap-pipeline')))
    cpSync(join(units, name), at('usr/lib/systemd/system', name), { recursive: true })
  for (const path of ['usr/lib/pcap-pipeline/launch', 'usr/bin/pcap-pipeline']) cpSync(join(units, 'launch'), at(path))
  for (const name of ['sysinit', 'basic', 'shutdown', 'multi-user', 'network', 'local-fs'])
    writeFileSync(at(`usr/lib/systemd/system/${name}.target`), '[Unit]\nDefaultDependencies=no\n')
  writeFileSync(at('usr/lib/systemd/system/system.slice'), '[Unit]\nDefaultDependencies=no\n')
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

function analyze(...args: string[]) {
  const { status, stdout, stderr } = spawnSync('systemd-analyze', [...args, `--root=${root}`], { encoding: 'utf8' })
  return { status, text: stdout + stderr }
}

describe.skipIf(!isHere)(`the units${where}`, () => {
  it('are understood by systemd, every line of them', () => {
    const { status, text } = analyze('verify', '--man=no', 'pcap-pipeline.target', ...SERVICES)
    expect(text).toBe('')
    expect(status).toBe(0)
  })

  it.each(SERVICES)('%s is exposed no more than it has to be', (unit) => {
    const limit = unit === 'pcap-pipeline@convert.service' ? 1.5 : 2.5
    const { text } = analyze('security', '--offline=true', '--no-pager', unit)
    const [, score] = /Overall exposure level for .*: ([\d.]+)/.exec(text) ?? []
    expect(Number(score ?? Number.NaN), text).toBeLessThanOrEqual(limit)
  })
})

const textOf = (name: string) => readFileSync(join(units, name), 'utf8')

describe('the units and the program', () => {
  it('agree on the stages', () => {
    const wanted = [...textOf('pcap-pipeline.target').matchAll(/pcap-pipeline@([\w-]+)\.service/g)].map(
      ([, name]) => name,
    )
    // Who uploads indexes as well; the pages are no stage.
    expect(new Set([...wanted, 'index'])).toEqual(new Set([...STAGE_NAMES, 'pages']))
  })

  it('agree on how long a stop takes', () => {
    const ours = settings.parse({}).STOP_TIMEOUT_SECONDS
    for (const name of ['pcap-pipeline.service', 'pcap-pipeline@.service']) {
      const [, theirs] = /^TimeoutStopSec=(\d+)$/m.exec(textOf(name)) ?? []
      expect(Number(theirs)).toBeGreaterThan(ours)
    }
  })

  it('let the one that joins files take the lowest priority', () => {
    // The last line that names a call decides.
    for (const name of ['pcap-pipeline.service', 'pcap-pipeline@upload.service.d/10-lowest-priority.conf'])
      expect(
        textOf(name)
          .match(/^SystemCallFilter=.*$/gm)
          ?.at(-1),
      ).toBe('SystemCallFilter=setpriority')
  })

  it('give both kinds of service the same limits and the same sandbox', () => {
    const linesOf = (name: string) =>
      (textOf(name).split('[Service]')[1]?.split('[Install]')[0] ?? '')
        .split('\n')
        .filter(
          (line) => /^\w+=/.test(line) && !/^(ExecStart=|RestrictNamespaces=|SystemCallFilter=setpriority$)/.test(line),
        )
    expect(linesOf('pcap-pipeline@.service')).toEqual(linesOf('pcap-pipeline.service'))
  })
})
