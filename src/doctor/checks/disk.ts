/** Room on the disks: bytes against the floor, and inodes. */

import { stat, statfs } from 'node:fs/promises'
import { bytesText } from '../../cli/text.ts'
import { type Check, error, type Finding, ok, warning } from '../check.ts'
import { existing } from '../existing.ts'
import type { Host } from '../host.ts'

const FEW_INODES = 0.05

export const disk: Check<Host> = {
  name: 'disk',
  async look({ config, layout }) {
    const byDevice = new Map<number, string>()
    for (const dir of [layout.dataDir, layout.stateDir, layout.parquet, layout.inbox]) {
      const there = existing(dir)
      const { dev } = await stat(there)
      if (!byDevice.has(dev)) byDevice.set(dev, there)
    }
    const findings: Finding[] = []
    for (const dir of byDevice.values()) findings.push(...(await lookAt(dir, config.disk.floorBytes)))
    return findings
  },
}

async function lookAt(dir: string, floorBytes: number): Promise<Finding[]> {
  const { bavail, bsize, blocks, files, ffree } = await statfs(dir)
  const free = bavail * bsize
  const room = `${bytesText(free)} of ${bytesText(blocks * bsize)} free at ${dir}`
  const floor = `the floor (DISK_FLOOR_MB) is ${bytesText(floorBytes)}`
  const findings: Finding[] = []
  if (free < floorBytes)
    findings.push(
      error(
        `${room}, and ${floor}: nothing is taken in`,
        'free some space there, put the data on a larger disk, or lower DISK_FLOOR_MB',
      ),
    )
  else if (free < 2 * floorBytes)
    findings.push(
      warning(
        `${room}, and ${floor}: soon nothing will be taken in`,
        'free some space there, or put the data on a larger disk',
      ),
    )
  // File systems that make inodes as they need them tell of none.
  if (files > 0 && ffree < files * FEW_INODES) {
    const text = `${ffree} of ${files} inodes are free at ${dir}`
    const todo = 'remove many small files there, or make the file system with more inodes'
    findings.push(ffree < 1000 ? error(text, todo) : warning(text, todo))
  }
  return findings.length > 0 ? findings : [ok(`${room}; ${floor}`)]
}
