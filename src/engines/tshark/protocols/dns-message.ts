/**
 * DNS messages from their bytes (RFC 1035; answers as Zeek words them).
 *
 * In: one message without the TCP length prefix. Out: header, questions, the answer section's records as text.
 * Hostile input: parsing stops at the first thing that is wrong, what came before it stays.
 */

import { hex, ipv4Text, ipv6Text, textOf } from './text.ts'

export interface DnsMessage {
  id: number
  isResponse: boolean
  opcode: number
  rcode: number
  aa: boolean
  tc: boolean
  rd: boolean
  ra: boolean
  /** The three bits between RA and RCODE. */
  z: number
  counts: { questions: number; answers: number; authorities: number; additionals: number }
  questions: DnsQuestion[]
  answers: DnsAnswer[]
  /** What was wrong, in Zeek's words. */
  weirds: string[]
  /** Types of answers that Zeek does not know. */
  unknownTypes: number[]
  /** Read to its end. */
  whole: boolean
}

interface DnsQuestion {
  name: string
  type: number
  class: number
}

interface DnsAnswer {
  name: string
  type: number
  class: number
  ttl: number
  /** undefined: Zeek logs nothing for this type. */
  text: string | undefined
}

const MAX_NAME_BYTES = 255
const MAX_POINTERS = 64
const ROOT = '<Root>'
/** Zeek's `dns_max_queries`: what asks for more is no DNS. */
const MAX_QUESTIONS = 25
const UPDATE = 5
const A = 1
const OPT = 41
/** Read, but not logged: HINFO, NB, OPT, TKEY, TSIG, CAA; WKS counts as an answer without text. */
const SILENT = new Set([11, 13, 32, OPT, 249, 250, 257])

interface Name {
  text: string
  /** Where the bytes after it begin. */
  next: number
}

/** undefined: shorter than a header. */
export function parseDns(bytes: Buffer): DnsMessage | undefined {
  if (bytes.length < 12) return undefined
  const flags = bytes.readUInt16BE(2)
  const message: DnsMessage = {
    id: bytes.readUInt16BE(0),
    isResponse: (flags & 0x8000) !== 0,
    opcode: (flags >> 11) & 0xf,
    rcode: flags & 0xf,
    aa: (flags & 0x0400) !== 0,
    tc: (flags & 0x0200) !== 0,
    rd: (flags & 0x0100) !== 0,
    ra: (flags & 0x0080) !== 0,
    z: (flags >> 4) & 7,
    counts: {
      questions: bytes.readUInt16BE(4),
      answers: bytes.readUInt16BE(6),
      authorities: bytes.readUInt16BE(8),
      additionals: bytes.readUInt16BE(10),
    },
    questions: [],
    answers: [],
    weirds: [],
    unknownTypes: [],
    whole: false,
  }
  if (message.counts.questions > MAX_QUESTIONS) {
    message.weirds.push('DNS_Conn_count_too_large')
    return message
  }
  const at = parseQuestions(bytes, message)
  if (at !== undefined) parseAnswers(bytes, at, message)
  return message
}

function parseQuestions(bytes: Buffer, message: DnsMessage): number | undefined {
  let at = 12
  for (let i = 0; i < message.counts.questions; i++) {
    const name = readName(bytes, at, message.weirds)
    if (name === undefined) return undefined
    if (name.next + 4 > bytes.length) {
      message.weirds.push('DNS_truncated_quest_too_short')
      return undefined
    }
    message.questions.push({
      name: name.text,
      type: bytes.readUInt16BE(name.next),
      class: bytes.readUInt16BE(name.next + 2),
    })
    at = name.next + 4
  }
  return at
}

/** An update's prerequisites and updates stand where a response has answers and authorities (RFC 2136). */
function parseAnswers(bytes: Buffer, start: number, message: DnsMessage): void {
  const isUpdate = message.opcode === UPDATE
  const { answers, authorities } = message.counts
  let at = start
  // What stands behind is not logged, and so not read: where it is damaged, the message counts as whole all the same.
  for (let i = 0; i < (isUpdate ? answers + authorities : answers); i++) {
    const owner = readName(bytes, at, message.weirds)
    if (owner === undefined) {
      if (at >= bytes.length || message.weirds.length === 0) message.weirds.push('DNS_truncated_ans_too_short')
      return
    }
    const fixed = owner.next
    if (fixed + 10 > bytes.length) {
      message.weirds.push('DNS_truncated_ans_too_short')
      return
    }
    const [type, cls] = [bytes.readUInt16BE(fixed), bytes.readUInt16BE(fixed + 2)]
    const data = fixed + 10
    const end = data + bytes.readUInt16BE(fixed + 8)
    if (end > bytes.length) return
    const ttl = bytes.readUInt32BE(fixed + 4)
    const isAnswer = i < answers
    if (end === data && end < bytes.length && type !== OPT && !isUpdate) {
      message.weirds.push('DNS_zero_rdlength')
      return
    }
    if (type === A && end - data !== 4 && !isUpdate) {
      message.weirds.push('DNS_RR_bad_length')
      return
    }
    if (isAnswer || (isUpdate && i < answers + authorities)) {
      if (!isUpdate && !SILENT.has(type) && RECORDS[type] === undefined) message.unknownTypes.push(type)
      const plain = end > data ? recordText(bytes, data, end, type, message.weirds, owner.text) : undefined
      const text = isUpdate ? updateText(isAnswer, owner.text, type, cls, plain) : plain
      message.answers.push({ name: owner.text, type, class: cls, ttl, text })
    }
    at = end
  }
  message.whole = true
}

