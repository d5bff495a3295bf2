/** LDAP search filters as text (RFC 4511, 4.5.1.7; RFC 4515): each byte above 0x7f stays one character (latin1). */

import { children, content, type Der } from './der.ts'

const MAX_DEPTH = 50
const MAX_TEXT = 16_384

/** What RFC 4515 escapes. */
const SPECIAL = new Set(['\0', '(', ')', '*', '\\'])
const escaped = (char: string) => (SPECIAL.has(char) ? `\\${char.charCodeAt(0).toString(16).padStart(2, '0')}` : char)
const plain = (element: Der | undefined) =>
  element === undefined ? '' : content(element).toString('latin1', 0, MAX_TEXT)
const value = (element: Der | undefined) => Array.from(plain(element), escaped).join('')

/** Filter CHOICE: context tag → text. */
const KINDS: Record<number, (filter: Der, depth: number) => string> = {
  160: (filter, depth) => list('&', filter, depth),
  161: (filter, depth) => list('|', filter, depth),
  162: (filter, depth) => `(!${children(filter).map((each) => filterText(each, depth + 1))[0] ?? ''})`,
  163: (filter) => assertion('=', filter),
  164: substrings,
  165: (filter) => assertion('>=', filter),
  166: (filter) => assertion('<=', filter),
  135: (filter) => `(${plain(filter)}=*)`,
  168: (filter) => assertion('~=', filter),
  169: extensible,
}

export function filterText(filter: Der, depth = 0): string {
  if (depth > MAX_DEPTH) return ''
  return (KINDS[filter.tag]?.(filter, depth) ?? '').slice(0, MAX_TEXT)
}

/** Of more than two parts the first two are put together, then the next: `(&(&(a)(b))(c))`. */
function list(operator: string, filter: Der, depth: number): string {
  const parts = children(filter).map((part) => filterText(part, depth + 1))
  const [first = '', ...rest] = parts
  if (rest.length === 0) return `(${operator}${first})`
  let length = first.length
  const fits = rest.filter((part) => {
    length += part.length + 3
    return length <= MAX_TEXT
  })
  return `${`(${operator}`.repeat(fits.length)}${first}${fits.map((part) => `${part})`).join('')}`
}

function assertion(operator: string, filter: Der): string {
  const [attribute, wanted] = children(filter)
  return `(${plain(attribute)}${operator}${value(wanted)})`
}

/** initial [0], any [1], final [2]. */
function substrings(filter: Der): string {
  const [attribute, parts] = children(filter)
  let text = ''
  let isOpen = true
  for (const part of children(parts)) {
    text += part.tag === 0x80 ? value(part) : `*${value(part)}`
    isOpen = part.tag !== 0x82
  }
  return `(${plain(attribute)}=${text}${isOpen ? '*' : ''})`
}

/** matchingRule [1], type [2], matchValue [3], dnAttributes [4]. */
function extensible(filter: Der): string {
  const parts = children(filter)
  const part = (tag: number) => parts.find((each) => each.tag === tag)
  const rule = part(0x81)
  const dn = part(0x84)
  const withDn = dn !== undefined && content(dn)[0] !== 0 ? ':dn' : ''
  return `(${plain(part(0x82))}${withDn}${rule === undefined ? '' : `:${plain(rule)}`}:=${value(part(0x83))})`
}
