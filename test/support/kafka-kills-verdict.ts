/** What has to hold after kills over Kafka, as sentences about what does not. */

import type { KafkaKillRun } from './kafka-kills.ts'

/** Transactions of the dead are given up soon, so that a run does not wait for them. */
export const KILLS_BROKER = {
  properties: { 'transaction.abort.timed.out.transaction.cleanup.interval.ms': '1000' },
}

export function problemsOf(run: KafkaKillRun): string[] {
  const { expected, hosts, tables, foreign, normalized, deadLetters, lag } = run
  const problems: string[] = []
  const same = (what: string, found: unknown, wanted: unknown) => {
    const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)]
    if (a !== b) problems.push(`${what}: ${a} instead of ${b}`)
  }
  same('rows and event ids', tables, expected.tables)
  for (const [index, { captures, unbalanced, receipts, leftInSpool, strayFiles }] of hosts.entries()) {
    same(`captures of ledger ${index}`, captures, expected.captures)
    same(`captures of ledger ${index} that are not in balance`, unbalanced, [])
    same(`receipts of ledger ${index} with problems`, receipts, [])
    same('files left in the spool', leftInSpool, [])
    same('strange files in the dataset', strayFiles, [])
  }
  same('events of others lost and doubled', [foreign.lost, foreign.doubled], [0, 0])
  same('normalized messages', normalized.messages, normalized.rows)
  same(
    'normalized messages of others',
    [normalized.ofOthers, normalized.distinctOfOthers],
    [foreign.sent, foreign.sent],
  )
  same('dead letters', deadLetters.found, deadLetters.expected)
  same('lag', lag, 0)
  return problems
}
