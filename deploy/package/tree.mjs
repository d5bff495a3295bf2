/**
 * The files as they lie on a host, below a folder: the program with its own Node under usr/lib/pcap-pipeline, the
 * command, units, settings, documents. The .deb, the bundle and the container image are made of this tree.
 */

import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { filesBelow } from '../bootstrap/files.mjs'
import { checkBinaries } from './binaries.mjs'
import { componentsOf } from './components.mjs'
import { copyrightOf } from './copyright.mjs'
import { installDependencies, pruneDependencies } from './dependencies.mjs'
import { sbomOf } from './sbom.mjs'
import { normalize } from './times.mjs'

/** By Debian's name: Node's. */
export const ARCHITECTURES = {
  amd64: { deb: 'amd64', node: 'x64' },
  arm64: { deb: 'arm64', node: 'arm64' },
}

const HOME = 'usr/lib/pcap-pipeline'
const DOCS = 'usr/share/doc/pcap-pipeline'
const COMPILED = ['src', 'stages', 'state', 'ui']

export async function assembleTree(release) {
  const { root, folder, tree, version, arch, epoch } = release
  const at = (...path) => join(tree, ...path)
  const put = (path, content) => {
    mkdirSync(dirname(at(path)), { recursive: true })
    writeFileSync(at(path), content)
  }
  const copy = (from, to) => cpSync(join(root, from), at(to), { recursive: true, verbatimSymlinks: true })

  const staging = `${tree}-packages`
  rmSync(staging, { recursive: true, force: true })
  const modules = await installDependencies(release, staging)
  const components = componentsOf(release, modules)
  mkdirSync(at(HOME, 'bin'), { recursive: true })
  const runtime = join(modules, `node-linux-${arch.node}`)
  renameSync(join(runtime, 'bin', 'node'), at(HOME, 'bin', 'node'))
  rmSync(runtime, { recursive: true })
  pruneDependencies(modules, arch)
  renameSync(modules, at(HOME, 'node_modules'))
  rmSync(staging, { recursive: true })
  checkBinaries(tree, arch)

  for (const name of COMPILED) copy(`dist/${name}`, `${HOME}/dist/${name}`)
  const { name, license, type } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  put(`${HOME}/dist/package.json`, `${JSON.stringify({ name, version, license, type }, null, 2)}\n`)

  copy('deploy/package/files/pcap-pipeline', 'usr/bin/pcap-pipeline')
  copy('deploy/systemd/launch', `${HOME}/launch`)
  copyUnits(root, tree)
  // What changes with every new setting is an example; the file of an administrator seldom does, so no upgrade asks.
  copy('deploy/package/files/pcap-pipeline.env', 'etc/pcap-pipeline/pcap-pipeline.env')
  copy('.env.example', `${DOCS}/examples/pcap-pipeline.env`)
  copy('deploy/kibana', 'usr/share/pcap-pipeline/kibana')
  put('usr/share/man/man1/pcap-pipeline.1.gz', zipped(manPage(root, version, epoch)))

  for (const doc of filesBelow(root, 'docs').filter((path) => !path.startsWith('docs/decisions/'))) {
    copy(doc, `${DOCS}/${doc.slice('docs/'.length)}`)
  }
  // For a browser, as the service shows them.
  symlinkSync('../../../lib/pcap-pipeline/dist/ui/help', at(DOCS, 'html'))
  put(`${DOCS}/NEWS.md`, readFileSync(join(root, 'CHANGELOG.md')))
  copy('deploy/systemd/convert-over-kafka.conf', `${DOCS}/examples/convert-over-kafka.conf`)
  put(`${DOCS}/copyright`, copyrightOf(components))
  const sbom = `${JSON.stringify(sbomOf(release, components), null, 2)}\n`
  put(`${DOCS}/sbom.cdx.json`, sbom)
  writeFileSync(join(folder, `pcap-pipeline-${version}-linux-${arch.node}.cdx.json`), sbom)
  normalize(tree, epoch)
}

function copyUnits(root, tree) {
  const units = filesBelow(join(root, 'deploy'), 'systemd').filter((path) => path.startsWith('systemd/pcap-pipeline'))
  for (const unit of units)
    cpSync(join(root, 'deploy', unit), join(tree, 'usr/lib/systemd/system', unit.slice('systemd/'.length)))
}

function manPage(root, version, epoch) {
  return readFileSync(join(root, 'deploy/package/files/pcap-pipeline.1'), 'utf8')
    .replace('@DATE@', new Date(epoch * 1000).toISOString().slice(0, 10))
    .replace('@VERSION@', version)
}

/** Without the time that gzip would write into it. */
export function zipped(content, level = 9) {
  return gzipSync(content, { level })
}
