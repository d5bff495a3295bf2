/**
 * DuckDB's values as text.
 *
 * In: a column's type. Out: how its values read in JSON and as plain text (CSV, table). Numbers keep all their
 * digits in both. Times are UTC, ISO 8601 with `Z` and three, six or nine decimals; BLOBs are hexadecimal; lists
 * and structs are JSON in plain text too; a map is an object, or a list of `{key, value}` when its keys are no texts.
 */

import {
  DuckDBArrayType,
  DuckDBArrayValue,
  DuckDBBlobValue,
  DuckDBGeometryValue,
  DuckDBListType,
  DuckDBListValue,
  DuckDBMapType,
  DuckDBMapValue,
  DuckDBStructType,
  DuckDBStructValue,
  DuckDBTimestampMillisecondsValue,
  DuckDBTimestampNanosecondsValue,
  DuckDBTimestampSecondsValue,
  DuckDBTimestampTZValue,
  DuckDBTimestampValue,
  type DuckDBType,
  DuckDBTypeId,
  DuckDBUnionType,
  DuckDBUnionValue,
  type DuckDBValue,
  DuckDBVariantValue,
} from '@duckdb/node-api'

export interface Codec {
  /** A JSON text on one line; `null` for NULL, NaN and the infinities. */
  json(value: DuckDBValue): string
  /** Not for NULL. */
  text(value: DuckDBValue): string
  /** Shown flush right. */
  numeric: boolean
}

export function codecOf(type: DuckDBType): Codec {
  const codec = nestedCodec(type) ?? scalarCodec(type)
  return { ...codec, json: (value) => (value === null ? 'null' : codec.json(value)) }
}

/** A JSON string that is safe to show: control and direction characters are escaped, as JSON allows for any. */
export function jsonString(text: string): string {
  const json = JSON.stringify(text)
  return TRICKY.test(json) ? json.replace(TRICKY_ALL, escapeUnit) : json
}

const TRICKY = /[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/
const TRICKY_ALL = new RegExp(TRICKY, 'g')

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}

const INTEGERS = new Set<DuckDBTypeId>([
  DuckDBTypeId.TINYINT,
  DuckDBTypeId.SMALLINT,
  DuckDBTypeId.INTEGER,
  DuckDBTypeId.BIGINT,
  DuckDBTypeId.HUGEINT,
  DuckDBTypeId.UTINYINT,
  DuckDBTypeId.USMALLINT,
  DuckDBTypeId.UINTEGER,
  DuckDBTypeId.UBIGINT,
  DuckDBTypeId.UHUGEINT,
  DuckDBTypeId.BIGNUM,
  DuckDBTypeId.DECIMAL,
])

function scalarCodec(type: DuckDBType): Codec {
  if (INTEGERS.has(type.typeId)) return { json: String, text: String, numeric: true }
  if (type.typeId === DuckDBTypeId.BOOLEAN) return { json: String, text: String, numeric: false }
  if (type.typeId === DuckDBTypeId.DOUBLE) return floating(String)
  if (type.typeId === DuckDBTypeId.FLOAT) return floating(shortestFloat)
  if (type.alias === 'JSON') return { json: (value) => embedded(String(value)), text: String, numeric: false }
  if (TIMES.has(type.typeId) || type.typeId === DuckDBTypeId.DATE) return TIME_CODEC
  return { json: (value) => jsonString(textOf(value)), text: textOf, numeric: false }
}

function floating(text: (value: DuckDBValue) => string): Codec {
  return { json: (value) => (Number.isFinite(value) ? text(value) : 'null'), text, numeric: true }
}

/** The fewest digits that name this 32-bit float: 0.1, not 0.10000000149011612. */
function shortestFloat(value: DuckDBValue): string {
  const float = Number(value)
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(float.toPrecision(digits))
    if (Math.fround(short) === float) return String(short)
  }
  return String(float)
}

/** Text that claims to be JSON is checked: a file of someone else's may say so of anything. */
function embedded(text: string): string {
  try {
    JSON.parse(text)
    return text.replace(/[\r\n]+/g, ' ').replace(TRICKY_ALL, escapeUnit)
  } catch {
    return jsonString(text)
  }
}

function textOf(value: DuckDBValue): string {
  if (value instanceof DuckDBBlobValue || value instanceof DuckDBGeometryValue)
    return Buffer.from(value.bytes).toString('hex')
  return String(value)
}

const TIMES = new Set<DuckDBTypeId>([
  DuckDBTypeId.TIMESTAMP,
  DuckDBTypeId.TIMESTAMP_TZ,
  DuckDBTypeId.TIMESTAMP_MS,
  DuckDBTypeId.TIMESTAMP_S,
  DuckDBTypeId.TIMESTAMP_NS,
])

