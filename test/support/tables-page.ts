/** `docs/tables.md` as it should read: the columns of every table, out of the rules as shipped. */

import { meaningOf } from '../../stages/upload/rules/meanings.ts'
import { allTables, type Table } from '../../stages/upload/rules/table.ts'
import { loadRules } from '../../stages/upload/rules.ts'

const START = `# Tables

The columns of every log type, with the rules as shipped; [data-model.md](data-model.md) tells how names and types come
about. \`npm start --silent -- tables NAME\` shows those of a table with the files and rules that are there, and so does the
schema beside the editor of the page.

Every table begins with \`event_id\`, \`capture_id\` and \`source\` and ends with the watch-list columns and \`extra\`; these, and
the parts of the time and of the network that are added, are told in [data-model.md](data-model.md) and are left out below.

This page is made of \`stages/upload/rules/\`: after a change there, \`npm test -- test/docs/docs.test.ts -u\` writes it.
`

const FURTHER = `
## Further tables

A live Zeek may send these, some about traffic and most about itself. Their tables have the columns of Zeek's own schema;
\`tables NAME\` shows them:
`

export async function tablesPage(): Promise<string> {
  const tables = allTables(await loadRules({}))
  const told = tables.filter(isTold)
  const others = tables.filter((table) => !isTold(table)).map(({ logType }) => `\`${logType}\``)
  return `${START}${told.map(section).join('')}${FURTHER}${others.join(', ')}.\n`
}

/** Every field is in the dictionary. */
function isTold(table: Table): boolean {
  return table.fields.every(({ column }) => meaningOf(table, column) !== undefined)
}

function section(table: Table): string {
  const types = new Map(table.columns.map(({ name, type }) => [name, type]))
  const rows = table.fields.map(({ raw, column }) => {
    const meaning = meaningOf(table, column)?.replaceAll('|', '\\|')
    return `| \`${column}\` | ${types.get(column)} | \`${raw}\` | ${meaning} |`
  })
  const kind =
    table.rules.static.event_type === undefined ? '' : `\`event_type\` is \`${table.rules.static.event_type}\`.\n\n`
  return `\n## ${table.logType}\n\n${kind}| column | type | Zeek | meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`
}
