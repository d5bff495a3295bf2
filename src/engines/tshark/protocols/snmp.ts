/**
 * SNMP v1, v2c and v3 (RFC 1157, 3416, 3412): one snmp record a flow, with the number of variable bindings by
 * kind of request. What v3 encrypts counts for nothing but the time.
 */

import { children, content, type Der, derAt, derNumber, oidText } from './der.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'
import { textOf } from './text.ts'

const VERSIONS: Record<number, string> = { 0: '1', 1: '2c', 3: '3' }
const SEQUENCE = 0x30
const OCTET_STRING = 4
const OID = 6
const TIME_TICKS = 0x43
const RESPONSE = 0xa2
const SYS_DESCR = '1.3.6.1.2.1.1.1.0'
const SYS_UP_TIME = '1.3.6.1.2.1.1.3.0'
/** A part of an OID that does not fit 64 bits. */
const MAX_ARC_BYTES = 10

/** PDU tag → the column that counts its bindings; the others (traps, informs, reports) are not counted. */
const COUNTED: Record<number, Counter> = {
  160: 'get_requests',
  161: 'get_requests',
  [RESPONSE]: 'get_responses',
  163: 'set_requests',
  165: 'get_bulk_requests',
}
const TRAP_V1 = 0xa4
const LAST_PDU = 0xa8

type Counter = 'get_requests' | 'get_bulk_requests' | 'get_responses' | 'set_requests'

interface Message {
  version: string
  community?: string
  /** Undefined where it is encrypted. */
  pdu?: Der
}

export const snmp: Protocol = { name: 'snmp', logs: ['snmp'], udpPorts: [161, 162], dissect: createSnmp }

function createSnmp(session: Session): Dissector {
  const counts = { get_requests: 0, get_bulk_requests: 0, get_responses: 0, set_requests: 0 }
  const seen = { originator: false, responder: false }
  let [first, last]: (number | undefined)[] = []
  let [version, community, description]: (string | undefined)[] = []
  let upSince: number | undefined

  function takePdu(pdu: Der, ts: number): void {
    const bindings = children(children(pdu)[pdu.tag === TRAP_V1 ? 5 : 3])
    const counter = COUNTED[pdu.tag]
    if (counter !== undefined) counts[counter] += bindings.length
    for (const binding of bindings) {
      const [name, value] = children(binding)
      const tooLong = longestArc(name)
      if (tooLong > MAX_ARC_BYTES) session.weird(ts, 'asn_oid_subidentifier_too_long', undefined, String(tooLong))
      if (pdu.tag === RESPONSE && value !== undefined) takeValue(oidText(name), value, ts)
    }
  }

  function takeValue(name: string, value: Der, ts: number): void {
    if (name === SYS_DESCR && value.tag === OCTET_STRING) description = textOf(content(value))
    const ticks = name === SYS_UP_TIME && value.tag === TIME_TICKS ? derNumber(value) : undefined
    if (ticks !== undefined) upSince = ts - ticks / 100
  }

  return {
    data(fromOriginator, bytes, ts) {
      const message = readMessage(bytes)
      if (message === undefined) return
      seen[fromOriginator ? 'originator' : 'responder'] = true
      if (seen.originator && seen.responder) session.confirm('snmp')
      first ??= ts
      last = ts
      version ??= message.version
      community ??= message.community
      if (message.pdu !== undefined) takePdu(message.pdu, ts)
    },
    end() {
      if (first === undefined || last === undefined) return
      const { get_requests, get_bulk_requests, get_responses, set_requests } = counts
      session.emit('snmp', first, {
        duration: last - first,
        version,
        community,
        get_requests,
        get_bulk_requests,
        get_responses,
        set_requests,
        display_string: description,
        up_since: upSince,
      })
    },
  }
}

function readMessage(bytes: Buffer): Message | undefined {
  const whole = derAt(bytes)
  if (whole?.tag !== SEQUENCE) return undefined
  const [number, second, parameters, scoped] = children(whole)
  if (number?.tag !== 2 || second === undefined || parameters === undefined) return undefined
  const version = VERSIONS[derNumber(number) ?? -1]
  if (version === undefined) return undefined
  if (version !== '3') {
    if (second.tag !== OCTET_STRING || !isPdu(parameters)) return undefined
    return { version, community: textOf(content(second)), pdu: parameters }
  }
  // RFC 3412, 6: header data, security parameters, then the scoped PDU: plain, or an OCTET STRING of ciphertext.
  if (second.tag !== SEQUENCE || parameters.tag !== OCTET_STRING || scoped === undefined) return undefined
  const pdu = scoped.tag === SEQUENCE ? children(scoped)[2] : undefined
  return { version, pdu: pdu !== undefined && isPdu(pdu) ? pdu : undefined }
}

const isPdu = ({ tag }: Der) => tag >= 0xa0 && tag <= LAST_PDU

function longestArc(name: Der | undefined): number {
  if (name?.tag !== OID) return 0
  let [longest, length] = [0, 0]
  for (const byte of content(name)) {
    longest = Math.max(longest, ++length)
    if ((byte & 0x80) === 0) length = 0
  }
  return longest
}
