/**
 * Kerberos 5 messages from their bytes (RFC 4120, section 5). In: one message without TCP's length. Out: what
 * a log wants of it. Fields are found by their tags, so that a message with some missing still gives the rest.
 */

import { children, content, type Der, derAt, derNumber, derTime } from './der.ts'
import { textOf } from './text.ts'

export type KerberosKind =
  | 'AS-REQ'
  | 'AS-REP'
  | 'TGS-REQ'
  | 'TGS-REP'
  | 'AP-REQ'
  | 'AP-REP'
  | 'ERROR'
  | 'SAFE'
  | 'PRIV'
  | 'CRED'

export interface KerberosMessage {
  kind: KerberosKind
  /** Parts of a principal's name, joined by `/`. */
  clientName?: string
  clientRealm?: string
  serviceName?: string
  /** Seconds since the epoch. */
  from?: number
  till?: number
  /** Bit 0 is the highest. */
  options?: number
  /** Of the ticket's encrypted part. */
  ticketCipher?: number
  errorCode?: number
  errorText?: string
}

/** [APPLICATION n], constructed. */
const KINDS: Record<number, KerberosKind> = {
  106: 'AS-REQ',
  107: 'AS-REP',
  108: 'TGS-REQ',
  109: 'TGS-REP',
  110: 'AP-REQ',
  111: 'AP-REP',
  116: 'SAFE',
  117: 'PRIV',
  118: 'CRED',
  126: 'ERROR',
}
const MAX_NAME_PARTS = 16

/** undefined: no Kerberos message, or one that is not whole. */
export function parseKerberos(bytes: Buffer): KerberosMessage | undefined {
  const outer = derAt(bytes)
  const kind = outer === undefined ? undefined : KINDS[outer.tag]
  if (kind === undefined) return undefined
  const [sequence] = children(outer)
  if (sequence?.tag !== 0x30) return undefined
  return { kind, ...READERS[kind]?.(fieldsOf(sequence)) }
}

type FieldsOf = (number: number) => Der | undefined

/** The content of the context tags [0], [1], … of a SEQUENCE. */
function fieldsOf(sequence: Der | undefined): FieldsOf {
  const parts = children(sequence)
  return (number) => children(parts.find(({ tag }) => tag === (0xa0 | number)))[0]
}

const READERS: Partial<Record<KerberosKind, (field: FieldsOf) => Partial<KerberosMessage>>> = {
  'AS-REQ': request,
  'TGS-REQ': request,
  'AS-REP': reply,
  'TGS-REP': reply,
  'AP-REQ': ticketOnly,
  ERROR: error,
}

function request(field: FieldsOf): Partial<KerberosMessage> {
  const body = fieldsOf(field(4))
  return {
    options: flags(body(0)),
    clientName: nameOf(body(1)),
    clientRealm: stringOf(body(2)),
    serviceName: nameOf(body(3)),
    from: derTime(body(4)),
    till: derTime(body(5)),
  }
}

function reply(field: FieldsOf): Partial<KerberosMessage> {
  const ticket = fieldsOf(children(field(5))[0])
  return {
    clientRealm: stringOf(field(3)),
    clientName: nameOf(field(4)),
    serviceName: nameOf(ticket(2)),
    ticketCipher: derNumber(fieldsOf(ticket(3))(0)),
  }
}

/** An AP-REQ names its client only inside what is encrypted; the ticket tells the service and the realm. */
function ticketOnly(field: FieldsOf): Partial<KerberosMessage> {
  const ticket = fieldsOf(children(field(3))[0])
  return {
    clientRealm: stringOf(ticket(1)),
    serviceName: nameOf(ticket(2)),
    ticketCipher: derNumber(fieldsOf(ticket(3))(0)),
  }
}

function error(field: FieldsOf): Partial<KerberosMessage> {
  return {
    errorCode: derNumber(field(6)),
    clientRealm: stringOf(field(7)),
    clientName: nameOf(field(8)),
    serviceName: nameOf(field(10)),
    errorText: stringOf(field(11)),
  }
}

/** PrincipalName: name-type [0], name-string [1] SEQUENCE OF. */
function nameOf(element: Der | undefined): string | undefined {
  if (element === undefined) return undefined
  const parts = children(fieldsOf(element)(1)).slice(0, MAX_NAME_PARTS)
  return parts.map((part) => textOf(content(part))).join('/')
}

const stringOf = (element: Der | undefined) => (element === undefined ? undefined : textOf(content(element)))

/** BIT STRING of 32 bits; its first byte says how many of the last are unused. */
function flags(element: Der | undefined): number | undefined {
  return element === undefined || element.to - element.from < 5
    ? undefined
    : element.bytes.readUInt32BE(element.from + 1)
}
