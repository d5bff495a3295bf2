/**
 * `npm run bench -- kills [--captures DIR] [--kills 50] [--count 20] [--seed 1]`: how many rows, distinct event ids
 * and left-over files there are after so many SIGKILLs, beside a run without any.
 */

import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { makeHome } from '../support/cli.ts'
import { runWithKills } from '../support/kills.ts'

const corpus = join(import.meta.dirname, '../../../shared/corpus/pcaps')
const { values } = parseArgs({
  options: {
    captures: { type: 'string', default: corpus },
    kills: { type: 'string', default: '50' },
    count: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    within: { type: 'string', default: '3000' },
  },
})
if (!existsSync(values.captures))
  throw new Error(`there are no captures in ${values.captures}; name a folder with --captures`)

const captures = readdirSync(values.captures)
  .map((name) => join(values.captures, name))
  .sort((a, b) => statSync(b).size - statSync(a).size)
  .slice(0, Number(values.count))
const options = { captures, seed: Number(values.seed), withinMs: Number(values.within) }

using undisturbed = makeHome()
using killed = makeHome()
const expected = await runWithKills(undisturbed, { ...options, kills: 0 })
const seen = await runWithKills(killed, { ...options, kills: Number(values.kills) })
const total = (run: typeof seen, column: 'rows' | 'ids') =>
  Object.values(run.tables).reduce((sum, table) => sum + table[column], 0)
console.log(`captures ${captures.length}, kills ${seen.kills}`)
console.log(
  `rows expected ${total(expected, 'rows')}, rows ${total(seen, 'rows')}, distinct event ids ${total(seen, 'ids')}`,
)
console.log(
  `unbalanced ${seen.unbalanced.length}, left in spool ${seen.leftInSpool.length}, stray files ${seen.strayFiles.length}`,
)
const same = JSON.stringify({ ...seen, kills: 0 }) === JSON.stringify({ ...expected, kills: 0 })
console.log(same ? 'the same as without kills' : 'DIFFERENT from the run without kills')
process.exitCode = same ? 0 : 1
