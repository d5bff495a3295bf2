/**
 * GSS-API tokens (RFC 2743, 3.1; SPNEGO: RFC 4178; Kerberos in GSS-API: RFC 4121, 4.1). In: the security
 * blobs of SMB, DCE/RPC and LDAP. They go on to NTLM and Kerberos; it writes no log of its own.
 */

import { children, content, type Der, derAt, derNumber, oidText } from './der.ts'
import { createKerberos, type Kerberos } from './kerberos.ts'
import { createNtlm, isNtlm, type Ntlm } from './ntlm.ts'
import type { Session } from './protocol.ts'

const INITIAL_TOKEN = 0x60
const NEG_TOKEN_INIT = 0xa0
const NEG_TOKEN_RESP = 0xa1
/** AP-REQ, AP-REP and KRB-ERROR without GSS-API's header, as DCE/RPC has them (MS-KILE 3.4.5.1). */
const KERBEROS_TAGS = new Set([0x6e, 0x6f, 0x7e])
const SPNEGO = '1.3.6.1.5.5.2'
/** Kerberos 5, Microsoft's misspelling of it, user-to-user. */
const KERBEROS = new Set(['1.2.840.113554.1.2.2', '1.2.840.48018.1.2.2', '1.2.840.113554.1.2.2.3'])
const ACCEPTED = 0
const REJECTED = 2
const MAX_NESTING = 4

/** What authenticates a flow: one for all the protocols that it carries. */
export interface Authentication {
  /** A security blob: SPNEGO, or Kerberos or NTLM without it. */
  token(bytes: Buffer, ts: number): void
  ntlm(bytes: Buffer, ts: number): void
  kerberos(bytes: Buffer, ts: number): void
  /** Writes what is still open; may be called by each carrier. */
  end(): void
}

const authentications = new WeakMap<Session, Authentication>()

/** In SMB and DCE/RPC, Zeek notes that a Kerberos ticket was shown and no more; in LDAP (`tellsTickets`) also whose. */
export function authenticationOf(session: Session, tellsTickets = false): Authentication {
  let found = authentications.get(session)
  if (found === undefined) {
    found = createAuthentication(session, tellsTickets)
    authentications.set(session, found)
  }
  return found
}

function createAuthentication(session: Session, tellsTickets: boolean): Authentication {
  let ntlm: Ntlm | undefined
  let kerberos: Kerberos | undefined

  function toNtlm(bytes: Buffer, ts: number): void {
    ntlm ??= createNtlm(session)
    ntlm.message(bytes, ts)
  }

  function toKerberos(bytes: Buffer, ts: number): void {
    kerberos ??= createKerberos(session, 'krb', tellsTickets)
    kerberos.message(bytes, ts)
  }

  function token(bytes: Buffer, ts: number, depth = 0): void {
    if (isNtlm(bytes)) {
      toNtlm(bytes, ts)
      return
    }
    const outer = derAt(bytes)
    if (outer === undefined || depth > MAX_NESTING) return
    if (outer.tag === INITIAL_TOKEN) initial(outer, ts, depth)
    else if (outer.tag === NEG_TOKEN_INIT) negTokenInit(outer, ts, depth)
    else if (outer.tag === NEG_TOKEN_RESP) negTokenResp(outer, ts, depth)
    else if (KERBEROS_TAGS.has(outer.tag)) toKerberos(bytes, ts)
  }

  function initial(outer: Der, ts: number, depth: number): void {
    const mechanism = derAt(outer.bytes, outer.from, outer.to)
    if (mechanism === undefined) return
    const oid = oidText(mechanism)
    if (oid === SPNEGO) token(outer.bytes.subarray(mechanism.to, outer.to), ts, depth + 1)
    // Behind the mechanism: two bytes that say which token, then the Kerberos message.
    else if (KERBEROS.has(oid)) toKerberos(outer.bytes.subarray(mechanism.to + 2, outer.to), ts)
  }

  /** mechTypes [0], reqFlags [1], mechToken [2], mechListMIC [3]. */
  function negTokenInit(outer: Der, ts: number, depth: number): void {
    const [sequence] = children(outer)
    if (sequence?.tag !== 0x30) return
    const mechToken = children(children(sequence).find(({ tag }) => tag === 0xa2))[0]
    if (mechToken !== undefined) token(content(mechToken), ts, depth + 1)
    session.confirm('gssapi')
  }

  /** negState [0], supportedMech [1], responseToken [2], mechListMIC [3]. */
  function negTokenResp(outer: Der, ts: number, depth: number): void {
    const [sequence] = children(outer)
    if (sequence?.tag !== 0x30) return
    const parts = children(sequence)
    const responseToken = children(parts.find(({ tag }) => tag === 0xa2))[0]
    if (responseToken !== undefined) token(content(responseToken), ts, depth + 1)
    session.confirm('gssapi')
    const state = derNumber(children(parts.find(({ tag }) => tag === 0xa0))[0])
    if (state === ACCEPTED || state === REJECTED) ntlm?.result(state === ACCEPTED)
  }

  return {
    token: (bytes, ts) => token(bytes, ts),
    ntlm: toNtlm,
    kerberos: toKerberos,
    end() {
      ntlm?.end()
      kerberos?.end()
    },
  }
}
