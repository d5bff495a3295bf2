/**
 * What is inside of a package, for its SBOM and its copyright file: every npm package that is installed with it, those
 * that the pages were built of, and Node with what Node itself brings along.
 *
 * A component is `{ name, version, licence, integrity?, texts, place, parts? }`: `licence` as SPDX has it, `texts` those
 * of its licence files, `place` where its files are below the root, `parts` what it has inside, by name and version.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { filesBelow } from '../bootstrap/files.mjs'
import { installedIn, licenceTexts } from './dependencies.mjs'

const HOME = 'usr/lib/pcap-pipeline'
/** A type is gone from what is built. */
const IMPORT =
  /(?:^|\n)\s*(?:import(?! type)[^'"\n]*?|} from |export [^'"\n]*? from |@import )\s*['"]([^'".][^'"]*)['"]/g

export function componentsOf({ root, arch }, modules) {
  const installed = Object.entries(installedIn(modules)).map(([path, entry]) =>
    path === `node-linux-${arch.node}`
      ? nodeItself(join(modules, path), entry)
      : component(join(modules, path), entry, `${HOME}/node_modules/${path}/*`),
  )
  return [...installed, ...pageComponents(root)].sort((a, b) => compare(a.place, b.place) || compare(a.name, b.name))
}

function component(folder, { version, integrity }, place) {
  const { name, license, licenses } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const licence = license?.type ?? license ?? licenses?.map(({ type }) => type).join(' OR ')
  return { name, version, licence, integrity, texts: licenceTexts(folder), place }
}

/** Its version is that of its package; what is inside follows from the binary that made this, which is the same one. */
function nodeItself(folder, entry) {
  const { node, modules: _abi, napi: _napi, ...parts } = process.versions
  if (node !== entry.version) throw new Error(`this is Node ${node}, but ${entry.version} goes into the package`)
  return { ...component(folder, entry, `${HOME}/bin/node`), name: 'node', licence: 'MIT', parts }
}

/** The packages that src/ui imports, and theirs: all that may be in dist/ui. */
function pageComponents(root) {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const wanted = filesBelow(root, 'src/ui')
    .filter((path) => /\.(tsx?|css)$/.test(path))
    .flatMap((path) => [...readFileSync(join(root, path), 'utf8').matchAll(IMPORT)].map(([, from]) => packageOf(from)))
    .filter((name) => `node_modules/${name}` in lock)
  const found = new Set()
  for (const queue = [...wanted]; queue.length > 0; ) {
    const name = queue.pop()
    if (found.has(name)) continue
    found.add(name)
    queue.push(...Object.keys(lock[`node_modules/${name}`]?.dependencies ?? {}))
  }
  return [...found].sort().map((name) => {
    const path = `node_modules/${name}`
    return component(join(root, path), lock[path], `${HOME}/dist/ui/*`)
  })
}

/** `@scope/name/file` is a file of `@scope/name`. */
function packageOf(specifier) {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

export function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0
}
