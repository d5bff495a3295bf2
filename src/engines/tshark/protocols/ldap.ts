/**
 * LDAP (RFC 4511) over TCP and UDP: one ldap record an operation, one ldap_search record a search, written with
 * the result, or at the flow's end where none came. What authenticates a bind goes to GSS-API and NTLM, what
 * follows StartTLS to TLS. Behind a SASL bind, messages that are only signed are read too.
 */

import { createBoundedMap } from './bounded-map.ts'
import { createFramedReader } from './framed.ts'
import { authenticationOf } from './gssapi.ts'
import {
  BIND_REQUEST,
  EXTENDED_RESPONSE,
  INTERMEDIATE_RESPONSE,
  type LdapBind,
  type LdapMessage,
  parseLdap,
  SEARCH_DONE,
  SEARCH_ENTRY,
  SEARCH_REFERENCE,
  SEARCH_REQUEST,
  UNBIND_REQUEST,
} from './ldap-message.ts'
import { DEREF_ALIASES, EXTENDED_NAMES, OPERATION_NAMES, RESULT_NAMES, SCOPES, START_TLS } from './ldap-names.ts'
import { unwrapSasl } from './ldap-sasl.ts'
import type { Dissector, Fields, Protocol, Session } from './protocol.ts'

const SEQUENCE = 0x30
const INTEGER = 2
const MAX_PENDING = 1000
const MAX_PENDING_TEXT = 1 << 20
const MAX_SASL_BYTES = 1 << 20
const LOGS = ['ldap', 'ldap_search', 'ntlm', 'kerberos']

export const ldapTcp: Protocol = {
  name: 'ldap_tcp',
  logs: LOGS,
  tcpPorts: [389, 3268],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const [asked, answered] = [operationOf(originator), operationOf(responder)]
    if (asked === false || answered === false) return false
    if (asked === undefined || answered === undefined) return undefined
    return (asked === 0x60 || asked === 0x63) && (answered === 0x61 || answered === 0x64 || answered === 0x65)
  },
  dissect: overTcp,
}

export const ldapUdp: Protocol = {
  name: 'ldap_udp',
  logs: LOGS,
  udpPorts: [389],
  dissect: overUdp,
}

/** The tag of the first message's operation; undefined: more is needed, false: this is no LDAP. */
function operationOf(bytes: Buffer): number | false | undefined {
  if (bytes.length < 2) return bytes.length === 0 || bytes[0] === SEQUENCE ? undefined : false
  const header = bytes[0] === SEQUENCE ? berHeader(bytes) : undefined
  const idBytes = header === undefined ? undefined : bytes[header + 1]
  if (header === undefined) return false
  if (idBytes === undefined) return undefined
  if (bytes[header] !== INTEGER || idBytes < 1 || idBytes > 4) return false
  return bytes[header + 2 + idBytes]
}

interface Operation {
  log: 'ldap' | 'ldap_search'
  ts: number
  fields: Fields
  bind?: LdapBind
  requestName?: string
  entries: number
}

interface Ldap {
  message(message: LdapMessage, fromOriginator: boolean, ts: number): void
  /** Set once a bind has put a SASL layer under what follows. */
  sasl(): boolean
  /** Set once StartTLS was granted. */
  tls(): Dissector | undefined
  end(): void
}

