/**
 * The npm packages of one platform: in, package-lock.json; out, a folder with what the pipeline needs to run there and
 * nothing that it does not (types, maps, tests, sources of what is compiled, binaries of other systems).
 */

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runTool } from '../bootstrap/child.mjs'
import { npmCommand } from '../bootstrap/packages.mjs'
import { SetupError } from '../bootstrap/say.mjs'

const FLAGS = ['--ignore-scripts', '--omit=dev', '--include=optional', '--prefer-offline', '--os=linux', '--libc=glibc']
const QUIET = ['--loglevel=error', '--no-progress', '--no-audit', '--no-fund']
const FILES = ['package.json', 'package-lock.json', '.npmrc']
const LICENCE = /^(licen[sc]e|copying|notice|copyright)/i
const NOT_NEEDED =
  /(\.(ts|mts|cts|tsx|map|md|markdown|flow|html|yml|yaml|gyp|gypi)|^\..*|^(Makefile|.*\.sh|tsconfig.*\.json))$/i
const FOLDERS_NOT_NEEDED =
  /^(test|tests|__tests__|bench|benchmark|benchmarks|example|examples|doc|docs|man|bin|tools|scripts|integration|coverage|\..*)$/
/** By package, what only its own building, or its own command, needs. */
const SOURCES = {
  'better-sqlite3': ['deps', 'src'],
  dotenv: ['dist/cli.cjs'],
  mime: ['cli.js'],
  pino: ['bin.js'],
  yaml: ['bin.mjs'],
}

/** @throws SetupError when a package cannot be had. */
export async function installDependencies({ root, tree, arch }, folder) {
  mkdirSync(folder, { recursive: true })
  for (const name of FILES) cpSync(join(root, name), join(folder, name))
  const [npm, ...first] = npmCommand()
  const { code, output } = await runTool(npm, [...first, 'ci', ...FLAGS, `--cpu=${arch.node}`, ...QUIET], {
    cwd: folder,
  })
  if (code !== 0)
    throw new SetupError(`${output.trim()}\nthe packages for ${arch.node} cannot be installed into ${tree}`)
  return join(folder, 'node_modules')
}

/** Removes what is not needed, once the licences have been read. */
export function pruneDependencies(modules, { node }) {
  for (const path of packagesIn(modules)) {
    const folder = join(modules, path)
    for (const name of SOURCES[path] ?? []) rmSync(join(folder, name), { recursive: true, force: true })
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isDirectory() && FOLDERS_NOT_NEEDED.test(entry.name))
        rmSync(join(folder, entry.name), { recursive: true })
    }
    prune(folder)
  }
  const prebuilds = join(modules, 'better-sqlite3/prebuilds')
  for (const name of readdirSync(prebuilds)) if (name !== `linux-${node}.node`) rmSync(join(prebuilds, name))
  for (const name of ['.bin', '.package-lock.json']) rmSync(join(modules, name), { recursive: true, force: true })
}

function prune(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    // Packages inside of packages are looked at by themselves.
    if (entry.isDirectory()) {
      if (entry.name !== 'node_modules') prune(path)
      if (readdirSync(path).length === 0) rmSync(path, { recursive: true })
    } else if (entry.isSymbolicLink() || (NOT_NEEDED.test(entry.name) && !LICENCE.test(entry.name))) rmSync(path)
  }
}

/** What npm has installed, as its own record says: paths from node_modules. */
export function packagesIn(modules) {
  return Object.keys(installedIn(modules)).sort()
}

export function installedIn(modules) {
  const { packages } = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8'))
  const here = Object.entries(packages).filter(([path]) => existsSync(join(modules, '..', path)))
  return Object.fromEntries(here.map(([path, entry]) => [path.slice('node_modules/'.length), entry]))
}

/** The texts of a package's licence and notice files. */
export function licenceTexts(folder) {
  const names = readdirSync(folder, { withFileTypes: true }).filter(
    (entry) => entry.isFile() && LICENCE.test(entry.name) && !/\.(js|json|ts)$/.test(entry.name),
  )
  return names.map(({ name }) => readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n').trim()).sort()
}