const UPDATE_TYPES: Record<number, string> = {
  1: 'A',
  2: 'NS',
  5: 'CNAME',
  6: 'SOA',
  12: 'PTR',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  33: 'SRV',
}
const CLASS_NONE = 254
const CLASS_ANY = 255
const TYPE_ANY = 255

/** RFC 2136, 2.4 (prerequisites) and 2.5 (updates): the class says what is asked. */
function updateText(isPrerequisite: boolean, name: string, type: number, cls: number, data?: string): string {
  const typeText = UPDATE_TYPES[type] ?? `query-${type}`
  const rest = data === undefined ? '' : ` ${data}`
  if (isPrerequisite) {
    if (cls === CLASS_ANY) return type === TYPE_ANY ? `pre: Name ${name}` : `pre: RRSet ${typeText} ${name}`
    if (cls === CLASS_NONE) return type === TYPE_ANY ? `pre: NoName ${name}` : `pre: NoRRSet ${typeText} ${name}`
    return `pre: RRSet ${typeText} ${name}${rest}`
  }
  if (cls === CLASS_ANY) return type === TYPE_ANY ? `del: Name ${name}` : `del: RRSet ${typeText}`
  if (cls === CLASS_NONE) return `del: ${typeText} ${name}${rest}`
  return `add: ${typeText} ${name}${rest}`
}

type RecordText = (bytes: Buffer, at: number, end: number, weirds: string[], owner: string) => string | undefined

const nameAt =
  (skip: number): RecordText =>
  (bytes, at, end, weirds) =>
    at + skip < end ? readName(bytes, at + skip, weirds)?.text : undefined

/** Nothing but a name. */
function nameAlone(bytes: Buffer, at: number, end: number, weirds: string[]): string | undefined {
  const name = readName(bytes, at, weirds)
  if (name?.next !== end) weirds.push('DNS_RR_bad_length')
  return name?.text
}

/** Resource record type → its text. */
const RECORDS: Record<number, RecordText> = {
  1: (bytes, at, end) => (end - at >= 4 ? ipv4Text(bytes, at) : undefined),
  28: (bytes, at, end) => (end - at >= 16 ? ipv6Text(bytes, at) : undefined),
  38: (bytes, at, end) => (end - at >= 16 ? ipv6Text(bytes, at) : undefined),
  2: nameAlone,
  5: nameAlone,
  6: nameAt(0),
  11: (bytes, at, end, weirds) => void nameAlone(bytes, at, end, weirds),
  12: nameAlone,
  15: nameAt(2),
  33: nameAt(6),
  16: (bytes, at, end) => strings('TXT', bytes, at, end),
  99: (bytes, at, end) => strings('SPF', bytes, at, end),
  29: (bytes, at, end) =>
    end - at >= 4 && bytes[at] === 0 ? `LOC:  ${bytes[at + 1]} ${bytes[at + 2]} ${bytes[at + 3]}` : undefined,
  35: naptr,
  43: (bytes, at, end) => (end - at >= 4 ? `DS ${bytes[at + 2]} ${bytes[at + 3]}` : undefined),
  44: (bytes, at, end) => (end - at > 2 ? `SSHFP: ${hex(bytes.subarray(at + 2, end))}` : undefined),
  46: rrsig,
  47: nsec,
  48: (bytes, at, end) => (end - at >= 4 ? `DNSKEY ${bytes[at + 3]}` : undefined),
  50: () => 'NSEC3',
  51: () => 'NSEC3PARAM',
  64: serviceBinding,
  65: serviceBinding,
  65534: () => 'BIND9 signing signal',
}

function recordText(
  bytes: Buffer,
  at: number,
  end: number,
  type: number,
  weirds: string[],
  owner: string,
): string | undefined {
  const known = RECORDS[type]
  if (known !== undefined) return known(bytes, at, end, weirds, owner)
  return SILENT.has(type) ? undefined : `<unknown type=${type}>`
}

