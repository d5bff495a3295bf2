/**
 * LDAP messages from their bytes (RFC 4511; Microsoft's binds: MS-ADTS 5.1.1.1.3). In: one LDAPMessage. Out:
 * what a log wants of it.
 */

import { children, content, type Der, derAt, derNumber } from './der.ts'
import { filterText } from './ldap-filter.ts'
import { textOf } from './text.ts'

export interface LdapMessage {
  id: number
  /** [APPLICATION n] of the operation. */
  operation: number
  result?: LdapResult
  bind?: LdapBind
  search?: LdapSearch
  /** Of an extended request. */
  requestName?: string
}

export interface LdapResult {
  code: number
  diagnostic: string
  /** serverSaslCreds of a bind's answer. */
  credentials?: Buffer
}

export interface LdapBind {
  version: number
  name: string
  kind: 'simple' | 'sasl' | 'sicily discovery' | 'sicily negotiate' | 'sicily response'
  mechanism?: string
  credentials?: Buffer
}

export interface LdapSearch {
  base: string
  scope: number
  derefAliases: number
  filter: string
}

export const BIND_REQUEST = 0
export const BIND_RESPONSE = 1
export const UNBIND_REQUEST = 2
export const SEARCH_REQUEST = 3
export const SEARCH_ENTRY = 4
export const SEARCH_DONE = 5
export const SEARCH_REFERENCE = 19
export const EXTENDED_REQUEST = 23
export const EXTENDED_RESPONSE = 24
export const INTERMEDIATE_RESPONSE = 25
/** Their protocolOp begins with an LDAPResult. */
const RESULTS = new Set([BIND_RESPONSE, SEARCH_DONE, 7, 9, 11, 13, 15, EXTENDED_RESPONSE])
const KINDS: Record<number, LdapBind['kind']> = {
  128: 'simple',
  163: 'sasl',
  137: 'sicily discovery',
  138: 'sicily negotiate',
  139: 'sicily response',
}

/** undefined: no LDAP message. */
export function parseLdap(bytes: Buffer): LdapMessage | undefined {
  const outer = derAt(bytes)
  if (outer?.tag !== 0x30) return undefined
  const [id, op] = children(outer)
  const number = id?.tag === 2 ? derNumber(id) : undefined
  if (number === undefined || op === undefined || (op.tag & 0xc0) !== 0x40) return undefined
  const message: LdapMessage = { id: number, operation: op.tag & 0x1f }
  if (message.operation === BIND_REQUEST) message.bind = bindOf(op)
  else if (message.operation === SEARCH_REQUEST) message.search = searchOf(op)
  else if (message.operation === EXTENDED_REQUEST) message.requestName = nameOf(op)
  else if (RESULTS.has(message.operation)) message.result = resultOf(op)
  return message
}

/** A zero in a text is shown as a question mark. */
const text = (element: Der | undefined) =>
  element === undefined ? '' : textOf(Buffer.from(content(element).map((byte) => (byte === 0 ? 0x3f : byte))))

function bindOf(op: Der): LdapBind | undefined {
  const [version, name, auth] = children(op)
  const kind = auth === undefined ? undefined : KINDS[auth.tag]
  if (kind === undefined || auth === undefined) return undefined
  const bind = { version: derNumber(version) ?? 0, name: text(name), kind }
  if (kind !== 'sasl') return { ...bind, credentials: content(auth) }
  const [mechanism, credentials] = children(auth)
  return { ...bind, mechanism: text(mechanism), credentials: credentials && content(credentials) }
}

/** baseObject, scope, derefAliases, sizeLimit, timeLimit, typesOnly, filter, attributes. */
function searchOf(op: Der): LdapSearch | undefined {
  const [base, scope, deref, , , , filter] = children(op)
  if (filter === undefined) return undefined
  return {
    base: text(base),
    scope: derNumber(scope) ?? -1,
    derefAliases: derNumber(deref) ?? -1,
    filter: textOf(Buffer.from(filterText(filter), 'latin1')),
  }
}

const nameOf = (op: Der) => text(children(op).find(({ tag }) => tag === 0x80))

/** resultCode, matchedDN, diagnosticMessage, then what is optional. */
function resultOf(op: Der): LdapResult | undefined {
  const [code, , diagnostic, ...rest] = children(op)
  const number = derNumber(code)
  if (number === undefined) return undefined
  const credentials = rest.find(({ tag }) => tag === 0x87)
  return { code: number, diagnostic: text(diagnostic), credentials: credentials && content(credentials) }
}
