/** What makes two builds of the same sources the same: one time for all files, and modes that no umask decides. */

import { chmodSync, lstatSync, lutimesSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { runTool } from '../bootstrap/child.mjs'

/** Seconds since 1970: SOURCE_DATE_EPOCH, else the time of the last commit, else that of package.json. */
export async function sourceDate(root) {
  const given = process.env.SOURCE_DATE_EPOCH
  if (/^\d+$/.test(given ?? '')) return Number(given)
  const { code, output } = await runTool('git', ['-C', root, 'log', '-1', '--format=%ct'])
  if (code === 0 && /^\d+$/.test(output.trim())) return Number(output.trim())
  return Math.floor(statSync(join(root, 'package.json')).mtimeMs / 1000)
}

/** Folders 755; files 755 where they are programs or scripts, else 644; `modes` names exceptions. */
export function normalize(folder, epoch, modes = {}, path = '.') {
  const full = join(folder, path)
  const stats = lstatSync(full)
  if (stats.isDirectory()) {
    for (const name of readdirSync(full)) normalize(folder, epoch, modes, join(path, name))
    chmodSync(full, modes[path] ?? 0o755)
  } else if (stats.isFile()) chmodSync(full, modes[path] ?? (isProgram(full, path) ? 0o755 : 0o644))
  lutimesSync(full, epoch, epoch)
}

/** What is started by its name, and not what a package's author happened to mark as executable. */
function isProgram(full, path) {
  if (
    /^(usr\/bin\/|usr\/lib\/pcap-pipeline\/(bin\/|launch$|uninstall$)|DEBIAN\/(?!control|conffiles|md5sums)|install\.sh$)/.test(
      path,
    )
  )
    return (
      readFileSync(full)
        .subarray(0, 4)
        .toString('latin1')
        .match(/^(#!|\x7fELF)/) !== null
    )
  return false
}
