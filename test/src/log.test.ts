import { execFile, spawn } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { openLogFile } from '../../src/log/file.ts'
import { jsonLine, textLine } from '../../src/log/line.ts'
import { openLog } from '../../src/log.ts'

const run = promisify(execFile)
const writer = join(import.meta.dirname, '..', 'fixtures', 'write-log.ts')
const time = new Date('2026-02-03T10:30:00.789Z')
const MB = 1024 ** 2

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'log-'))
})
afterEach(() => {
  rmSync(dir, { recursive: true, force: true })
})

function settings(over: Partial<Parameters<typeof openLog>[0]> = {}): Parameters<typeof openLog>[0] {
  return { level: 'info', format: 'text', file: join(dir, 'log', 'pipeline.log'), maxBytes: MB, maxFiles: 3, ...over }
}

interface WriteJob {
  file: string | undefined
  console: 'stdout' | 'stderr' | 'none'
  lines: number
  name?: string
  exit?: 'at once' | 'when closed'
  maxBytes?: number
  maxFiles?: number
}

/** A process of its own that logs. */
function write(job: WriteJob): Promise<{ stdout: string; stderr: string }> {
  return run(process.execPath, [writer, JSON.stringify(job)])
}

function messagesIn(file: string): string[] {
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => line.split(' | ')[3] as string)
}

const contextOf = (value: string) =>
  textLine({ time, level: 'info', message: 'm', values: { v: value } }).split(' | ')[4]

describe('a log line', () => {
  it('is TIMESTAMP | LEVEL | COMPONENT | MESSAGE | CONTEXT', () => {
    const values = { component: 'startup', kafka_topic: 'zeek-raw' }
    expect(textLine({ time, level: 'info', message: 'configuration loaded', values })).toBe(
      '2026-02-03T10:30:00Z | INFO | startup | configuration loaded | kafka_topic=zeek-raw',
    )
  })

  it('has all five parts when nothing is in its context', () => {
    expect(textLine({ time, level: 'warn', message: 'm', values: {} })).toBe(
      '2026-02-03T10:30:00Z | WARN | pipeline | m | -',
    )
  })

  it('writes names in snake_case and leaves out what is undefined', () => {
    const values = { dataDir: '/d', HTTPPort: 1, 'odd name': true, gone: undefined }
    expect(textLine({ time, level: 'info', message: 'm', values })).toMatch(
      / \| data_dir=\/d httpport=1 odd_name=true$/,
    )
  })

  it('quotes a value with spaces, quotes or a backslash so that JSON reads it back', () => {
    for (const value of ['a b.pcap', 'say "x"', 'back\\slash', '', 'tab\there']) {
      const shown = contextOf(value)?.slice('v='.length)
      expect(shown).toMatch(/^".*"$/)
      expect(JSON.parse(shown ?? '')).toBe(value)
    }
  })

  it('leaves letters of any language as they are', () => {
    expect(contextOf('mêlée-日本-🙂.pcap')).toBe('v=mêlée-日本-🙂.pcap')
  })

  it.each([
    ['a line feed', 'x\n2026-02-03T10:30:00Z | ERROR | monitor | forged | sha=1'],
    ['a carriage return', 'x\r2026-02-03T10:30:00Z | ERROR | forged'],
    ['other line ends', 'x\u0085y\u2028z\u2029\v\f'],
    ['field separators', 'x | ERROR | y status=done sha256=0000'],
    ['quotes that end the value', 'x" status=done y="'],
    ['terminal codes', '\u001b[2J\u001b]0;title\u0007\u009b31m'],
    ['text that runs backwards', 'pcap\u202Efdp.exe\u2066\u200B'],
    ['halves of a character', 'x\uD800y\uDC00'],
  ])('cannot be forged by %s in a file name or a message', (_what, evil) => {
    const line = textLine({ time, level: 'info', message: `read ${evil}`, values: { component: evil, name: evil } })
    expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u)
    const parts = line.split(' | ')
    expect(parts).toHaveLength(5)
    expect(parts[1]).toBe('INFO')
    expect([...(parts[4] ?? '').matchAll(/(\w+)=/g)].map(([, name]) => name)).toEqual(['name'])
    expect(JSON.parse((parts[4] ?? '').slice('name='.length))).toBe(evil)
  })

  it('is one line of JSON where that is asked for, its context apart from its own fields', () => {
    const values = {
      component: 'monitor',
      level: 'forged',
      name: 'a\u2028b\n',
      bytes: 5,
      ratio: Number.NaN,
      gone: undefined,
    }
    const line = jsonLine({ time, level: 'warn', message: 'm', values })
    expect(line).not.toMatch(/[\p{Cc}\p{Zl}]/u)
    expect(JSON.parse(line)).toEqual({
      timestamp: '2026-02-03T10:30:00.789Z',
      level: 'warn',
      component: 'monitor',
      message: 'm',
      context: { level: 'forged', name: 'a\u2028b\n', bytes: 5, ratio: 'NaN' },
    })
  })

  it('is bounded, whatever is put into it', () => {
    const long = 'x'.repeat(1_000_000)
    for (const line of [textLine, jsonLine]) {
      expect(line({ time, level: 'info', message: long, values: { long } }).length).toBeLessThan(7000)
    }
  })
})

