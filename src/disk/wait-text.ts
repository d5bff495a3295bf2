/** Why intake waits, as people read it. */

import type { SpaceWait } from '../../state/space.ts'

const REASONS: Record<SpaceWait['why'], string> = {
  budget: 'the budget is used up (DISK_BUDGET_MB) and nothing more may be removed for it yet',
  floor: 'the disk is nearly full (DISK_FLOOR_MB)',
  backlog: 'what was taken in is to be converted first: it takes a tenth of the budget (DISK_BUDGET_MB)',
}

export function waitText({ stage, wanted, why }: SpaceWait): string {
  const what = stage === 'monitor' ? 'intake waits' : `${stage} waits`
  const forBytes = wanted > 0 && why !== 'backlog' ? ` for ${Math.ceil(wanted / 2 ** 20)} MB` : ''
  return `${what}${forBytes}: ${REASONS[why]}`
}