function createLdap(session: Session, service: string): Ldap {
  const pending = createBoundedMap<number, Operation>({
    maxCount: MAX_PENDING,
    maxWeight: MAX_PENDING_TEXT,
    weigh: ({ fields }) => String(fields.filter ?? fields.object ?? '').length,
    onEvict: (id, operation) => write(id, operation),
  })
  let sasl = false
  let tls: Dissector | undefined

  function write(id: number, operation: Operation): void {
    pending.delete(id)
    session.emit(operation.log, operation.ts, { message_id: id, ...operation.fields })
  }

  function open(id: number, operation: Omit<Operation, 'entries'>): Operation {
    const before = pending.get(id)
    if (before !== undefined) write(id, before)
    const fresh = { ...operation, entries: 0 }
    pending.set(id, fresh)
    return fresh
  }

  function request(message: LdapMessage, ts: number): void {
    const { id, operation, bind, search, requestName } = message
    if (operation === BIND_REQUEST && bind !== undefined) {
      open(id, { log: 'ldap', ts, fields: bindFields(bind), bind })
      if (bind.credentials !== undefined && isGssapi(bind)) authenticationOf(session, true).token(bind.credentials, ts)
    } else if (operation === SEARCH_REQUEST && search !== undefined) {
      const fields = {
        scope: SCOPES[search.scope] ?? 'unknown',
        deref_aliases: DEREF_ALIASES[search.derefAliases] ?? 'unknown',
        base_object: search.base === '' ? undefined : search.base,
        result_count: 0,
        result: undefined,
        diagnostic_message: undefined,
        filter: search.filter === '' ? undefined : search.filter,
      }
      open(id, { log: 'ldap_search', ts, fields })
    } else if (OPERATION_NAMES[operation] !== undefined) {
      const name = requestName === undefined ? undefined : extendedText(requestName)
      const fields = plainFields(operation, name)
      const fresh = open(id, { log: 'ldap', ts, fields, requestName })
      // Nothing answers an unbind.
      if (operation === UNBIND_REQUEST) write(id, fresh)
    }
  }

  function response(message: LdapMessage, ts: number): void {
    const { id, operation, result } = message
    const isSearch = operation === SEARCH_ENTRY || operation === SEARCH_DONE
    if (operation === INTERMEDIATE_RESPONSE || operation === SEARCH_REFERENCE) return
    const asked = pending.get(id) ?? unasked(id, isSearch, operation, ts)
    if (operation === SEARCH_ENTRY) asked.entries++
    if (result === undefined) return
    if (asked.log === 'ldap_search') asked.fields.result_count = asked.entries
    asked.fields.result = RESULT_NAMES[result.code] ?? 'unknown'
    asked.fields.diagnostic_message = result.diagnostic === '' ? undefined : result.diagnostic
    if (asked.bind?.kind === 'sasl') {
      if (result.credentials !== undefined && isGssapi(asked.bind))
        authenticationOf(session, true).token(result.credentials, ts)
      if (result.code === 0) sasl = true
    }
    if (operation === EXTENDED_RESPONSE && result.code === 0 && asked.requestName === START_TLS)
      tls = session.handOver('ssl', ts)
    write(id, asked)
  }

  function unasked(id: number, isSearch: boolean, operation: number, ts: number): Operation {
    const fields = isSearch ? { result_count: 0 } : plainFields(operation)
    return open(id, { log: isSearch ? 'ldap_search' : 'ldap', ts, fields })
  }

  return {
    message(message, fromOriginator, ts) {
      if (fromOriginator) request(message, ts)
      else response(message, ts)
      // After what the message carries: that is confirmed first.
      session.confirm(service)
    },
    sasl: () => sasl,
    tls: () => tls,
    end() {
      for (const [id, operation] of pending.entries()) {
        if (operation.log === 'ldap_search') operation.fields.result_count = operation.entries
        write(id, operation)
      }
      authenticationOf(session, true).end()
    },
  }
}

/** Other mechanisms (SCRAM, DIGEST-MD5, …) have texts where these have tokens. */
const isGssapi = ({ kind, mechanism }: LdapBind) =>
  kind !== 'simple' && (mechanism === undefined || /^(GSS|NTLM)/i.test(mechanism))

const BIND_NAMES: Record<LdapBind['kind'], string> = {
  simple: 'bind simple',
  sasl: 'bind SASL',
  'sicily discovery': 'bind',
  'sicily negotiate': 'sicily_negotiate',
  'sicily response': 'sicily_response',
}

function bindFields({ version, name, kind, mechanism }: LdapBind): Fields {
  return {
    version,
    opcode: BIND_NAMES[kind],
    result: undefined,
    diagnostic_message: undefined,
    object: name === '' ? undefined : name,
    argument:
      kind === 'simple'
        ? 'REDACTED'
        : kind === 'sasl'
          ? mechanism
          : kind === 'sicily discovery'
            ? undefined
            : 'NTLMSSP',
  }
}

