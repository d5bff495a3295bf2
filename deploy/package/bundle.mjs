/** The bundle for other distributions: in, the tree; out, a tar.gz with it, its checksums, install.sh and the licences. */

import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runTool } from '../bootstrap/child.mjs'
import { filesBelow } from '../bootstrap/files.mjs'
import { SetupError } from '../bootstrap/say.mjs'
import { normalize } from './times.mjs'
import { zipped } from './tree.mjs'

/** Of gzip; its ninth level takes three times as long, for 0.4 % less. */
const LEVEL = 6

export async function buildBundle({ root, folder, tree, version, arch, epoch }) {
  const name = `pcap-pipeline-${version}-linux-${arch.node}`
  const stage = join(folder, name)
  rmSync(stage, { recursive: true, force: true })
  mkdirSync(stage, { recursive: true })
  cpSync(tree, join(stage, 'root'), { recursive: true, verbatimSymlinks: true })
  const files = join(root, 'deploy/package/files')
  cpSync(join(files, 'install.sh'), join(stage, 'install.sh'))
  cpSync(join(files, 'uninstall'), join(stage, 'root/usr/lib/pcap-pipeline/uninstall'))
  cpSync(join(root, 'docs/install.md'), join(stage, 'INSTALL.md'))
  cpSync(join(root, 'LICENSE'), join(stage, 'LICENSE'))
  cpSync(join(tree, 'usr/share/doc/pcap-pipeline/copyright'), join(stage, 'THIRD-PARTY'))
  const sums = filesBelow(stage, 'root')
    .sort()
    .map(
      (path) =>
        `${createHash('sha256')
          .update(readFileSync(join(stage, path)))
          .digest('hex')}  ${path}\n`,
    )
  writeFileSync(join(stage, 'checksums.sha256'), sums.join(''))
  normalize(stage, epoch)
  normalize(join(stage, 'root'), epoch)
  const tar = join(folder, `${name}.tar`)
  const fixed = ['--sort=name', `--mtime=@${epoch}`, '--owner=0', '--group=0', '--numeric-owner', '--format=gnu']
  const { code, output } = await runTool('tar', [...fixed, '-C', folder, '-cf', tar, name])
  if (code !== 0) throw new SetupError(`${output.trim()}\nthe bundle cannot be made; tar's words are above`)
  writeFileSync(`${tar}.gz`, zipped(readFileSync(tar), LEVEL))
  rmSync(tar)
  rmSync(stage, { recursive: true })
}
