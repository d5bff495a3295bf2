import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

/** What nobody may write, each with the rule that refuses it. */
const REFUSED: [path: string, code: string, rule: string][] = [
  ['state/a.ts', "export { b } from '../stages/b.ts'", 'noRestrictedImports'],
  ['state/a.ts', "import { b } from '../src/b.ts'\nexport const c = b", 'noRestrictedImports'],
  ['state/a.ts', "import type { B } from '../test/b.ts'\nexport type C = B", 'noRestrictedImports'],
  ['state/deep/a.ts', "export { b } from '../../src/b.ts'", 'noRestrictedImports'],
  ['state/a.ts', "import '@duckdb/node-api'", 'noRestrictedImports'],
  ['state/a.ts', "import 'winston'", 'noRestrictedImports'],
  ['stages/a.ts', "export { b } from '../src/b.ts'", 'noRestrictedImports'],
  ['stages/split/a.ts', "export { b } from '../../src/b.ts'", 'noRestrictedImports'],
  ['stages/split/a.ts', "export { b } from '../../test/b.ts'", 'noRestrictedImports'],
  ['stages/split/a.ts', "import type { B } from '../convert/b.ts'\nexport type C = B", 'noRestrictedImports'],
  ['stages/upload/a.ts', "export const b = await import('../../src/b.ts')", 'noRestrictedImports'],
  ['stages/upload/a.ts', "import '@duckdb/node-api'", 'noRestrictedImports'],
  ['stages/upload/a.ts', "import 'better-sqlite3'", 'noRestrictedImports'],
  ['stages/upload/a.ts', "import 'winston'", 'noRestrictedImports'],
  ['src/cli/a.ts', "export { b } from '../../test/b.ts'", 'noRestrictedImports'],
  ['src/a.ts', "export { b } from '../deploy/b.mjs'", 'noRestrictedImports'],
  ['deploy/a.mjs', "export { b } from '../src/b.ts'", 'noRestrictedImports'],
  ['src/cli/a.ts', 'export const a = process.env.HOME', 'noProcessEnv'],
  ['src/cli/a.ts', "import { env } from 'node:process'\nexport const a = env.HOME", 'noProcessEnv'],
  ['stages/a.ts', 'export const a = process.env.HOME', 'noProcessEnv'],
  ['state/a.ts', 'export const a = process.env.HOME', 'noProcessEnv'],
  ['stages/a.ts', "console.error('a')", 'noConsole'],
  ['state/a.ts', "console.log('a')", 'noConsole'],
  ['src/a.ts', "console.log('a')", 'noConsole'],
  ['src/a.ts', 'export const a: any = 1', 'noExplicitAny'],
  ['src/a.ts', 'export enum A { B }', 'noEnum'],
  ['src/a.ts', 'export namespace A { export const b = 1 }', 'noNamespace'],
  ['src/a.ts', 'export class A { constructor(readonly b: number) {} }', 'noParameterProperties'],
  ['src/a.ts', 'export default 1', 'noDefaultExport'],
  ['src/a.ts', "import { Stats } from 'node:fs'\nexport type A = Stats", 'useImportType'],
  ['src/a.ts', "import 'fs'", 'useNodejsImportProtocol'],
  ['src/aB.ts', 'export const a = 1', 'useFilenamingConvention'],
  ['src/a.ts', 'async function a() {}\nexport function b() { a() }', 'noFloatingPromises'],
  ['test/a.test.ts', "import { it } from 'vitest'\nit.only('a', () => {})", 'noFocusedTests'],
]

/** What looks like the above and is right. */
const ALLOWED: [path: string, code: string][] = [
  ['state/a.ts', "export { b } from './b.ts'"],
  ['state/deep/a.ts', "export { b } from '../b.ts'"],
  ['stages/a.ts', "export { b } from '../state/b.ts'"],
  [
    'stages/upload/a.ts',
    "export { b } from '../../state/b.ts'\nexport { c } from '../ports.ts'\nexport { d } from './rules/d.ts'",
  ],
  ['src/a.ts', "export { b } from '../state/b.ts'\nexport { c } from '../stages/convert/c.ts'"],
  ['src/sinks/a.ts', "export { b } from '@duckdb/node-api'"],
  ['src/config.ts', 'export const a = process.env.HOME'],
  ['test/a.ts', "export { b } from '../src/b.ts'\nexport const a = process.env.HOME"],
  ['test/bench/a.ts', "console.log('a')"],
]

const root = join(import.meta.dirname, '..', '..')
let dir: string

const folderOf = (kind: string, i: number) => join(dir, `${kind}-${i}`)

/** Each snippet lies in a tree of its own; the linter goes through them all at once. */
function write(kind: string, i: number, path: string, code: string): void {
  const tree = folderOf(kind, i)
  mkdirSync(dirname(join(tree, path)), { recursive: true })
  copyFileSync(join(root, 'biome.json'), join(tree, 'biome.json'))
  copyFileSync(join(root, '.gitignore'), join(tree, '.gitignore'))
  writeFileSync(join(tree, path), `${code}\n`)
}

function lint(tree: string): Promise<string> {
  const args = [join(root, 'node_modules', '@biomejs', 'biome', 'bin', 'biome'), 'lint', '--colors=off', '.']
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: tree }, (_error, stdout, stderr) => resolve(stdout + stderr))
  })
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'import-rules-'))
})
afterAll(() => {
  rmSync(dir, { recursive: true, force: true })
})

describe('the linter', () => {
  it.each(REFUSED.map((entry, i) => [...entry, i] as const))('refuses in %s: %s (%s)', async (path, code, rule, i) => {
    write('refused', i, path, code)
    expect(await lint(folderOf('refused', i))).toContain(`/${rule} `)
  })

  it.each(ALLOWED.map((entry, i) => [...entry, i] as const))('lets be in %s: %s', async (path, code, i) => {
    write('allowed', i, path, code)
    const output = await lint(folderOf('allowed', i))
    expect(output).toContain('Checked')
    expect(output).not.toContain(' lint/')
  })
})
