/** Names within names: certificates' distinguished names, mail addresses, Kerberos principals, host names. */

import { parse } from 'tldts'

/** Attribute types of RFC 4514 section 3 and their kin, as ECS names them. */
const ATTRIBUTES: Readonly<Record<string, string>> = {
  CN: 'common_name',
  O: 'organization',
  OU: 'organizational_unit',
  C: 'country',
  L: 'locality',
  ST: 'state_or_province',
  S: 'state_or_province',
  SP: 'state_or_province',
}

const MAX_PARTS = 64

/** RFC 4514: escapes, hex pairs, quoted values, several values in one RDN. Each attribute is a list, in order. */
export function parseDistinguishedName(text: string): Record<string, string | string[]> {
  const name: Record<string, string | string[]> = { distinguished_name: text }
  for (const part of partsOf(text)) {
    const equals = part.indexOf('=')
    const field = ATTRIBUTES[part.slice(0, equals).trim().toUpperCase()]
    if (equals < 1 || field === undefined) continue
    const value = unescaped(part.slice(equals + 1).trim())
    if (value !== '') name[field] = [...(name[field] ?? []), value]
  }
  return name
}

/** Cut at commas, semicolons and plus signs that are neither escaped nor quoted. */
function partsOf(text: string): string[] {
  const parts: string[] = []
  let start = 0
  let quoted = false
  for (let at = 0; at < text.length && parts.length < MAX_PARTS; at++) {
    const c = text[at]
    if (c === '\\') at++
    else if (c === '"') quoted = !quoted
    else if (!quoted && (c === ',' || c === ';' || c === '+')) {
      parts.push(text.slice(start, at))
      start = at + 1
    }
  }
  if (parts.length < MAX_PARTS) parts.push(text.slice(start))
  return parts
}

function unescaped(value: string): string {
  const inner = value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
  if (!inner.includes('\\')) return inner
  const text = inner.replace(/(?:\\[0-9a-f]{2})+|\\(.)/gis, (pairs, single) =>
    single !== undefined ? single : Buffer.from(pairs.replaceAll('\\', ''), 'hex').toString('utf8'),
  )
  return text
}

/** `Ann <ann@example.org>` and `<ann@example.org>` → `ann@example.org`. */
export function mailAddress(text: string): string | undefined {
  const inner = /<([^<>]+)>\s*$/.exec(text)?.[1] ?? text
  const address = inner.trim()
  return address === '' ? undefined : address
}

export interface Principal {
  name: string
  realm?: string
}

/** `user/REALM` as Zeek writes it; a service principal has slashes of its own, so the last one counts. */
export function parsePrincipal(text: string): Principal {
  const slash = text.lastIndexOf('/')
  return slash < 0 ? { name: text } : { name: text.slice(0, slash), realm: text.slice(slash + 1) || undefined }
}

export interface DomainParts {
  registered?: string
  subdomain?: string
  top?: string
}

const KNOWN_LIMIT = 10_000
const known = new Map<string, DomainParts>()

/** By the public-suffix list that the library carries; names repeat, so what was found is kept. */
export function domainParts(name: string): DomainParts {
  const before = known.get(name)
  if (before !== undefined) return before
  const { domain, subdomain, publicSuffix } = parse(name, { allowPrivateDomains: false })
  const parts = { registered: domain || undefined, subdomain: subdomain || undefined, top: publicSuffix || undefined }
  if (known.size >= KNOWN_LIMIT) known.clear()
  known.set(name, parts)
  return parts
}

/** Lower case without the final dot. */
export function hostName(text: string): string | undefined {
  const name = text.endsWith('.') ? text.slice(0, -1) : text
  return name === '' ? undefined : name.toLowerCase()
}

/** Of an HTTP `Host`: without a port. */
export function hostOfHeader(text: string): string | undefined {
  const bracketed = /^\[([^\]]*)\](?::\d*)?$/.exec(text)?.[1]
  return hostName(
    bracketed ?? text.replace(/:\d*$/, (port) => (text.indexOf(':') === text.length - port.length ? '' : port)),
  )
}
