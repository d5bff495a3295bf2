/**
 * The watch lists as a question: does this value mean somebody?
 *
 * In: the lists as they are now. Out: for a kind of value (an address, a MAC, a name, a hash) the rules that it meets,
 * each with the words that explain it. Addresses are also met by networks, names also by the domains above them.
 */

import { isIn, type Network, parseAddress, parseNetwork } from '../../stages/upload/rules/address.ts'
import type { ComputerRow, IndicatorKind, IndicatorRow, LeaseRow } from '../../state/watch-lists.ts'

export type ValueKind = 'ip' | 'mac' | 'name' | 'hash' | 'ja3' | 'ja4'

export interface WatchRule {
  employee: string | null
  list: string
  /** `mac e0:a1:d7:18:c2:72`, `domain evil.example`. */
  label: string
  /** Milliseconds since the epoch; `from` ≤ time < `to`. */
  from: number | null
  to: number | null
}

export interface Matcher {
  readonly isEmpty: boolean
  /** MAC addresses of watched employees. */
  readonly macs: readonly string[]
  /** Whether any rule is about such values. */
  has(kind: ValueKind): boolean
  /** All values of a kind, where each is a value as it stands; undefined where networks or domains are among them. */
  exact(kind: ValueKind): readonly string[] | undefined
  match(kind: ValueKind, value: string): readonly WatchRule[]
}

export interface WatchData {
  employees: readonly { key: string; watched: boolean }[]
  computers: readonly ComputerRow[]
  indicators: readonly IndicatorRow[]
  leases: readonly LeaseRow[]
}

/** What employees' computers are found under, beside the lists of indicators. */
export const EMPLOYEES_LIST = 'employees'

const KINDS: Record<Exclude<IndicatorKind, 'cidr' | 'domain'>, ValueKind> = {
  ip: 'ip',
  mac: 'mac',
  hash: 'hash',
  ja3: 'ja3',
  ja4: 'ja4',
}

export function createMatcher({ employees, computers, indicators, leases }: WatchData): Matcher {
  const exact = new Map<ValueKind, Map<string, WatchRule[]>>()
  const networks: { network: Network; rule: WatchRule }[] = []
  const domains = new Map<string, WatchRule[]>()
  const watched = new Set(employees.filter((employee) => employee.watched).map(({ key }) => key))

  const add = (kind: ValueKind, value: string, rule: WatchRule) => {
    const values = exact.get(kind) ?? new Map<string, WatchRule[]>()
    exact.set(kind, values)
    push(values, value.toLowerCase(), rule)
  }
  for (const { employee, mac, ip, hostname, validFrom, validTo } of computers) {
    if (!watched.has(employee)) continue
    const rule = (label: string): WatchRule => ({ employee, list: EMPLOYEES_LIST, label, from: validFrom, to: validTo })
    if (mac !== null) add('mac', mac, rule(`mac ${mac}`))
    if (ip !== null) add('ip', ip, rule(`ip ${ip}`))
    if (hostname !== null) add('name', hostname, rule(`host name ${hostname}`))
  }
  const rulesOfMac = exact.get('mac') ?? new Map<string, WatchRule[]>()
  for (const { ip, mac, validFrom, validTo } of leases) {
    for (const rule of rulesOfMac.get(mac) ?? []) {
      if (rule.employee === null) continue
      const from = Math.max(validFrom, rule.from ?? validFrom)
      const to = Math.min(validTo, rule.to ?? validTo)
      if (from < to) add('ip', ip, { ...rule, label: `lease of ${ip} to mac ${mac}`, from, to })
    }
  }
  for (const { list, kind, value } of indicators) {
    const rule: WatchRule = { employee: null, list, label: `${kind} ${value}`, from: null, to: null }
    if (kind === 'cidr') networks.push({ network: parseNetwork(value), rule })
    else if (kind === 'domain') push(domains, value.toLowerCase(), rule)
    else add(KINDS[kind], value, rule)
  }
  const macs = [...rulesOfMac]
    .filter(([, rules]) => rules.some(({ employee }) => employee !== null))
    .map(([mac]) => mac)

  const isOpen = (kind: ValueKind) => (kind === 'ip' && networks.length > 0) || (kind === 'name' && domains.size > 0)
  return {
    isEmpty: exact.size === 0 && networks.length === 0 && domains.size === 0,
    macs,
    has: (kind) => exact.has(kind) || isOpen(kind),
    exact: (kind) => (isOpen(kind) ? undefined : [...(exact.get(kind)?.keys() ?? [])]),
    match(kind, value) {
      const lower = value.toLowerCase()
      const found = exact.get(kind)?.get(lower) ?? NONE
      if (kind === 'ip' && networks.length > 0) return [...found, ...inNetworks(lower)]
      if (kind === 'name' && domains.size > 0) return [...found, ...underDomains(lower)]
      return found
    },
  }

  function inNetworks(text: string): WatchRule[] {
    const address = parseAddress(text)
    return address === undefined
      ? []
      : networks.filter(({ network }) => isIn(address, [network])).map(({ rule }) => rule)
  }

  function underDomains(name: string): WatchRule[] {
    const found: WatchRule[] = []
    const bare = name.replace(/(:\d+)?\.?$/, '')
    for (let domain = bare; domain !== ''; ) {
      found.push(...(domains.get(domain) ?? []))
      const dot = domain.indexOf('.')
      domain = dot === -1 ? '' : domain.slice(dot + 1)
    }
    return found
  }
}

const NONE: readonly WatchRule[] = []

function push(map: Map<string, WatchRule[]>, key: string, rule: WatchRule): void {
  const rules = map.get(key)
  if (rules) rules.push(rule)
  else map.set(key, [rule])
}

const BY_NAME: readonly [RegExp, ValueKind][] = [
  [/(^|_)l2_addr$|(^|_)mac(_addr)?$|^eth_(src|dst)$/, 'mac'],
  [/^(query|host|server_name|host_name|client_fqdn|hostname|src_host|dst_host)$/, 'name'],
  [/^(md5|sha1|sha256|fingerprint)$/, 'hash'],
  [/^ja3s?$/, 'ja3'],
  [/^ja4\w*$/, 'ja4'],
]

/** What a column's values are, by its name and whether it holds addresses. */
export function kindOf(column: string, isAddress: boolean): ValueKind | undefined {
  if (isAddress || column === 'answers') return 'ip'
  return BY_NAME.find(([pattern]) => pattern.test(column))?.[1]
}
