/** Values as people read them. Times are UTC throughout. */

const whole = new Intl.NumberFormat('en-US')
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 })

export function formatCount(n: number): string {
  return whole.format(n)
}

/** `12.3K`: where the whole number has no room. */
export function formatShort(n: number): string {
  return Math.abs(n) < 10_000 ? whole.format(n) : short.format(n)
}

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB']

/** Decimal units, three significant digits. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3))
  const value = bytes / 1000 ** power
  const digits = power === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
  return `${value.toFixed(digits)} ${UNITS[power]}`
}

export function formatSeconds(seconds: number): string {
  if (seconds === 0) return '0 s'
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`
  return `${Math.round(seconds / 86_400)} days`
}

export function formatMs(ms: number): string {
  return formatSeconds(ms / 1000)
}

/** `2026-01-31 12:00:00.123`; what is finer than a millisecond stays in the full text. */
export function formatTime(iso: string | null | undefined, digits = 3): string {
  if (!iso) return '–'
  const match = /^([+-]?\d{4,6}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?/.exec(iso)
  if (!match) return iso
  const fraction = digits === 0 ? '' : `.${(match[3] ?? '').slice(0, digits).padEnd(digits, '0')}`
  return `${match[1]} ${match[2]}${fraction}`
}

/** To the second, and marked as what it is. */
export function formatMoment(iso: string | null | undefined): string {
  return iso ? `${formatTime(iso, 0)} UTC` : '–'
}

export function formatAgo(iso: string, now = Date.now()): string {
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000)
  if (seconds < 5) return 'just now'
  if (seconds < 60) return `${Math.floor(seconds)} s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`
  return `${Math.floor(seconds / 86_400)} d ago`
}

/** A value of a row, whatever its type. */
export function formatValue(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'string') return ISO.test(value) ? formatTime(value, 6).replace(/\.?0+$/, '') : value
  if (Array.isArray(value)) return value.map(formatValue).join(', ')
  if (typeof value === 'object') return JSON.stringify(value)
  return String(value)
}

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/

export function isTimeType(type: string): boolean {
  return /^(TIMESTAMP|DATE)/.test(type)
}

export function isNumberType(type: string): boolean {
  return /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UINTEGER|DOUBLE|FLOAT|DECIMAL|BIGNUM)/.test(type)
}

/** Columns whose numbers are bytes. */
export function isBytesColumn(name: string): boolean {
  return /(^|_)(bytes|body_len|sent|received)$/.test(name)
}

export function shortHash(hash: string): string {
  return hash.slice(0, 12)
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${formatCount(n)} ${n === 1 ? one : many}`
}
