/**
 * The documentation as a site: in, the Markdown of `docs/` and of the root; out, one HTML file a page and one style sheet,
 * without a script and without a request to another host. `docs/README.md` is its table of contents: the order of the
 * pages, and the navigation. A link that leads nowhere, to a page or to a heading in it, is an error that names it.
 */

import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Marked } from 'marked'
import { getHeadingList, gfmHeadingId, resetHeadings } from 'marked-gfm-heading-id'

const CONTENTS = 'docs/README.md'
/** Pages of the root that the site has as well. */
const ROOT_PAGES = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md']

/**
 * @param {string} root Of the project.
 * @param {string} outDir Made where it is not there.
 * @returns {string[]} The files that were written, relative to `outDir`.
 */
export function buildSite(root, outDir) {
  const pages = new Map(sourcesOf(root).map((source) => [source, readPage(root, source)]))
  const problems = [...pages.values()].flatMap((page) => brokenLinks(root, page, pages))
  if (problems.length > 0) throw new Error(`links that lead nowhere:\n${problems.join('\n')}`)
  // Before the links become the site's: the contents are read by their paths.
  const groups = groupsOf(pages)
  const files = [...pages.values()].map((page) => {
    const file = targetOf(page.source)
    mkdirSync(dirname(join(outDir, file)), { recursive: true })
    writeFileSync(join(outDir, file), render(page, groups, pages))
    return file
  })
  copyFileSync(fileURLToPath(new URL('./site.css', import.meta.url)), join(outDir, 'site.css'))
  return [...files, 'site.css']
}

/** Paths from the root: all that is Markdown in `docs/` and below, and the root's own pages. */
function sourcesOf(root) {
  const inDocs = readdirSync(join(root, 'docs'), { recursive: true })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`)
  return [...inDocs.sort(), ...ROOT_PAGES.filter((name) => existsSync(join(root, name)))]
}

/** `docs/kafka.md` → `kafka.html`; a README is the index of its folder, but for the root's: `readme.html`. */
function targetOf(source) {
  if (source === CONTENTS) return 'index.html'
  if (source.endsWith('/README.md')) return source.slice('docs/'.length).replace('README.md', 'index.html')
  const bare = source.startsWith('docs/') ? source.slice('docs/'.length) : source.toLowerCase()
  return bare.replace(/\.md$/, '.html')
}

function readPage(root, source) {
  const links = []
  const marked = new Marked(gfmHeadingId(), { renderer: { link } })
  resetHeadings()
  const tokens = marked.lexer(readFileSync(join(root, source), 'utf8'))
  void marked.walkTokens(tokens, (token) => void (token.type === 'link' && links.push(token)))
  const html = marked.parser(tokens)
  const headings = getHeadingList().map(({ id, level, text }) => ({ id, level, text }))
  return { source, marked, tokens, links, html, headings, title: headings[0]?.text ?? source }
}

/** The page or file that a link means, by its path from the root; undefined for other hosts. */
function meant(source, href) {
  if (/^[a-z]+:/.test(href)) return undefined
  const [path, anchor] = href.split('#')
  const file = path === '' ? source : normalize(join(dirname(source), path))
  return { file: file.endsWith('/') ? file.slice(0, -1) : file, anchor }
}

function brokenLinks(root, { source, links }, pages) {
  return links.flatMap(({ href }) => {
    const target = meant(source, href)
    if (target === undefined) return []
    if (target.file.startsWith('..') || !existsSync(join(root, target.file))) return [`${source}: ${href}`]
    const page = pages.get(target.file)
    const isThere = target.anchor === undefined || page?.headings.some(({ id }) => id === target.anchor)
    return isThere ? [] : [`${source}: ${href} (no such heading)`]
  })
}

/** What leads nowhere on the site is shown as what it is called. */
function link({ href, tokens }) {
  const text = this.parser.parseInline(tokens)
  return href === undefined ? text : `<a href="${href}">${text}</a>`
}

/** `## Group` and the links of the list below it. */
function groupsOf(pages) {
  const { source, tokens } = pages.get(CONTENTS)
  const groups = []
  for (const token of tokens) {
    if (token.type === 'heading' && token.depth === 2) groups.push({ name: token.text, pages: [] })
    if (token.type !== 'list') continue
    const listed = token.items.flatMap(({ tokens: [first] }) => {
      const found = first?.tokens?.find(({ type }) => type === 'link')
      return found ? [{ source: asPage(meant(source, found.href).file, pages), text: found.text }] : []
    })
    groups.at(-1)?.pages.push(...listed)
  }
  return groups
}

/** Pages to which no link leads from the contents, over however many others. */
export function unreachable(root) {
  const pages = new Map(sourcesOf(root).map((source) => [source, readPage(root, source)]))
  const seen = new Set([CONTENTS])
  for (const source of seen) {
    for (const { href } of pages.get(source)?.links ?? []) {
      const target = meant(source, href)
      const page = target && asPage(target.file, pages)
      if (page) seen.add(page)
    }
  }
  return [...pages.keys()].filter((source) => !seen.has(source))
}

/** A folder means its README. */
function asPage(file, pages) {
  return [file, `${file}/README.md`].find((source) => pages.has(source))
}

function render({ source, title, tokens, marked, links, headings }, groups, pages) {
  const here = dirname(targetOf(source))
  const to = (target) => relative(here, target) || basename(target)
  for (const each of links) each.href = siteHref(each.href, source, pages, to)
  const body = marked
    .parser(tokens)
    .replaceAll('<table>', '<div class="table"><table>')
    .replaceAll('</table>', '</table></div>')
  const nav = groups
    .map(
      ({ name, pages: listed }) => `<h2>${name}</h2><ul>${listed.map((each) => item(each, source, to)).join('')}</ul>`,
    )
    .join('')
  const sections = headings.filter(({ level }) => level === 2)
  const onPage =
    source === CONTENTS || sections.length < 3
      ? ''
      : `<nav class="on-page" aria-label="On this page"><ul>${sections
          .map(({ id, text }) => `<li><a href="#${id}">${text}</a></li>`)
          .join('')}</ul></nav>`
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${plain(title)} · pcap-pipeline</title>
<link rel="stylesheet" href="${to('site.css')}">
<a class="skip" href="#content">To the content</a>
<header><a href="${to('index.html')}">pcap-pipeline</a></header>
<nav class="pages" aria-label="Pages">${nav}</nav>
<main id="content">
${body}</main>
${onPage}
</html>
`
}

function item({ source, text }, current, to) {
  const mark = source === current ? ' aria-current="page"' : ''
  return `<li><a href="${to(targetOf(source))}"${mark}>${text}</a></li>`
}

/** What is no page (a file of settings, a unit) lies in the package beside the site, and cannot be linked to. */
function siteHref(href, source, pages, to) {
  const target = meant(source, href)
  if (target === undefined) return href
  const anchor = target.anchor === undefined ? '' : `#${target.anchor}`
  const page = asPage(target.file, pages)
  if (page === undefined) return undefined
  return page === source ? anchor || '#' : `${to(targetOf(page))}${anchor}`
}

const plain = (html) => html.replace(/<[^>]+>/g, '')

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const outDir = process.argv[2] ?? join(root, 'dist/docs')
  const files = buildSite(root, outDir)
  const bytes = files.reduce((sum, file) => sum + statSync(join(outDir, file)).size, 0)
  process.stdout.write(`${files.length} files, ${Math.round(bytes / 1000)} kB, in ${outDir}\n`)
}
