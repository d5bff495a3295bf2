import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { openLedger } from '../../state/ledger.ts'
import { migrations } from '../../state/migrations.ts'
import {
  beginReplacement,
  buildingPath,
  checkNotBeingReplaced,
  endReplacement,
  finishReplacement,
  replaceLedger,
} from '../../state/replacement.ts'

let dir: string
let path: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'replacement-'))
  path = join(dir, 'pipeline.db')
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
})

const DEAD = JSON.stringify({ owner: 'another-boot/1/2/3', kept: 'pipeline.db.replaced-then' })
const beside = () => readdirSync(dir).sort()

describe('a ledger takes the place of another', () => {
  it('in one step; the former one is kept with what lay beside it', () => {
    writeFileSync(path, 'former')
    writeFileSync(`${path}-wal`, 'its last changes')
    beginReplacement(path)
    writeFileSync(buildingPath(path), 'new')
    const kept = replaceLedger(path) as string
    expect(readFileSync(path, 'utf8')).toBe('new')
    expect(readFileSync(kept, 'utf8')).toBe('former')
    expect(readFileSync(`${kept}-wal`, 'utf8')).toBe('its last changes')
    expect(beside()).toHaveLength(3)
    checkNotBeingReplaced(path)
  })

  it('where there was none', () => {
    beginReplacement(path)
    writeFileSync(buildingPath(path), 'new')
    expect(replaceLedger(path)).toBeUndefined()
    expect(beside()).toEqual(['pipeline.db'])
  })

  it.each<[string, () => void]>([
    ['before anything was moved', () => {}],
    ['once the log was moved', () => renameSync(`${path}-wal`, `${path}.replaced-then-wal`)],
    [
      'once the former one has its second name',
      () => {
        renameSync(`${path}-wal`, `${path}.replaced-then-wal`)
        writeFileSync(`${path}.replaced-then`, 'former')
      },
    ],
  ])('cut short %s, nobody opens it, and it is finished', (_when, cut) => {
    writeFileSync(path, 'former')
    writeFileSync(`${path}-wal`, 'its last changes')
    writeFileSync(`${path}.replacing`, DEAD)
    writeFileSync(`${path}.next`, 'new')
    cut()
    expect(() => openLedger(path)).toThrow(/was being replaced when that was cut short; run `rebuild`/)
    expect(beginReplacement(path)).toEqual({ isUnfinished: true })
    expect(finishReplacement(path)).toBe(`${path}.replaced-then`)
    expect(readFileSync(path, 'utf8')).toBe('new')
    expect(readFileSync(`${path}.replaced-then`, 'utf8')).toBe('former')
    expect(readFileSync(`${path}.replaced-then-wal`, 'utf8')).toBe('its last changes')
    expect(beside()).toHaveLength(3)
  })

  it('cut short while it was built, the former one goes on, and nothing stays of the new', () => {
    openLedger(path).close()
    writeFileSync(`${path}.replacing`, DEAD)
    writeFileSync(buildingPath(path), 'half')
    openLedger(path).close()
    expect(beginReplacement(path)).toEqual({ isUnfinished: false })
    endReplacement(path)
    expect(beside()).toEqual(['pipeline.db'])
  })

  it('while a living process is at it, nobody else opens it', () => {
    openLedger(path).close()
    beginReplacement(path)
    // Our own may: it builds the new one.
    openLedger(path).close()
    const { owner } = JSON.parse(readFileSync(`${path}.replacing`, 'utf8'))
    const [boot, namespace] = owner.split('/')
    const start = readFileSync(`/proc/${process.ppid}/stat`, 'utf8').split(') ')[1]?.split(' ')[19]
    writeFileSync(
      `${path}.replacing`,
      JSON.stringify({ owner: `${boot}/${namespace}/${process.ppid}/${start}`, kept: 'x' }),
    )
    expect(() => openLedger(path)).toThrow(`is being rebuilt or restored by process ${process.ppid}; wait`)
    expect(() => beginReplacement(path)).toThrow(/is rebuilding or restoring/)
  })
})

describe('before a migration', () => {
  /** As a version made it that knew only the first migrations. */
  function makeOld(schema: number): void {
    const db = new BetterSqlite3(path)
    for (const step of migrations.slice(0, schema)) db.exec(step)
    db.pragma(`user_version = ${schema}`)
    db.exec(`INSERT INTO locks VALUES ('mark', 'of schema ${schema}', 0)`)
    db.close()
  }

  it('a copy is kept that the version before can go on with', () => {
    makeOld(2)
    openLedger(path).close()
    const copy = new BetterSqlite3(`${path}.before-v${migrations.length}`, { readonly: true })
    expect(copy.pragma('user_version', { simple: true })).toBe(2)
    expect(copy.prepare('SELECT owner FROM locks').pluck().get()).toBe('of schema 2')
    expect(copy.pragma('integrity_check', { simple: true })).toBe('ok')
    copy.close()
  })

  it('the newest three are kept; a new ledger, and one of this version, need none', () => {
    openLedger(path).close()
    openLedger(path).close()
    expect(beside()).toEqual(['pipeline.db'])
    for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`, { force: true })
    for (const n of [1, 2, 3]) writeFileSync(`${path}.before-v${n}`, 'older')
    makeOld(1)
    openLedger(path).close()
    expect(beside().filter((name) => name.includes('.before-'))).toEqual(
      [2, 3, migrations.length].map((n) => `pipeline.db.before-v${n}`),
    )
  })

  it('a ledger of a newer version is refused, and the copy to go back to is named', () => {
    makeOld(migrations.length)
    const db = new BetterSqlite3(path)
    db.pragma(`user_version = ${migrations.length + 2}`)
    db.close()
    expect(() => openLedger(path)).toThrow(/newer version .*; start that version instead$/)
    writeFileSync(`${path}.before-v${migrations.length + 2}`, 'of the version between')
    expect(() => openLedger(path)).toThrow(/start that version instead$/)
    writeFileSync(`${path}.before-v${migrations.length + 1}`, 'ours')
    expect(() => openLedger(path)).toThrow(`or go back with \`restore ${path}.before-v${migrations.length + 1}\``)
    expect(existsSync(path)).toBe(true)
  })
})
