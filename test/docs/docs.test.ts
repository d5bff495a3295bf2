import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { EXIT } from '../../src/cli/exit-codes.ts'
import { makeProgram } from '../../src/cli/program.ts'
import meanings from '../../stages/upload/rules/meanings.json' with { type: 'json' }
import { loadRules } from '../../stages/upload/rules.ts'
import { ERROR_CODES } from '../../state/errors.ts'
import { commandsPage } from '../support/commands-page.ts'
import { tablesPage } from '../support/tables-page.ts'

const {
  buildSite,
  unreachable,
}: {
  buildSite(root: string, outDir: string): string[]
  unreachable(root: string): string[]
} = await import(new URL('../../deploy/docs/site.mjs', import.meta.url).href)

const root = join(import.meta.dirname, '../..')
const page = (path: string) => readFileSync(join(root, path), 'utf8')
/** The first cells of the table below a heading, without their backticks. */
const firstCells = (text: string, heading: string) =>
  [...(text.split(`${heading}\n`)[1] ?? '').split('\n## ')[0].matchAll(/^\| `?([^`|]+?)`? \|/gm)].map(
    ([, cell]) => cell,
  )

describe('the documentation', () => {
  it('docs/tables.md is what the rules say', async () => {
    await expect(await tablesPage()).toMatchFileSnapshot(join(root, 'docs/tables.md'))
  })

  it('docs/commands.md is what the command line says', async () => {
    await expect(commandsPage()).toMatchFileSnapshot(join(root, 'docs/commands.md'))
  })

  it('tells each error code, and no other', () => {
    expect(firstCells(page('docs/failures.md'), '## Error codes').slice(1)).toEqual([...ERROR_CODES])
  })

  it('tells each exit code', () => {
    const codes = [...page('README.md').matchAll(/^\| (\d) \|/gm)].map(([, code]) => Number(code))
    expect(codes).toEqual(Object.values(EXIT))
  })

  it('names every command in the README', () => {
    const table = page('README.md').split('## Commands')[1]?.split('\n## ')[0] ?? ''
    const told = [...table.matchAll(/`([^`]+)`/g)].map(([, command]) => command ?? '')
    const missing = makeProgram(() => async () => {}).commands.filter((command: Command) => {
      return !told.some((text) => text === command.name() || text.startsWith(`${command.name()} `))
    })
    expect(missing.map((command) => command.name())).toEqual([])
  })

  it('has a page for everything, and a link to every page', () => {
    expect(unreachable(root)).toEqual([])
  })

  it('is a site without a link that leads nowhere, and asks no other host', () => {
    const dir = mkdtempSync(join(tmpdir(), 'docs-'))
    try {
      const files = buildSite(root, dir)
      expect(files).toEqual(expect.arrayContaining(['index.html', 'kafka.html', 'decisions/index.html', 'site.css']))
      for (const file of files.filter((name) => name.endsWith('.html'))) {
        const html = readFileSync(join(dir, file), 'utf8')
        for (const [, href = ''] of html.matchAll(/(?:href|src)="([^"#]*)/g)) {
          if (href === '' || /^https?:/.test(href)) continue
          expect(existsSync(join(dir, file, '..', href)), `${file}: ${href}`).toBe(true)
        }
        expect(html).not.toMatch(/<(script|img|iframe|link)[^>]+(src|href)="http/)
        expect(html).not.toContain('.md"')
      }
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  })
})

describe('the data dictionary', () => {
  const everywhere = new Set(Object.keys(meanings.everywhere))

  it.each(Object.entries(meanings.logs))('tells every field of %s, and no other', async (log, words) => {
    const { schema } = await loadRules({})
    const fields = Object.keys(schema[log] ?? {}).filter((field) => !everywhere.has(field))
    expect(new Set(Object.keys(words))).toEqual(new Set(fields))
  })
})