function strings(label: string, bytes: Buffer, start: number, end: number): string | undefined {
  const parts: string[] = []
  for (let at = start; at < end; ) {
    const length = bytes[at] ?? 0
    if (at + 1 + length > end) break
    parts.push(`${label} ${length} ${textOf(bytes.subarray(at + 1, at + 1 + length))}`)
    at += 1 + length
  }
  return parts.length > 0 ? parts.join(' ') : undefined
}

function naptr(bytes: Buffer, start: number, end: number, weirds: string[]): string | undefined {
  if (end - start < 7) return undefined
  const parts: string[] = []
  let at = start + 4
  for (let i = 0; i < 3; i++) {
    const length = bytes[at] ?? 0
    if (at + 1 + length >= end) return undefined
    if (length > 0) parts.push(textOf(bytes.subarray(at + 1, at + 1 + length)))
    at += 1 + length
  }
  const replacement = readName(bytes, at, weirds)?.text
  if (replacement === undefined) return undefined
  if (replacement !== '') parts.push(replacement)
  return ['NAPTR', bytes.readUInt16BE(start), bytes.readUInt16BE(start + 2), ...parts].join(' ')
}

function rrsig(bytes: Buffer, at: number, end: number, weirds: string[]): string | undefined {
  if (end - at < 19) return undefined
  const signer = readName(bytes, at + 18, weirds)
  return signer && `RRSIG ${bytes.readUInt16BE(at)} ${signer.text === '' ? ROOT : signer.text}`
}

const ALPN = 1
const PORT = 3

/** SVCB and HTTPS (RFC 9460, 2.2) are not logged; parameters that are malformed are told. */
function serviceBinding(bytes: Buffer, start: number, end: number, weirds: string[]): undefined {
  const target = start + 2 < end ? readName(bytes, start + 2, weirds) : undefined
  for (let at = target?.next ?? end; at + 4 <= end; ) {
    const [key, length] = [bytes.readUInt16BE(at), bytes.readUInt16BE(at + 2)]
    const value = bytes.subarray(at + 4, Math.min(end, at + 4 + length))
    at += 4 + length
    if (key === ALPN && !isListOfStrings(value)) weirds.push('DNS_SVCB_alpn_length_invalid')
    if (key === PORT && length !== 2) weirds.push('DNS_SVCB_port_length_invalid')
  }
}

/** Each with a byte of length in front, and nothing behind the last. */
function isListOfStrings(value: Buffer): boolean {
  let at = 0
  while (at < value.length) at += 1 + (value[at] as number)
  return at === value.length
}

function nsec(bytes: Buffer, at: number, _end: number, weirds: string[], owner: string): string | undefined {
  const next = readName(bytes, at, weirds)
  return next && `NSEC ${owner} ${next.text}`
}

/** Reads a name with compression pointers (RFC 1035, 4.1.4); they may only lead backwards. Lower case. */
function readName(bytes: Buffer, start: number, weirds: string[]): Name | undefined {
  const labels: string[] = []
  let total = 0
  let next: number | undefined
  let at = start
  for (let pointers = 0; ; ) {
    const length = bytes[at]
    if (length === undefined) {
      return undefined
    }
    if (length === 0) {
      next ??= at + 1
      break
    }
    if ((length & 0xc0) === 0xc0) {
      if (at + 2 > bytes.length) {
        return undefined
      }
      const target = bytes.readUInt16BE(at) & 0x3fff
      next ??= at + 2
      if (target >= at) {
        weirds.push('DNS_label_forward_compress_offset')
        return undefined
      }
      if (++pointers > MAX_POINTERS) return undefined
      at = target
      continue
    }
    if (length > 63) {
      weirds.push('DNS_label_too_long')
      return undefined
    }
    if (at + 1 + length > bytes.length) {
      weirds.push('DNS_label_len_gt_pkt')
      return undefined
    }
    total += length + 1
    if (total > MAX_NAME_BYTES) {
      weirds.push('DNS_label_len_gt_name_len')
      return undefined
    }
    labels.push(bytes.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { text: textOf(Buffer.from(lowerAscii(labels.join('.')), 'latin1')), next }
}

/** ASCII letters only: names may hold any byte. */
const lowerAscii = (text: string) => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())

/**
 * NetBIOS name service names are written with two letters a byte (RFC 1001, 14.1). Undefined when it is no such
 * name. The name's 16th byte, its service type, is left out, as are the blanks and NULs that fill it up.
 */
export function netbiosName(encoded: string): string | undefined {
  if (!/^[a-p]{32}/i.test(encoded)) return undefined
  const letters = encoded.slice(0, 32).toUpperCase()
  const bytes = Buffer.alloc(15)
  for (let i = 0; i < 15; i++) bytes[i] = ((letters.charCodeAt(2 * i) - 65) << 4) | (letters.charCodeAt(2 * i + 1) - 65)
  const name = bytes.toString('latin1').replace(/[ \0]+$/, '')
  return textOf(Buffer.from(name, 'latin1'))
}
