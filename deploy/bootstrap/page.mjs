/**
 * dist/ui: in, the sources under src/ui and docs/; out, the built pages that the service serves. Built aside and moved into place
 * when whole; the stamp holds a digest of all that went in, so that a second start builds nothing.
 */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runTool } from './child.mjs'
import { filesBelow } from './files.mjs'
import { findRuntime } from './packages.mjs'
import { SetupError, say, secondsSince } from './say.mjs'

export const PAGE_FOLDER = 'src/ui'
/** The contract gives types alone, of which nothing is left in what is built. */
const INPUTS = [
  'package-lock.json',
  'deploy/bootstrap/build-page.mjs',
  'tsconfig.json',
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
]
const INPUT_FOLDERS = [PAGE_FOLDER, 'docs', 'deploy/docs']

const stampPath = (root) => join(root, 'dist', '.page')

/** A tree without pages has nothing to build. */
export function isPageBuilt(root) {
  if (!existsSync(join(root, PAGE_FOLDER))) return true
  try {
    return readFileSync(stampPath(root), 'utf8') === pageKey(root)
  } catch {
    return false
  }
}

export async function buildPage(root) {
  say('building the pages')
  const started = Date.now()
  const key = pageKey(root)
  const dist = join(root, 'dist')
  const next = join(dist, '.next-ui')
  try {
    for (const path of [stampPath(root), next]) rmSync(path, { recursive: true, force: true })
    mkdirSync(dist, { recursive: true })
  } catch (error) {
    throw new SetupError(`the pages have to be built, but ${dist} cannot be written (${error.code})`)
  }
  const { code, output } = await runTool(findRuntime(root), [join(root, 'deploy/bootstrap/build-page.mjs'), next], {
    cwd: root,
  })
  if (code !== 0) throw new SetupError(`${output.trim()}\nthe pages cannot be built; the reason is above`)
  rmSync(join(dist, 'ui'), { recursive: true, force: true })
  renameSync(next, join(dist, 'ui'))
  writeFileSync(stampPath(root), key)
  say(`pages built in ${secondsSince(started)}`)
}

function pageKey(root) {
  const hash = createHash('sha256')
  for (const file of [...INPUTS, ...INPUT_FOLDERS.flatMap((folder) => filesBelow(root, folder).sort())]) {
    const content = readFileSync(join(root, file))
    hash.update(`${file}\0${content.length}\0`).update(content)
  }
  return `${hash.digest('hex')}\n`
}
