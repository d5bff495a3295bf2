/** How far a capture is, stage by stage: a segment each, filled as its bytes are done. */

import type { StageProgress } from '../../api/contract.ts'
import { formatCount, formatShort } from '../lib/format.ts'

const STAGES = ['monitor', 'convert', 'split', 'distribute', 'upload']

export function StageSteps({ progress }: { progress: readonly StageProgress[] }) {
  const byStage = new Map(progress.map((each) => [each.stage, each]))
  const names = [...new Set([...STAGES, ...byStage.keys()])]
  const at = progress.find(({ running }) => running > 0) ?? progress.find(({ waiting }) => waiting > 0)
  return (
    <div className="steps">
      <div
        className="step-bars"
        role="img"
        aria-label={names.map((name) => `${name} ${percentOf(byStage.get(name))} %`).join(', ')}
      >
        {names.map((name) => {
          const each = byStage.get(name)
          return (
            <span
              key={name}
              className={each && each.failed > 0 ? 'step step-failed' : 'step'}
              title={`${name}: ${percentOf(each)} %`}
            >
              <span className="step-done" style={{ width: `${percentOf(each)}%` }} />
            </span>
          )
        })}
      </div>
      <span className="step-text">{at ? textOf(at) : 'handing on'}</span>
    </div>
  )
}

function percentOf(each: StageProgress | undefined): number {
  if (!each) return 0
  const jobs = each.waiting + each.running + each.done + each.failed
  const share = each.bytes > 0 ? each.bytesDone / each.bytes : jobs > 0 ? each.done / jobs : 0
  return Math.round(100 * Math.min(1, share))
}

function textOf(each: StageProgress): string {
  const { stage, running, packetsDone, done, waiting } = each
  if (running === 0) return `${stage} waits`
  if (packetsDone > 0) return `${stage}, ${formatShort(packetsDone)} packets`
  const jobs = running + done + waiting
  return jobs > 1 ? `${stage}, ${formatCount(done)} of ${formatCount(jobs)}` : `${stage}, ${percentOf(each)} %`
}