describe('the log', () => {
  it('has its lines in the file when the call returns', () => {
    const config = settings()
    const log = openLog(config, { console: 'none' })
    log.info('one')
    expect(readFileSync(config.file as string, 'utf8')).toMatch(/^\S+Z \| INFO \| pipeline \| one \| -\n$/)
    void log.close()
  })

  it('adds what a child is bound to, the nearest binding first in force', async () => {
    const config = settings()
    await using log = openLog(config, { console: 'none' })
    const child = log.child({ component: 'convert', job: 7 }).child({ job: 8, attempt: 1 })
    child.error('failed', { attempt: 2 })
    expect(readFileSync(config.file as string, 'utf8')).toMatch(/ \| ERROR \| convert \| failed \| job=8 attempt=2\n$/)
  })

  it('leaves out what lies below its level', async () => {
    const config = settings({ level: 'warn' })
    await using log = openLog(config, { console: 'none' })
    log.debug('a')
    log.info('b')
    log.warn('c')
    log.error('d')
    expect(messagesIn(config.file as string)).toEqual(['c', 'd'])
  })

  it('takes events after it is closed without writing or failing', async () => {
    const config = settings()
    const log = openLog(config, { console: 'none' })
    const child = log.child({ job: 1 })
    log.info('before')
    await log.close()
    child.info('after')
    expect(messagesIn(config.file as string)).toEqual(['before'])
  })

  it('writes neither console nor file when it has neither', async () => {
    const { stdout, stderr } = await write({ file: undefined, console: 'none', lines: 3 })
    expect(stdout + stderr).toBe('')
  })

  it.each(['stdout', 'stderr'] as const)('writes to %s alone when that is its console', async (console) => {
    const output = await write({ file: undefined, console, lines: 2 })
    expect(output[console].match(/\| line \|/g)).toHaveLength(2)
    expect(output[console === 'stdout' ? 'stderr' : 'stdout']).toBe('')
  })

  it('has every line in the file even when the program exits at once', async () => {
    const file = join(dir, 'x.log')
    await write({ file, console: 'stdout', lines: 500, exit: 'at once' })
    expect(messagesIn(file)).toHaveLength(500)
  })

  it('has every line on the console when it is closed', async () => {
    const { stdout } = await write({ file: undefined, console: 'stdout', lines: 5000, exit: 'when closed' })
    expect(stdout.match(/\| line \|/g)).toHaveLength(5000)
  })

  it('keeps lines for others while another process puts the full file aside', () => {
    writeFileSync(join(dir, 'a.log.lock'), '')
    const file = openLogFile({
      path: join(dir, 'a.log'),
      maxBytes: 1000,
      maxFiles: 3,
      onTrouble: expect.fail,
      onRecovery() {},
    })
    for (let i = 0; i < 50; i++) file.append('x'.repeat(99))
    file.close()
    expect(statSync(join(dir, 'a.log')).size).toBe(5000)
  })

  it('goes on writing the file when the reader of the console goes away', async () => {
    const file = join(dir, 'x.log')
    const child = spawn(process.execPath, [
      writer,
      JSON.stringify({ file, console: 'stdout', lines: 5000, pauseEvery: 100 }),
    ])
    child.stdout.once('data', () => child.stdout.destroy())
    const code = await new Promise((resolve) => child.on('exit', resolve))
    expect(code).toBe(0)
    expect(messagesIn(file)).toHaveLength(5000)
  })

  it('goes on with the console, and warns once, when the file cannot be written', async () => {
    writeFileSync(join(dir, 'taken'), '')
    const { stdout } = await write({ file: join(dir, 'taken', 'x.log'), console: 'stdout', lines: 20 })
    expect(stdout.match(/\| line \|/g)).toHaveLength(20)
    expect(stdout.match(/WARN \| log \| the log file cannot be written/g)).toHaveLength(1)
  })

  it('goes on with the console, and warns once, when the disk is full', async () => {
    const { stdout } = await write({ file: '/dev/full', console: 'stdout', lines: 20 })
    expect(stdout.match(/\| line \|/g)).toHaveLength(20)
    expect(stdout.match(/ENOSPC/g)).toHaveLength(1)
  })
})

