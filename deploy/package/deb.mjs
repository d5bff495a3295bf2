/** The .deb, by dpkg-deb: in, the tree; out, the package, with maintainer scripts that ask nothing. */

import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runTool } from '../bootstrap/child.mjs'
import { filesBelow } from '../bootstrap/files.mjs'
import { SetupError, say } from '../bootstrap/say.mjs'
import { normalize } from './times.mjs'
import { zipped } from './tree.mjs'

const SCRIPTS = ['postinst', 'prerm', 'postrm']
/** Who answers for a package that is built of these sources: DEBFULLNAME and DEBEMAIL, as Debian's own tools have it. */
const NOBODY = { name: 'pcap-pipeline maintainers', email: 'maintainers@pcap-pipeline.invalid' }
/** What every dpkg and lintian reads; of its levels the first takes a third of the time of the usual one, for 5 % more. */
const COMPRESSION = ['-Zxz', '-z1', '--threads-max=1']

export async function buildDeb({ root, folder, tree, version, arch, epoch }) {
  const stage = join(folder, `deb-${arch.deb}`)
  rmSync(stage, { recursive: true, force: true })
  cpSync(tree, stage, { recursive: true, verbatimSymlinks: true })
  const own = join(root, 'deploy/package/files/debian')
  mkdirSync(join(stage, 'DEBIAN'))
  for (const name of SCRIPTS) cpSync(join(own, name), join(stage, 'DEBIAN', name))
  writeFileSync(join(stage, 'DEBIAN/conffiles'), '/etc/pcap-pipeline/pcap-pipeline.env\n')
  const put = (path, content) => {
    mkdirSync(join(stage, path, '..'), { recursive: true })
    writeFileSync(join(stage, path), content)
  }
  put('usr/share/lintian/overrides/pcap-pipeline', readFileSync(join(own, 'lintian-overrides')))
  put('usr/share/doc/pcap-pipeline/changelog.gz', zipped(changelog(version, epoch)))
  const files = ['etc', 'usr'].flatMap((name) => filesBelow(stage, name)).sort()
  writeFileSync(
    join(stage, 'DEBIAN/md5sums'),
    files
      .filter((path) => path.startsWith('usr/'))
      .map((path) => md5Line(stage, path))
      .join(''),
  )
  const kilobytes = files.reduce((sum, path) => sum + Math.ceil(statSync(join(stage, path)).size / 1024), 0)
  writeFileSync(join(stage, 'DEBIAN/control'), control(join(own, 'control'), { version, arch, kilobytes }))
  normalize(stage, epoch)
  const file = `pcap-pipeline_${version}_${arch.deb}.deb`
  const args = ['--root-owner-group', ...COMPRESSION, '--build', stage, join(folder, file)]
  const { code, output } = await runTool('dpkg-deb', args, {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
  })
  rmSync(stage, { recursive: true })
  if (code === 127) return say(`${file} is not made: it needs dpkg-deb, which is not here`)
  if (code !== 0) throw new SetupError(`${output.trim()}\n${file} cannot be made; dpkg-deb's words are above`)
}

function control(template, { version, arch, kilobytes }) {
  return readFileSync(template, 'utf8')
    .replace('@VERSION@', version)
    .replace('@ARCHITECTURE@', arch.deb)
    .replace('@INSTALLED_SIZE@', String(kilobytes))
    .replace('@MAINTAINER@', maintainer())
}

function maintainer() {
  const { DEBFULLNAME: name = NOBODY.name, DEBEMAIL: email = NOBODY.email } = process.env
  return `${name} <${email}>`
}

function changelog(version, epoch) {
  const date = new Date(epoch * 1000).toUTCString().replace('GMT', '+0000')
  return `pcap-pipeline (${version}) stable; urgency=medium

  * What is new: /usr/share/doc/pcap-pipeline/NEWS.md.

 -- ${maintainer()}  ${date}
`
}

function md5Line(stage, path) {
  const digest = createHash('md5')
    .update(readFileSync(join(stage, path)))
    .digest('hex')
  return `${digest}  ${path}\n`
}
