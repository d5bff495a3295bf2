/** The tables that the rules declare, with all their columns in order: views, and the data dictionary, are made of them. */

import { allTables, type TableColumn } from '../../../stages/upload/rules/table.ts'
import { loadRules, type RulesFiles } from '../../../stages/upload/rules.ts'

export interface DeclaredTable {
  name: string
  columns: readonly TableColumn[]
}

/** Throws `rules_invalid`. */
export async function declaredTables(files: RulesFiles): Promise<DeclaredTable[]> {
  const rules = await loadRules(files)
  return allTables(rules).map(({ logType, columns }) => ({ name: logType, columns }))
}