describe('the log file', () => {
  const open = (over: Partial<Parameters<typeof openLogFile>[0]> = {}) =>
    openLogFile({
      path: join(dir, 'a.log'),
      maxBytes: 1000,
      maxFiles: 3,
      onTrouble: (reason) => expect.fail(reason),
      onRecovery: () => {},
      ...over,
    })
  const files = () => readdirSync(dir).sort()

  it('is put aside when full, and the oldest goes, so that the space it takes is bounded', () => {
    const file = open()
    for (let i = 0; i < 200; i++) file.append(`line ${i} ${'x'.repeat(40)}`)
    file.close()
    expect(files()).toEqual(['a.log', 'a.log.1', 'a.log.2'])
    for (const name of files()) expect(statSync(join(dir, name)).size).toBeLessThanOrEqual(1000)
    expect(readFileSync(join(dir, 'a.log'), 'utf8')).toContain('line 199 ')
  })

  it('loses no line between the file put aside and the next', () => {
    const file = open({ maxFiles: 50 })
    for (let i = 0; i < 200; i++) file.append(`line ${i} ${'x'.repeat(40)}`)
    file.close()
    const all = files().flatMap((name) => readFileSync(join(dir, name), 'utf8').match(/^line \d+/gm) ?? [])
    expect(new Set(all).size).toBe(200)
    expect(all).toHaveLength(200)
  })

  it('can be a single one', () => {
    const file = open({ maxFiles: 1 })
    for (let i = 0; i < 100; i++) file.append(`line ${i} ${'x'.repeat(40)}`)
    file.close()
    expect(files()).toEqual(['a.log'])
    expect(statSync(join(dir, 'a.log')).size).toBeLessThanOrEqual(1000)
  })

  it('takes a line that is longer than a whole file', () => {
    const file = open()
    file.append('x'.repeat(5000))
    file.append('y')
    file.close()
    expect(readFileSync(join(dir, 'a.log'), 'utf8')).toBe('y\n')
  })

  it('is opened anew when somebody moved or removed it', () => {
    const file = open()
    file.append('one')
    renameSync(join(dir, 'a.log'), join(dir, 'moved'))
    file.append('two')
    rmSync(join(dir, 'a.log'))
    file.append('three')
    file.close()
    expect(readFileSync(join(dir, 'moved'), 'utf8')).toBe('one\n')
    expect(readFileSync(join(dir, 'a.log'), 'utf8')).toBe('three\n')
  })

  it('takes over the right to put files aside from a process that was killed with it', () => {
    writeFileSync(join(dir, 'a.log.lock'), '')
    const past = new Date(Date.now() - 60_000)
    const file = open()
    file.append('x'.repeat(900))
    expect(files()).toContain('a.log.lock')
    utimesSync(join(dir, 'a.log.lock'), past, past)
    file.append('y'.repeat(900))
    file.close()
    expect(files()).toEqual(['a.log', 'a.log.1'])
  })

  it('starts again at twice its size where files cannot be put aside', () => {
    // a lock that cannot be taken nor removed, as in a folder that belongs to someone else
    mkdirSync(join(dir, 'a.log.lock'))
    utimesSync(join(dir, 'a.log.lock'), 0, 0)
    const file = open()
    for (let i = 0; i < 100; i++) file.append('x'.repeat(99))
    file.close()
    expect(statSync(join(dir, 'a.log')).size).toBeLessThanOrEqual(2100)
  })

  it('counts the lines lost in a failure and tells once that it is over', () => {
    const told: string[] = []
    const blocked = join(dir, 'sub')
    writeFileSync(blocked, '')
    const clock = performance.now()
    const now = vi.spyOn(performance, 'now').mockReturnValue(clock)
    const file = open({
      path: join(blocked, 'a.log'),
      onTrouble: () => told.push('trouble'),
      onRecovery: (lost) => told.push(`recovered, ${lost} lost`),
    })
    for (let i = 0; i < 5; i++) file.append('lost')
    rmSync(blocked)
    file.append('lost too: it is not time to try again')
    now.mockReturnValue(clock + 60_000)
    file.append('kept')
    file.close()
    expect(told).toEqual(['trouble', 'recovered, 6 lost'])
    expect(readFileSync(join(blocked, 'a.log'), 'utf8')).toBe('kept\n')
  })

  it('keeps every line of several processes that write and put aside at the same time', async () => {
    const file = join(dir, 'shared.log')
    const job = { file, console: 'none', lines: 1500, maxBytes: 20_000, maxFiles: 100 } as const
    await Promise.all([write({ ...job, name: 'a' }), write({ ...job, name: 'b' }), write({ ...job, name: 'c' })])
    const names = readdirSync(dir).filter((name) => name.startsWith('shared.log'))
    const lines = names.flatMap((name) => readFileSync(join(dir, name), 'utf8').split('\n').slice(0, -1))
    expect(lines.filter((line) => !/^\S+Z \| INFO \| [abc] \| line \| n=\d+$/.test(line))).toEqual([])
    expect(new Set(lines.map((line) => line.slice('2026-02-03T10:30:00Z'.length))).size).toBe(4500)
    expect(names.length).toBeGreaterThan(5)
    for (const name of names) expect(statSync(join(dir, name)).size).toBeLessThanOrEqual(2 * 20_000)
  })
})
