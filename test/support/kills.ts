/**
 * Kills the running pipeline with SIGKILL at random instants, again and again, then lets it finish.
 *
 * In: captures and a seed. Out: what the dataset and the data directory hold in the end, to be compared with what
 * a run without kills gives.
 */

import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { CaptureRow } from '../../state/captures.ts'
import type { Home } from './cli.ts'
import { randomFrom } from './mutate.ts'

export interface KillRun {
  kills: number
  captures: { id: string; state: string }[]
  /** Per log type: rows and distinct event ids. */
  tables: Record<string, { rows: number; ids: number }>
  unbalanced: string[]
  leftInSpool: string[]
  strayFiles: string[]
}

export interface KillOptions {
  captures: readonly string[]
  kills: number
  seed: number
  /** The next kill comes within this time after a start. */
  withinMs: number
}

export async function runWithKills(home: Home, { captures, kills, seed, withinMs }: KillOptions): Promise<KillRun> {
  const random = randomFrom(seed)
  mkdirSync(home.inbox, { recursive: true })
  for (const [index, path] of captures.entries()) copyFileSync(path, join(home.inbox, `${index}-${basename(path)}`))
  for (let kill = 0; kill < kills; kill++) {
    const service = home.start('run')
    service.stdout?.resume()
    service.stderr?.resume()
    await new Promise((resolve) => setTimeout(resolve, random(withinMs + 1)))
    service.kill('SIGKILL')
    await once(service, 'exit')
  }
  const service = home.start('run')
  service.stdout?.resume()
  service.stderr?.resume()
  await untilIdle(home)
  service.kill('SIGTERM')
  await once(service, 'exit')
  return { kills, ...(await describeHome(home)) }
}

/** Everything that was dropped has been taken in, and every capture has ended. */
async function untilIdle(home: Home): Promise<void> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 500))
    const { stages, captures } = JSON.parse((await home.run('status', '--json')).stdout)
    const open = stages.some(({ ready, running }: { ready: number; running: number }) => ready + running > 0)
    if (
      !open &&
      !captures.accepted &&
      filesBelow(home.inbox).length === 0 &&
      filesBelow(join(home.dataDir, 'spool')).length === 0
    )
      return
  }
}

export async function describeHome(home: Home): Promise<Omit<KillRun, 'kills'>> {
  const list: CaptureRow[] = JSON.parse((await home.run('captures', '--json')).stdout)
  const types = readdirSync(join(home.dataDir, 'parquet')).sort()
  const counts = types.map(
    (type) => `select '${type}' as type, count(*)::int as n, count(distinct event_id)::int as ids from "${type}"`,
  )
  const rows =
    counts.length === 0 ? [] : await home.rows<{ type: string; n: number; ids: number }>(counts.join(' union all '))
  return {
    captures: list.map(({ id, state }) => ({ id, state })).sort((a, b) => (a.id < b.id ? -1 : 1)),
    tables: Object.fromEntries(rows.map(({ type, n, ids }) => [type, { rows: n, ids }])),
    unbalanced: list.filter(({ state }) => state === 'unbalanced' || state === 'accepted').map(({ id }) => id),
    leftInSpool: filesBelow(join(home.dataDir, 'spool')),
    strayFiles: filesBelow(join(home.dataDir, 'parquet')).filter((name) => !/^events_.*\.parquet$/.test(name)),
  }
}

function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return []
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
}
