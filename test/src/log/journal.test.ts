import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { isJournal, journalRecord, prioritized } from '../../../src/log/journal.ts'

const root = join(import.meta.dirname, '../../..')
const writer = join(root, 'test/fixtures/write-log.ts')

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'journal-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
})

/** A command whose stdout and stderr are what JOURNAL_STREAM says is the journal's. */
async function underJournal(
  args: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; lines: string[] }> {
  const path = join(dir, 'stream')
  const fd = openSync(path, 'a')
  const { dev, ino } = fstatSync(fd)
  const child = spawn(process.execPath, args, {
    cwd: dir,
    env: { PATH: process.env.PATH, JOURNAL_STREAM: `${dev}:${ino}`, ...env },
    stdio: ['ignore', fd, fd],
  })
  closeSync(fd)
  const [code] = await once(child, 'exit')
  return { code, lines: readFileSync(path, 'utf8').split('\n').slice(0, -1) }
}

describe('a console that is the journal', () => {
  it('gets a priority and no time of its own on each line', async () => {
    const { lines } = await underJournal([writer, JSON.stringify({ console: 'stdout', lines: 2 })])
    expect(lines).toEqual(['<6>writer | line | n=0', '<6>writer | line | n=1'])
  })

  it('of another process is none: lines are as they always are', async () => {
    const { lines } = await underJournal([writer, JSON.stringify({ console: 'stdout', lines: 1 })], {
      JOURNAL_STREAM: '1:1',
    })
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatch(/^\d{4}-.*Z \| INFO \| writer \| line \| n=0$/)
  })

  it('gets what ends the program as errors, line by line, and nothing that is for people who watch', async () => {
    const { code, lines } = await underJournal([join(root, 'src/main.ts'), 'run'], {
      LOG_LEVEL: 'loud',
      HTTP_PORT: 'x',
    })
    expect(code).toBe(2)
    expect(lines.length).toBeGreaterThan(2)
    expect(lines.filter((line) => !line.startsWith('<3>'))).toEqual([])
  })

  it('is told by device and inode', () => {
    const { dev, ino } = fstatSync(0)
    expect(isJournal(0, `${dev}:${ino}`)).toBe(true)
    for (const other of [undefined, '', `${dev}:${ino + 1}`]) expect(isJournal(0, other)).toBe(false)
    expect(isJournal(9999, '0:0')).toBe(false)
  })
})

/** As systemd's journal reads it: `NAME=text` lines, or a name, a length of 64 bits and that many bytes. */
function fieldsOf(record: Buffer): [string, string][] {
  const fields: [string, string][] = []
  for (let at = 0; at < record.length; ) {
    const end = record.indexOf(10, at)
    const line = record.toString('utf8', at, end)
    const equals = line.indexOf('=')
    if (equals >= 0) fields.push([line.slice(0, equals), line.slice(equals + 1)])
    else {
      const bytes = Number(record.readBigUInt64LE(end + 1))
      fields.push([line, record.toString('utf8', end + 9, end + 9 + bytes)])
      expect(record[end + 9 + bytes]).toBe(10)
      at = end + 10 + bytes
      continue
    }
    at = end + 1
  }
  return fields
}

describe('a record of the journal', () => {
  const time = new Date()

  it('has its message, its priority and every value as a field', () => {
    const values = { component: 'convert', job: 'ab', packetCount: 3, gone: undefined }
    expect(fieldsOf(journalRecord({ time, level: 'warn', message: 'm', values }, 'the line'))).toEqual([
      ['MESSAGE', 'the line'],
      ['PRIORITY', '4'],
      ['SYSLOG_IDENTIFIER', 'pcap-pipeline'],
      ['PCAP_COMPONENT', 'convert'],
      ['PCAP_JOB', 'ab'],
      ['PCAP_PACKET_COUNT', '3'],
    ])
  })

  it('cannot be given fields by names from elsewhere', () => {
    const evil = 'x\nPRIORITY=0\n_PID=1\nMESSAGE=forged'
    const record = journalRecord(
      { time, level: 'error', message: evil, values: { file: evil, component: evil } },
      'line',
    )
    const fields = fieldsOf(record)
    expect(fields.map(([name]) => name)).toEqual([
      'MESSAGE',
      'PRIORITY',
      'SYSLOG_IDENTIFIER',
      'PCAP_COMPONENT',
      'PCAP_FILE',
    ])
    expect(fields.at(-1)?.[1]).toBe(evil)
  })

  it('keeps every line of a text of several at its priority', () => {
    expect(prioritized('error', 'a\nb')).toBe('<3>a\n<3>b')
    expect(prioritized('debug', 'a')).toBe('<7>a')
  })
})
