/** Whether Prometheus's own checker is here; under CI=true the set-up fetches it, and a test without it fails. */

import { spawnSync } from 'node:child_process'

const isHere = spawnSync('promtool', ['--version']).error === undefined

export const canRunPromtool = isHere || process.env.CI === 'true'
export const noPromtool = canRunPromtool ? '' : ' (skipped: no promtool here)'

/** Throws with what it said. */
export function promtool(args: string[], input?: string): string {
  const { error, status, stdout, stderr } = spawnSync('promtool', args, { input: input ?? '', encoding: 'utf8' })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`promtool ${args.slice(0, 2).join(' ')} failed:\n${stdout}${stderr}`)
  return `${stdout}${stderr}`
}
