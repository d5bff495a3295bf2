/**
 * dist/: in, the sources under src, stages and state; out, the same tree as JavaScript, and beside it
 * every file that is read at run time (JSON, SQL, pages). Compiled aside and moved into place when whole;
 * the stamp holds a digest of all that went in.
 */

import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runTool } from './child.mjs'
import { filesBelow } from './files.mjs'
import { findRuntime } from './packages.mjs'
import { PAGE_FOLDER } from './page.mjs'
import { SetupError, say, secondsSince } from './say.mjs'

const FOLDERS = ['src', 'stages', 'state']
const INPUTS = ['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json']

const distOf = (root) => join(root, 'dist')
const stampPath = (root) => join(distOf(root), '.sources')

export function isCompiled(root) {
  try {
    return readFileSync(stampPath(root), 'utf8') === sourcesKey(root)
  } catch {
    return false
  }
}

export async function compile(root) {
  say('compiling')
  const started = Date.now()
  const key = sourcesKey(root)
  const next = join(distOf(root), '.next')
  clear(root, [stampPath(root), next])
  mkdirSync(next, { recursive: true })
  await runCompiler(root, next)
  copyDataFiles(root, next)
  alignSourceMaps(next)
  for (const name of readdirSync(next)) {
    clear(root, [join(distOf(root), name)])
    renameSync(join(next, name), join(distOf(root), name))
  }
  clear(root, [next])
  writeFileSync(stampPath(root), key)
  say(`compiled in ${secondsSince(started)}`)
}

async function runCompiler(root, outDir) {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const flags = ['--outDir', outDir, '--tsBuildInfoFile', join(outDir, '.tsbuildinfo'), '--noEmitOnError']
  const args = [compiler, '-p', join(root, 'tsconfig.build.json'), ...flags, '--pretty', 'false']
  const { code, output } = await runTool(findRuntime(root), args, { cwd: root })
  if (code !== 0) throw new SetupError(`${output.trim()}\nthe sources do not compile; the compiler's words are above`)
}

function copyDataFiles(root, outDir) {
  for (const file of sourceFiles(root).filter((path) => !path.endsWith('.ts'))) {
    cpSync(join(root, file), join(outDir, file))
  }
  cpSync(join(root, 'package.json'), join(outDir, 'package.json'))
}

/** What was compiled one folder deeper moves up one, so the way to its source is one step shorter. */
function alignSourceMaps(outDir) {
  for (const file of filesBelow(outDir, '.').filter((path) => path.endsWith('.js.map'))) {
    const path = join(outDir, file)
    writeFileSync(path, readFileSync(path, 'utf8').replace('"sources":["../', '"sources":["'))
  }
}

/** Content rather than times: an archive may unpack another version with the same times. */
function sourcesKey(root) {
  const hash = createHash('sha256')
  for (const file of [...INPUTS, ...sourceFiles(root)]) {
    const content = readFileSync(join(root, file))
    hash.update(`${file}\0${content.length}\0`).update(content)
  }
  return `${hash.digest('hex')}\n`
}

function sourceFiles(root) {
  const files = FOLDERS.flatMap((folder) => filesBelow(root, folder)).sort()
  // The pages are built by themselves: page.mjs.
  return files.filter((path) => !path.startsWith(`${PAGE_FOLDER}/`))
}

function clear(root, paths) {
  try {
    for (const path of paths) rmSync(path, { recursive: true, force: true })
  } catch (error) {
    throw new SetupError(`the sources have to be compiled, but ${distOf(root)} cannot be written (${error.code})`)
  }
}