const TIME_CODEC: Codec = {
  json: (value) => {
    const text = timeText(value)
    return text.endsWith('infinity') ? 'null' : `"${text}"`
  },
  text: timeText,
  numeric: false,
}

function timeText(value: DuckDBValue): string {
  if (value instanceof DuckDBTimestampValue || value instanceof DuckDBTimestampTZValue)
    return isoTime(value.micros, 1_000_000n, 6)
  if (value instanceof DuckDBTimestampMillisecondsValue) return isoTime(value.millis, 1000n, 3)
  if (value instanceof DuckDBTimestampSecondsValue) return isoTime(value.seconds, 1n, 0)
  if (value instanceof DuckDBTimestampNanosecondsValue) return isoTime(value.nanos, 1_000_000_000n, 9)
  return String(value)
}

/** DuckDB's infinities: the largest 64-bit integer and its negative, in any unit. */
const INFINITY = 2n ** 63n - 1n
/** JavaScript's dates end in the year 275760; DuckDB's go on for some thousand years, given as seconds then. */
const MAX_SECONDS = 8_640_000_000_000n

function isoTime(count: bigint, perSecond: bigint, digits: number): string {
  const micros = Number(count)
  // Years 1684 to 2255 in microseconds, which is nearly all there is, without big integers.
  if (digits === 6 && Number.isSafeInteger(micros)) {
    const millis = Math.floor(micros / 1000)
    const rest = micros - millis * 1000
    const text = new Date(millis).toISOString()
    return rest === 0 ? text : `${text.slice(0, -1)}${String(rest).padStart(3, '0')}Z`
  }
  if (count === INFINITY || count === -INFINITY) return count > 0n ? 'infinity' : '-infinity'
  let seconds = count / perSecond
  let rest = count % perSecond
  if (rest < 0n) {
    seconds -= 1n
    rest += perSecond
  }
  if (seconds > MAX_SECONDS || seconds < -MAX_SECONDS) return `${seconds}s`
  const decimals = digits === 0 ? '' : rest.toString().padStart(digits, '0')
  const fraction = decimals.replace(/(?:000)+$/, '').padEnd(3, '0')
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, -5)}.${fraction}Z`
}

function nestedCodec(type: DuckDBType): Codec | undefined {
  const json = nestedJson(type)
  return json && { json, text: json, numeric: false }
}

function nestedJson(type: DuckDBType): ((value: DuckDBValue) => string) | undefined {
  if (type instanceof DuckDBListType || type instanceof DuckDBArrayType) {
    const inner = codecOf(type.valueType)
    return (value) =>
      value instanceof DuckDBListValue || value instanceof DuckDBArrayValue
        ? `[${value.items.map(inner.json).join(',')}]`
        : 'null'
  }
  if (type instanceof DuckDBStructType) {
    const fields = type.entryTypes.map((entry, index) => ({
      name: type.entryNames[index] ?? '',
      codec: codecOf(entry),
    }))
    return (value) => {
      if (!(value instanceof DuckDBStructValue)) return 'null'
      return `{${fields.map(({ name, codec }) => `${jsonString(name)}:${codec.json(value.entries[name] ?? null)}`).join(',')}}`
    }
  }
  if (type instanceof DuckDBMapType) return mapJson(type)
  if (type instanceof DuckDBUnionType) {
    const members = new Map(type.memberTags.map((tag, index) => [tag, type.memberTypes[index]]))
    return (value) => {
      const member = value instanceof DuckDBUnionValue ? members.get(value.tag) : undefined
      return member && value instanceof DuckDBUnionValue ? codecOf(member).json(value.value) : 'null'
    }
  }
  if (type.typeId === DuckDBTypeId.VARIANT)
    return (value) => {
      if (!(value instanceof DuckDBVariantValue) || value.value === null) return 'null'
      return value.type ? codecOf(value.type).json(value.value) : jsonString(String(value.value))
    }
  return undefined
}

function mapJson(type: DuckDBMapType): (value: DuckDBValue) => string {
  const key = codecOf(type.keyType)
  const inner = codecOf(type.valueType)
  const isText = type.keyType.typeId === DuckDBTypeId.VARCHAR || type.keyType.typeId === DuckDBTypeId.ENUM
  return (value) => {
    if (!(value instanceof DuckDBMapValue)) return 'null'
    if (isText) return `{${value.entries.map((e) => `${jsonString(String(e.key))}:${inner.json(e.value)}`).join(',')}}`
    return `[${value.entries.map((e) => `{"key":${key.json(e.key)},"value":${inner.json(e.value)}}`).join(',')}]`
  }
}
