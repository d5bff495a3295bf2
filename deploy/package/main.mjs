/**
 * Packages for hosts that have neither npm nor a network: npm run package -- [options]
 *
 * In, a checkout that is set up (dist/ compiled, the pages built); out, below dist/packages:
 *
 *   pcap-pipeline_<version>_<amd64|arm64>.deb         for Debian 12 and newer, Ubuntu 22.04 and newer
 *   pcap-pipeline-<version>-linux-<x64|arm64>.tar.gz  the same files with install.sh, for other distributions
 *   pcap-pipeline-<version>-linux-<x64|arm64>.cdx.json  what is inside (CycloneDX)
 *   SHA256SUMS
 *
 * The same sources give the same bytes: times are those of SOURCE_DATE_EPOCH, else of the last commit.
 */

import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { SetupError, say, secondsSince } from '../bootstrap/say.mjs'
import { buildBundle } from './bundle.mjs'
import { buildDeb } from './deb.mjs'
import { sourceDate } from './times.mjs'
import { ARCHITECTURES, assembleTree } from './tree.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))

const options = {
  arch: { type: 'string', default: Object.keys(ARCHITECTURES).join(',') },
  only: { type: 'string', default: 'deb,bundle' },
  version: { type: 'string' },
  out: { type: 'string', default: join(root, 'dist', 'packages') },
}
const USAGE = `options: --arch ${Object.keys(ARCHITECTURES).join(',')}  --only deb,bundle,tree  --version X.Y.Z  --out FOLDER`
const KINDS = { deb: buildDeb, bundle: buildBundle, tree: async () => {} }

async function main() {
  const { arch, only, version = ownVersion(), out } = read()
  if (!/^\d[\w.+~]*$/.test(version)) throw new SetupError(`${version} is no version of a package, such as 1.2.3`)
  const names = listed(arch, ARCHITECTURES)
  const kinds = listed(only, KINDS)
  const folder = resolve(out)
  mkdirSync(folder, { recursive: true })
  for (const name of names) {
    const started = Date.now()
    const tree = join(folder, `tree-${name}`)
    const release = { root, folder, tree, version, arch: ARCHITECTURES[name], epoch: await sourceDate(root) }
    rmSync(tree, { recursive: true, force: true })
    await assembleTree(release)
    for (const kind of kinds) await KINDS[kind](release)
    // To look at, or to copy into an image, where that is all that was asked for.
    if (!kinds.includes('tree')) rmSync(tree, { recursive: true, force: true })
    say(`${kinds.join(', ')} for ${name} made in ${secondsSince(started)}`)
  }
  writeChecksums(folder)
  process.stdout.write(`${folder}\n`)
}

function read() {
  try {
    return parseArgs({ options }).values
  } catch (error) {
    throw new SetupError(`${error.message}\n${USAGE}`)
  }
}

function listed(text, known) {
  const names = text.split(',')
  const unknown = names.filter((name) => !Object.hasOwn(known, name))
  if (unknown.length > 0) throw new SetupError(`${unknown.join(', ')}: there is no such thing to make\n${USAGE}`)
  return names
}

function ownVersion() {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
}

function writeChecksums(folder) {
  const names = readdirSync(folder).filter((name) => /\.(deb|tar\.gz|cdx\.json)$/.test(name))
  const line = (name) =>
    `${createHash('sha256')
      .update(readFileSync(join(folder, name)))
      .digest('hex')}  ${name}\n`
  writeFileSync(join(folder, 'SHA256SUMS'), names.sort().map(line).join(''))
}

try {
  await main()
} catch (error) {
  say(error instanceof SetupError ? error.message : error.stack)
  process.exitCode = 1
}
