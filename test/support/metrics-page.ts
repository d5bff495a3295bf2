/** The table of `docs/metrics.md`, as the code has the metrics. */

import { METRICS } from '../../src/api/metrics.ts'

export function metricsTable(): string {
  const lines = METRICS.map(({ name, type, help }) => `| \`${name}\` | ${type} | ${help.replaceAll('|', '\\|')} |`)
  return ['| metric | type | what |', '|---|---|---|', ...lines].join('\n')
}
