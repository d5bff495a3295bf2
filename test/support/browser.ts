/** A real browser for the pages: Debian's chromium, driven over its own protocol. Nothing is downloaded for it. */

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import axe from 'axe-core'
import { type Browser, chromium, type Page } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export function findBrowser(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean)
  return folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find((path) => existsSync(path))
}

/** Its profile is a new folder, which goes with it. */
export async function openBrowser(executablePath: string): Promise<Browser> {
  return await chromium.launch({ executablePath, args: FLAGS, timeout: 60_000 })
}

/** What a page must never do, gathered while it is used. */
export interface Misdeeds {
  /** Requests to any other host than the server's. */
  foreign: string[]
  /** Errors of scripts, and what the policy for content refused. */
  errors: string[]
}

export function watchPage(page: Page, origin: string): Misdeeds {
  const found: Misdeeds = { foreign: [], errors: [] }
  page.on('request', (request) => {
    const url = request.url()
    if (!url.startsWith(`${origin}/`) && !/^(blob|data):/.test(url)) found.foreign.push(url)
  })
  page.on('pageerror', (error) => found.errors.push(String(error)))
  page.on('console', (message) => {
    const text = message.text()
    if (message.type() !== 'error' || /Failed to load resource/.test(text)) return
    if (/Applying inline style/.test(text) && isOfBrowser(message.location())) return
    found.errors.push(text)
  })
  return found
}

/** Chromium keeps the look of text that is typed over by a style attribute of its own, which the policy refuses it. */
function isOfBrowser({ url, lineNumber }: { url: string; lineNumber: number }): boolean {
  return lineNumber === 0 && !url.endsWith('.js')
}

/** What axe-core finds serious or critical on the page as it is, a line each. */
export async function seriousFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe.source)
  const { violations } = (await page.evaluate('axe.run()')) as {
    violations: { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[]
  }
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 200)} ${failureSummary}`),
    )
}

/** How far the page is wider than its window; 0 where it fits. */
export async function overflowOf(page: Page): Promise<number> {
  return (await page.evaluate('Math.max(0, document.documentElement.scrollWidth - window.innerWidth)')) as number
}
