/** A data directory, a ledger and a silent log for tests of the core. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { createEmbeddedBus } from '../../src/bus/embedded.ts'
import type { Bus } from '../../stages/bus.ts'
import type { Log, LogValues } from '../../stages/ports.ts'
import { type Layout, layoutOf, makeLayout } from '../../state/layout.ts'
import { type Ledger, openLedger } from '../../state/ledger.ts'

export interface TestBench {
  layout: Layout
  ledger: Ledger
  bus: Bus
  log: Log & { lines: string[] }
}

/** Removed when the test ends. */
export function testBench(): TestBench {
  const layout = testLayout()
  const ledger = openLedger(layout.ledger)
  onTestFinished(() => ledger.close())
  return { layout, ledger, bus: createEmbeddedBus(ledger), log: recordingLog() }
}

export function testLayout(): Layout {
  const dir = mkdtempSync(join(tmpdir(), 'pipeline-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const layout = layoutOf(dir)
  makeLayout(layout)
  return layout
}

export function recordingLog(lines: string[] = []): Log & { lines: string[] } {
  const write = (level: string) => (message: string, values?: LogValues) => {
    lines.push(`${level} ${message} ${JSON.stringify(values ?? {})}`)
  }
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => recordingLog(lines),
    lines,
  }
}

/** Waits until the condition holds; fails loudly when it does not in time. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 20_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`still waiting after ${timeoutMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
