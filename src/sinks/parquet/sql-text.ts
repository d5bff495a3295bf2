/** Names and values as SQL text. */

export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** DuckDB knows no escapes in a plain literal but the doubled quote; a NUL would end the statement's text. */
export function literal(text: string): string {
  return `'${text.replaceAll('\0', '').replaceAll("'", "''")}'`
}

/** A path for `read_json` that means this one file, whatever characters it has. */
export function exactPath(path: string): string {
  return literal(path.replaceAll(/[*?[]/g, '[$&]'))
}

export function list(items: readonly string[]): string {
  return `[${items.join(', ')}]`
}
