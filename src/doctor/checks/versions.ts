/** What runs here, in which version. */

import { version as duckdbVersion } from '@duckdb/node-api'
import BetterSqlite3 from 'better-sqlite3'
import packageJson from '../../../package.json' with { type: 'json' }
import type { Check } from '../check.ts'
import { ok, warning } from '../check.ts'

const NODE = 24

export const versions: Check<unknown> = {
  name: 'versions',
  look() {
    const db = new BetterSqlite3(':memory:')
    const sqlite = db.prepare('SELECT sqlite_version()').pluck().get()
    db.close()
    const all = `pcap-pipeline ${packageJson.version}, Node ${process.versions.node}, DuckDB ${duckdbVersion()}, SQLite ${sqlite}`
    const major = Number(process.versions.node.split('.')[0])
    if (major < NODE)
      return [warning(all, `it is made for Node ${NODE}; start it with \`npm start\`, which brings its own`)]
    return [ok(all)]
  },
}
