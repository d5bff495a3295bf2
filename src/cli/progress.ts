/** What `ingest` shows while it waits: a line that is drawn over on a terminal, a plain line a second elsewhere. */

import { capturesOf } from '../../stages/monitor/arrival.ts'
import type { Progress } from '../../stages/stage.ts'
import { type JobRow, STAGE_NAMES } from '../../state/job.ts'
import type { Ledger } from '../../state/ledger.ts'
import { waitText } from '../disk/wait-text.ts'
import { bytesText } from './text.ts'

const EVERY_MS = 1000
const EVERY_ON_TERMINAL_MS = 200

export function startProgress(
  ledger: Ledger,
  wanted: readonly { key: string }[],
  out: NodeJS.WriteStream,
): { stop(): void } {
  const terminal = out.isTTY === true
  const started = Date.now()
  const show = () => {
    const line = progressLine(ledger, wanted, Date.now() - started)
    out.write(terminal ? `\r\u001b[K${line.slice(0, (out.columns || 80) - 1)}` : `${line}\n`)
  }
  const timer = setInterval(show, terminal ? EVERY_ON_TERMINAL_MS : EVERY_MS)
  return {
    stop() {
      clearInterval(timer)
      if (terminal) out.write('\r\u001b[K')
    },
  }
}

function progressLine(ledger: Ledger, wanted: readonly { key: string }[], elapsedMs: number): string {
  const arrivals = wanted.flatMap(({ key }) => ledger.jobs.find('monitor', key) ?? [])
  const captures = new Set(arrivals.flatMap(capturesOf))
  const jobs = [...arrivals, ...[...captures].flatMap((captureId) => ledger.jobs.list({ captureId }))]
  const stages = STAGE_NAMES.map((stage) =>
    stageText(
      stage,
      jobs.filter((job) => job.stage === stage),
    ),
  ).filter(Boolean)
  const [wait] = ledger.space.waits()
  const why = wait === undefined ? '' : `  ${waitText(wait)}`
  return `${(elapsedMs / 1000).toFixed(0)} s  ${stages.join('  ')}${why}`
}

/** `convert 3/5 jobs 120.0 MB/2.1 GB 1200000 packets` */
function stageText(stage: string, jobs: readonly JobRow[]): string {
  if (jobs.length === 0) return ''
  const done = jobs.filter(({ status }) => status === 'done')
  const running = jobs.filter(({ status }) => status === 'running').map(({ progress }) => (progress ?? {}) as Progress)
  const total = sum(jobs.map(({ bytes }) => bytes))
  const bytes = Math.min(total, sum(done.map((job) => job.bytes)) + sum(running.map((progress) => progress.bytes ?? 0)))
  const packets = sum(running.map((progress) => progress.packets ?? 0))
  const amount = done.length === jobs.length ? bytesText(total) : `${bytesText(bytes)}/${bytesText(total)}`
  const parts = [`${stage} ${done.length}/${jobs.length}`, amount, packets > 0 ? `${packets} packets` : '']
  return parts.filter(Boolean).join(' ')
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}