const plainFields = (operation: number, object?: string): Fields => ({
  opcode: OPERATION_NAMES[operation] ?? 'bind',
  result: undefined,
  diagnostic_message: undefined,
  object,
})

const extendedText = (name: string) => `${name} (${EXTENDED_NAMES[name] ?? 'unknown'})`

function overTcp(session: Session): Dissector {
  const ldap = createLdap(session, 'ldap_tcp')

  function element(bytes: Buffer, fromOriginator: boolean, ts: number): void {
    const message = parseLdap(bytes)
    if (message !== undefined) ldap.message(message, fromOriginator, ts)
  }

  /** A SASL buffer (RFC 4422, 3.7): messages one behind the other, where they are not encrypted. */
  function wrapped(body: Buffer, fromOriginator: boolean, ts: number): void {
    let rest = unwrapSasl(body)
    while (rest.length > 0) {
      const header = berHeader(rest)
      const length = header === undefined ? undefined : header + berLength(rest, header)
      if (length === undefined || length > rest.length) return
      element(rest.subarray(0, length), fromOriginator, ts)
      rest = rest.subarray(length)
    }
  }

  const reader = (fromOriginator: boolean) =>
    createFramedReader({
      headerBytes(begun) {
        if (begun.length === 0) return 2
        return begun[0] === SEQUENCE ? (begun.length < 2 ? 2 : (berHeader(begun) ?? 2)) : 4
      },
      bodyLength(header) {
        if (header[0] !== SEQUENCE) {
          const length = ldap.sasl() ? header.readUInt32BE(0) : MAX_SASL_BYTES
          return length < MAX_SASL_BYTES ? length : undefined
        }
        return berHeader(header) === undefined ? undefined : berLength(header, header.length)
      },
      onFrame({ header, length, body }, ts) {
        if (body.length < length) return undefined
        if (header[0] === SEQUENCE) element(Buffer.concat([header, body]), fromOriginator, ts)
        else wrapped(body, fromOriginator, ts)
        return ldap.tls() === undefined
      },
    })
  const sides = [reader(true), reader(false)] as const

  return {
    data(fromOriginator, bytes, ts) {
      const tls = ldap.tls()
      if (tls !== undefined) tls.data(fromOriginator, bytes, ts)
      else sides[fromOriginator ? 0 : 1].data(bytes, ts)
    },
    gap(fromOriginator, length, ts) {
      const tls = ldap.tls()
      if (tls !== undefined) tls.gap?.(fromOriginator, length, ts)
      else sides[fromOriginator ? 0 : 1].lost(length)
    },
    finished: (fromOriginator, ts) => ldap.tls()?.finished?.(fromOriginator, ts),
    end(ts) {
      ldap.tls()?.end?.(ts)
      ldap.end()
    },
  }
}

/** Bytes of the header of the BER element that begins here; undefined: none that is understood. */
function berHeader(bytes: Buffer): number | undefined {
  const first = bytes[1] ?? 0x80
  if (first < 0x80) return 2
  return first > 0x80 && first <= 0x84 ? 2 + (first & 0x7f) : undefined
}

function berLength(bytes: Buffer, header: number): number {
  return header === 2
    ? (bytes[1] as number)
    : bytes.length < header
      ? Number.POSITIVE_INFINITY
      : bytes.readUIntBE(2, header - 2)
}

function overUdp(session: Session): Dissector {
  const ldap = createLdap(session, 'ldap_udp')
  return {
    data(fromOriginator, bytes, ts) {
      let rest = bytes
      while (rest.length > 2 && rest[0] === SEQUENCE) {
        const header = berHeader(rest)
        const length = header === undefined ? Number.POSITIVE_INFINITY : header + berLength(rest, header)
        if (length > rest.length) return
        const message = parseLdap(rest.subarray(0, length))
        if (message !== undefined) ldap.message(message, fromOriginator, ts)
        rest = rest.subarray(length)
      }
    },
    end: ldap.end,
  }
}
