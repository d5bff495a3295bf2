/** On which kinds of file systems the folders lie, and what follows from that. */

import { stat, statfs } from 'node:fs/promises'
import { type Check, error, type Finding, ok, warning } from '../check.ts'
import { existing } from '../existing.ts'
import type { Host } from '../host.ts'

/** By the number that statfs(2) tells. */
const KINDS: Record<number, string> = {
  26985: 'NFS',
  20859: 'SMB',
  4283649346: 'SMB',
  4266872130: 'SMB',
  16914839: '9P',
  1702057286: 'FUSE',
  12805120: 'Ceph',
  1196443219: 'GPFS',
  198183888: 'Lustre',
  16914836: 'tmpfs',
  2035054128: 'overlayfs',
  61267: 'ext4',
  1481003842: 'XFS',
  2435016766: 'Btrfs',
  801189825: 'ZFS',
}
const OVER_A_NETWORK = new Set(['NFS', 'SMB', '9P', 'Ceph', 'GPFS', 'Lustre'])

export const fileSystems: Check<Host> = {
  name: 'file systems',
  async look({ config, layout }) {
    const kindOf = async (dir: string) => {
      const number = (await statfs(existing(dir))).type >>> 0
      return KINDS[number] ?? `kind 0x${number.toString(16)}`
    }
    const deviceOf = async (dir: string) => (await stat(existing(dir))).dev
    const kinds = {
      ledger: await kindOf(layout.stateDir),
      data: await kindOf(layout.dataDir),
      inbox: await kindOf(layout.inbox),
      dataset: await kindOf(layout.parquet),
    }
    const findings = [...ledgerFindings(kinds.ledger, layout.stateDir)]
    if (OVER_A_NETWORK.has(kinds.inbox) && !config.inbox.polling)
      findings.push(
        warning(
          `the inbox is on ${kinds.inbox}, which tells nothing of files that others put there`,
          'set INBOX_POLLING=true; until then they are found by the look every RESCAN_INTERVAL_MS',
        ),
      )
    const home = await deviceOf(layout.dataDir)
    for (const dir of [layout.captures, layout.spool, layout.quarantine])
      if ((await deviceOf(dir)) !== home)
        findings.push(
          error(
            `${dir} is on another file system than ${layout.dataDir}`,
            'they have to be on one: take the mount away, or mount it at DATA_DIR',
          ),
        )
    if ((await deviceOf(layout.inbox)) !== home)
      findings.push(
        warning(
          `the inbox is on another file system than ${layout.dataDir}: every capture is copied, not moved`,
          'nothing, if that is meant; else put INBOX_DIR and DATA_DIR on one',
        ),
      )
    if ((await deviceOf(layout.parquet)) !== home)
      findings.push(
        warning(
          `the dataset is on another file system than ${layout.dataDir}: every file of it is copied there`,
          'nothing, if that is meant; else put PARQUET_DIR and DATA_DIR on one',
        ),
      )
    const all = [...new Set(Object.values(kinds))].join(', ')
    return findings.length > 0 ? findings : [ok(`all on one, ${all}`)]
  },
}

function ledgerFindings(kind: string, dir: string): Finding[] {
  if (OVER_A_NETWORK.has(kind))
    return [
      error(
        `the ledger is on ${kind} (${dir}), where SQLite can be damaged`,
        'set STATE_DIR to a folder on a disk of this host',
      ),
    ]
  if (kind === 'tmpfs')
    return [
      warning(
        `the ledger is in memory (${dir} is on tmpfs): a restart of the host loses it`,
        'set STATE_DIR or DATA_DIR to a folder on a disk',
      ),
    ]
  if (kind === 'FUSE')
    return [
      warning(
        `the ledger is on FUSE (${dir}), which may be a network in disguise`,
        'set STATE_DIR to a folder on a disk of this host',
      ),
    ]
  return []
}
