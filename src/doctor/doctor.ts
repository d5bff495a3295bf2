/**
 * What is wrong with this host, and what to do about it.
 *
 * In: the settings, or why they cannot be read. Out: the findings of every check, in the order of this list: a host
 * whose first checks fail need not wonder about the later ones. Nothing is changed; a check that throws or hangs is a
 * finding, and the others go on.
 */

import { messageOf } from '../../state/errors.ts'
import { type Check, error, type Finding, type Verdict } from './check.ts'
import { broker } from './checks/broker.ts'
import { clock } from './checks/clock.ts'
import { dataset } from './checks/dataset.ts'
import { disk } from './checks/disk.ts'
import { elasticsearch } from './checks/elasticsearch.ts'
import { engines } from './checks/engines.ts'
import { fileSystems } from './checks/file-systems.ts'
import { folders } from './checks/folders.ts'
import { ledger } from './checks/ledger.ts'
import { limits } from './checks/limits.ts'
import { memory } from './checks/memory.ts'
import { port } from './checks/port.ts'
import { settings } from './checks/settings.ts'
import { versions } from './checks/versions.ts'
import { work } from './checks/work.ts'
import type { Host } from './host.ts'

export interface Examined extends Finding {
  check: string
}

const CHECKS: readonly Check<Host>[] = [
  ...[versions, settings, folders, fileSystems, clock, disk, limits, memory],
  ...[engines, broker, elasticsearch, port, ledger, work, dataset],
]

/** A folder on a server that is gone answers never. With --deep the dataset takes as long as it takes. */
const LIMIT_MS = 120_000

export async function examine(host: Host, onFound: (found: Examined) => void = () => {}): Promise<Examined[]> {
  const all: Examined[] = []
  for (const check of CHECKS) all.push(...report(check.name, await findingsOf(check, host), onFound))
  return all
}

/** Without settings nothing is known of folders, ledger and servers. */
export async function examineWithoutSettings(
  problem: unknown,
  onFound: (found: Examined) => void = () => {},
): Promise<Examined[]> {
  const wrong = messageOf(problem)
  const todo =
    'correct them in .env or the environment (docs/settings.md), then run `doctor` again: it has looked at nothing else'
  return [
    ...report(versions.name, await findingsOf(versions, undefined), onFound),
    ...report(settings.name, [error(wrong, todo)], onFound),
  ]
}

export function worst(findings: readonly Finding[]): Verdict {
  const verdicts = new Set(findings.map(({ verdict }) => verdict))
  return verdicts.has('error') ? 'error' : verdicts.has('warning') ? 'warning' : 'ok'
}

function report(check: string, findings: readonly Finding[], onFound: (found: Examined) => void): Examined[] {
  const named = findings.map((finding) => ({ check, ...finding }))
  for (const each of named) onFound(each)
  return named
}

async function findingsOf<Of>(check: Check<Of>, host: Of): Promise<Finding[]> {
  const isLong = (host as Host | undefined)?.deep === true
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Finding[]>((resolve) => {
    const text = `it did not end within ${LIMIT_MS / 1000} s`
    const todo = 'a disk or a server does not answer; see the mounts and the log of the kernel'
    if (!isLong) timer = setTimeout(() => resolve([error(text, todo)]), LIMIT_MS)
  })
  try {
    return await Promise.race([Promise.resolve().then(() => check.look(host)), late])
  } catch (thrown) {
    return [
      error(
        `it could not be looked at: ${messageOf(thrown)}`,
        'see the findings before this one; if there is none, please report it',
      ),
    ]
  } finally {
    clearTimeout(timer)
  }
}
