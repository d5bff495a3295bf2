/**
 * What the API takes and answers: the one contract of the server and the page.
 *
 * A route's schemas check what comes in, make the OpenAPI document, and give the types that both sides are written
 * against (`z.infer`). Nothing of the server is imported here, so that the page can import the types alone. Times are
 * ISO 8601 in UTC. Failures are problem documents (RFC 9457) with a `code` of `PipelineError`.
 */

import { z } from 'zod'

const LOG_TYPE = /^[a-z0-9_]{1,64}$/
const COLUMN = /^[^\0"]{1,128}$/
const HASH = /^[0-9a-f]{64}$/

const time = z.iso.datetime({ offset: true })
const text = (max: number) => z.string().max(max)
const count = z.number().int().nonnegative()

/** Query strings are text: `limit=20`. */
const wholeNumber = (min: number, max: number) => z.coerce.number().int().min(min).max(max)

export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  /** Of `PipelineError`, or `not_found`, `unauthorized`, `forbidden`, `rate_limited`, `invalid_request`. */
  code: z.string(),
  /** `invalid_request`: what is wrong, and where in the request. */
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
})
export type Problem = z.infer<typeof problem>

// ── who is asking ──────────────────────────────────────────────────────────────────────────────────────────────────

export const session = z.object({
  /** `none`: this host alone is listened to, and everybody on it may do everything. */
  auth: z.enum(['none', 'token', 'accounts']),
  user: z.string().nullable(),
  version: z.string(),
})
export type Session = z.infer<typeof session>

export const logIn = z.object({ user: text(128).optional(), password: text(1024) })

// ── captures ───────────────────────────────────────────────────────────────────────────────────────────────────────

export const captureState = z.enum([
  'accepted',
  'done',
  'unbalanced',
  'empty',
  'failed',
  'forgetting',
  'reprocessing',
  'forgotten',
])
export type CaptureState = z.infer<typeof captureState>

export const stageName = z.string()

export const packetAccount = z.object({
  inFile: count,
  decoded: count,
  skipped: z.record(z.string(), count),
  lostBytes: count,
  salvaged: z.string().nullable(),
  firstTime: time.nullable(),
  lastTime: time.nullable(),
})

/** How far one stage is with a capture: jobs, and bytes of their inputs. */
export const stageProgress = z.object({
  stage: stageName,
  waiting: count,
  running: count,
  done: count,
  failed: count,
  bytes: count,
  bytesDone: count,
  packetsDone: count,
})
export type StageProgress = z.infer<typeof stageProgress>

/** What the TLS keys that came with a capture led to. */
export const tlsAccount = z.object({ keys: count, sessions: count, withKeys: count, decrypted: count })

export const capture = z.object({
  /** SHA-256 of the uncompressed content. */
  id: z.string(),
  name: z.string(),
  source: z.string(),
  format: z.enum(['pcap', 'pcapng']),
  bytes: count,
  state: captureState,
  engine: z.string().nullable(),
  engineVersion: z.string().nullable(),
  packets: packetAccount.nullable(),
  warnings: z.array(z.string()),
  /** Where TLS keys came with it and were used. */
  tls: tlsAccount.nullable(),
  /** Added to the times of its packets: its source's clock was wrong. */
  clockOffsetSeconds: z.number(),
  acceptedAt: time,
  finishedAt: time.nullable(),
  /** When retention removed its file; its rows and receipt stay. */
  fileRemovedAt: time.nullable(),
  /** How often the same content came again. */
  duplicates: count,
  rows: count,
  quarantined: count,
  /** In pipeline order; stages without work of it are left out. */
  progress: z.array(stageProgress),
  /** Why it failed. */
  error: z.string().nullable(),
})
export type Capture = z.infer<typeof capture>

export const captureListQuery = z.object({
  state: captureState.optional(),
  source: text(255).optional(),
  /** Part of the name, or the beginning of the hash. */
  text: text(255).optional(),
  limit: wholeNumber(1, 500).default(100),
  after: text(256).optional(),
})

export const captureList = z.object({
  /** Newest first. */
  captures: z.array(capture),
  next: z.string().nullable(),
  total: count,
  states: z.record(z.string(), count),
  sources: z.array(z.string()),
})
export type CaptureList = z.infer<typeof captureList>

export const arrival = z.object({
  name: z.string(),
  source: z.string(),
  container: z.string(),
  member: z.string().nullable(),
  bytes: count,
  fileSha256: z.string().nullable(),
  captureId: z.string().nullable(),
  outcome: z.enum(['accepted', 'duplicate', 'empty', 'quarantined']),
  reason: z.string().nullable(),
  arrivedAt: time,
})
export type Arrival = z.infer<typeof arrival>

export const job = z.object({
  stage: stageName,
  key: z.string(),
  captureId: z.string().nullable(),
  status: z.enum(['ready', 'running', 'sent', 'done', 'failed']),
  attempts: count,
  error: z.string().nullable(),
  errorCode: z.string().nullable(),
  bytes: count,
  createdAt: time,
  updatedAt: time,
})
export type Job = z.infer<typeof job>

export const captureDetail = capture.extend({ arrivals: z.array(arrival), failures: z.array(job) })
export type CaptureDetail = z.infer<typeof captureDetail>

export const receipt = z.object({
  captureId: z.string(),
  name: z.string(),
  source: z.string(),
  state: captureState,
  /** Added to the times of its packets: its source's clock was wrong. */
  clockOffsetSeconds: z.number(),
  packets: packetAccount.nullable(),
  tls: tlsAccount.nullable(),
  /** What an analyst should know about the conversion. */
  warnings: z.array(z.string()),
  logs: z.array(
    z.object({
      logType: z.string(),
      records: count,
      rows: count,
      quarantined: count,
      /** Rows that were there until retention removed them. */
      removed: count,
      reasons: z.record(z.string(), count),
      balanced: z.boolean(),
    }),
  ),
  total: z.object({ records: count, rows: count, quarantined: count, removed: count }),
  /** When retention removed the last of its rows, and its file. */
  removedAt: time.nullable(),
  fileRemovedAt: time.nullable(),
  balanced: z.boolean(),
  problems: z.array(z.string()),
})
export type Receipt = z.infer<typeof receipt>

/** The whole hash, or a beginning that fits one capture alone. */
export const captureParams = z.object({ id: z.string().regex(/^[0-9a-f]{4,64}$/) })

export const started = z.object({ captureId: z.string(), state: captureState })

export const retryRequest = z.union([
  z.object({ stage: text(32), key: text(1024) }).strict(),
  z.object({ captureId: z.string().regex(HASH) }).strict(),
  z.object({ all: z.literal(true) }).strict(),
])
export const retried = z.object({ retried: count })

export const jobsQuery = z.object({ status: z.enum(['failed', 'running', 'ready']).default('failed') })
export const jobs = z.object({ jobs: z.array(job) })

export const arrivalsQuery = z.object({
  outcome: z.enum(['accepted', 'duplicate', 'empty', 'quarantined']).optional(),
  limit: wholeNumber(1, 1000).default(200),
  /** An answer's `next`. */
  after: wholeNumber(1, Number.MAX_SAFE_INTEGER).optional(),
})
/** Newest first. */
export const arrivals = z.object({ arrivals: z.array(arrival), next: count.nullable() })
export type Arrivals = z.infer<typeof arrivals>

// ── uploads ────────────────────────────────────────────────────────────────────────────────────────────────────────

export const newUpload = z.object({
  /** For people: it never becomes a path as it is. */
  name: z.string().min(1).max(1024),
  bytes: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
  source: text(255).optional(),
  /** `File.lastModified`: the same file chosen again goes on where it was. */
  modified: z.number().optional(),
})

export const upload = z.object({
  id: z.string(),
  name: z.string(),
  source: z.string(),
  bytes: count,
  /** Bytes that have arrived: the offset to go on from. */
  offset: count,
  /**
   * `receiving`; `received`: in the inbox, the pipeline takes it from there; then what became of it. `refused` says
   * why in `reason`.
   */
  state: z.enum(['receiving', 'received', 'accepted', 'duplicate', 'empty', 'refused']),
  reason: z.string().nullable(),
  /** Of the captures that were found in it. */
  captures: z.array(z.string()),
})
export type Upload = z.infer<typeof upload>

export const uploads = z.object({ uploads: z.array(upload) })
export const uploadParams = z.object({ id: z.string().regex(/^[0-9a-f]{32}$/) })
/** Of the body's first byte; `offset` of the upload, or less, which writes it again. */
export const uploadOffset = z.object({ offset: wholeNumber(0, Number.MAX_SAFE_INTEGER) })

// ── tables ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export const column = z.object({
  name: z.string(),
  /** As DuckDB names it. */
  type: z.string(),
  /** `identity` (ids, source), `normalized` (canonical names), `enriched`, `raw` (Zeek's own), `partition`. */
  layer: z.enum(['identity', 'normalized', 'enriched', 'watch', 'raw', 'partition']),
  /** Zeek's name of the field that it holds. */
  zeek: z.string().nullable(),
  /** What it means, in a few words. */
  meaning: z.string().nullable(),
})
export type Column = z.infer<typeof column>

export const table = z.object({
  name: z.string(),
  rows: count,
  files: count,
  bytes: count,
  firstTime: time.nullable(),
  lastTime: time.nullable(),
})
export type Table = z.infer<typeof table>

/** Log types with rows first, by name; the others are known and empty. */
export const tables = z.object({ tables: z.array(table) })
export const tableParams = z.object({ table: z.string().regex(LOG_TYPE) })
export const columns = z.object({ table: z.string(), columns: z.array(column) })
export type Columns = z.infer<typeof columns>

// ── search ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const scalar = z.union([text(4096), z.number(), z.boolean()])

export const operator = z.enum([
  '=',
  '!=',
  '<',
  '<=',
  '>',
  '>=',
  'contains',
  'starts',
  'in',
  'cidr',
  'exists',
  'missing',
])
export type Operator = z.infer<typeof operator>

/**
 * `exists` and `missing` take no value, `in` takes a list, all others one value. `cidr` is a network (`10.0.0.0/8`)
 * or an address. Of a list column any element counts. Texts are compared as they are, `contains` and `starts` without
 * regard to case.
 */
export const condition = z.object({
  column: z.string().regex(COLUMN),
  op: operator,
  value: z.union([scalar, z.array(scalar).max(1000)]).optional(),
})
export type Condition = z.infer<typeof condition>

/** Which events: all of these must hold. */
export const eventFilter = z.object({
  /** None: all log types, with the columns that they have in common. */
  types: z.array(z.string().regex(LOG_TYPE)).max(64).default([]),
  /** `from` ≤ event_time < `to`. */
  from: time.optional(),
  to: time.optional(),
  /** In any column; an address or a number finds what equals it. Words are all to be found, `"in quotes"` as one. */
  text: text(512).optional(),
  conditions: z.array(condition).max(50).default([]),
})
export type EventFilter = z.infer<typeof eventFilter>

export const searchRequest = eventFilter.extend({
  /** Default: the normalized columns. `event_time, event_id, log_type, capture_id` always come first. */
  columns: z.array(z.string().regex(COLUMN)).max(300).optional(),
  order: z.enum(['newest', 'oldest']).default('newest'),
  limit: z.number().int().min(1).max(1000).default(100),
  /** `next` of the page before: what was loaded meanwhile moves nothing. */
  after: text(1024).optional(),
})
export type SearchRequest = z.infer<typeof searchRequest>

export const answerColumn = z.object({ name: z.string(), type: z.string() })

export const searchAnswer = z.object({
  columns: z.array(answerColumn),
  rows: z.array(z.array(z.unknown())),
  /** Asks for the next page; null when there is no more. It may be set with fewer rows than `limit`: see `complete`. */
  next: z.string().nullable(),
  /** False: the time for one answer was up before the page was full; `next` goes on from where it stopped. */
  complete: z.boolean(),
  scanned: z.object({ files: count, of: count }),
  elapsedMs: z.number(),
  warnings: z.array(z.string()),
})
export type SearchAnswer = z.infer<typeof searchAnswer>

export const sqlAnswer = z.object({ sql: z.string() })

export const countAnswer = z.object({ count, elapsedMs: z.number() })

export const facetRequest = eventFilter.extend({
  facets: z
    .array(z.object({ column: z.string().regex(COLUMN), limit: z.number().int().min(1).max(100).default(10) }))
    .min(1)
    .max(20),
})
export const facetAnswer = z.object({
  total: count,
  facets: z.array(
    z.object({
      column: z.string(),
      values: z.array(z.object({ value: z.unknown(), count })),
      /** Events without a value. */
      missing: count,
      /** Events whose value is not among those listed. */
      other: count,
    }),
  ),
  elapsedMs: z.number(),
})
export type FacetAnswer = z.infer<typeof facetAnswer>

export const histogramRequest = eventFilter.extend({
  /** About so many; the interval is a round one. */
  buckets: z.number().int().min(1).max(1000).default(100),
  /** A bar for each of its most frequent values; `log_type` needs no scan. */
  by: z.string().regex(COLUMN).optional(),
})
export const histogramAnswer = z.object({
  intervalSeconds: z.number(),
  /** Without the empty ones, by time. */
  bars: z.array(z.object({ time, value: z.unknown(), count })),
  total: count,
  elapsedMs: z.number(),
})
export type HistogramAnswer = z.infer<typeof histogramAnswer>

export const topRequest = eventFilter.extend({
  by: z.array(z.string().regex(COLUMN)).min(1).max(4),
  measures: z
    .array(
      z.object({
        of: z.enum(['count', 'sum', 'avg', 'min', 'max', 'distinct']),
        column: z.string().regex(COLUMN).optional(),
      }),
    )
    .min(1)
    .max(8),
  /** Sorted by the first measure, or by the sum of all; largest first. */
  order: z.enum(['first', 'sum']).default('first'),
  limit: z.number().int().min(1).max(1000).default(10),
})
/** Columns: those of `by`, then `measure_1`, …. */
export const topAnswer = z.object({
  columns: z.array(answerColumn),
  rows: z.array(z.array(z.unknown())),
  elapsedMs: z.number(),
})
export type TopAnswer = z.infer<typeof topAnswer>

export const eventParams = z.object({ table: z.string().regex(LOG_TYPE), id: z.string().min(1).max(400) })
/** `event_time` of the event, from which its file follows: without it all files are looked through. */
export const eventQuery = z.object({ time: time.optional() })

export const eventDetail = z.object({
  logType: z.string(),
  eventId: z.string(),
  eventTime: time.nullable(),
  captureId: z.string().nullable(),
  source: z.string().nullable(),
  flowId: z.string().nullable(),
  communityId: z.string().nullable(),
  /** The record as Zeek's JSON has it, under Zeek's names. */
  raw: z.record(z.string(), z.unknown()),
  /** Canonical names. */
  normalized: z.record(z.string(), z.unknown()),
  enriched: z.record(z.string(), z.unknown()),
  watch: z.object({ employees: z.array(z.string()), lists: z.array(z.string()), reasons: z.array(z.string()) }),
})
export type EventDetail = z.infer<typeof eventDetail>

/** At least one of the ids. With `captureId` that capture alone is looked through; `time` narrows it to a day each way. */
export const flowRequest = z.object({
  flowId: text(128).optional(),
  communityId: text(128).optional(),
  captureId: z.string().regex(HASH).optional(),
  time: time.optional(),
  limit: z.number().int().min(1).max(5000).default(1000),
})
export type FlowRequest = z.infer<typeof flowRequest>

/** What the packets of a flow are found by: either direction matches. */
export const fiveTuple = z.object({
  src: text(64),
  dst: text(64),
  srcPort: wholeNumber(0, 65_535).optional(),
  dstPort: wholeNumber(0, 65_535).optional(),
  protocol: z.enum(['tcp', 'udp', 'icmp', 'sctp']).optional(),
})
export type FiveTuple = z.infer<typeof fiveTuple>

export const flowAnswer = z.object({
  /** By time. `record` holds the columns that have a value, under their names. */
  records: z.array(
    z.object({
      time: time.nullable(),
      logType: z.string(),
      eventId: z.string(),
      captureId: z.string().nullable(),
      record: z.record(z.string(), z.unknown()),
    }),
  ),
  truncated: z.boolean(),
  /** Of the flow's connection, for its packets; `from` and `to` have a second of margin. */
  packets: fiveTuple.extend({ captureId: z.string(), from: time, to: time }).nullable(),
  elapsedMs: z.number(),
})
export type FlowAnswer = z.infer<typeof flowAnswer>

export const packetQuery = fiveTuple.extend({ from: time, to: time })
export type PacketQuery = z.infer<typeof packetQuery>
export const packetListQuery = packetQuery.extend({ limit: wholeNumber(1, 5000).default(500) })

export const packet = z.object({
  /** In the capture, from 1. */
  number: count,
  time,
  length: count,
  captured: count,
  srcMac: z.string().nullable(),
  dstMac: z.string().nullable(),
  vlans: z.array(z.number()),
  src: z.string(),
  dst: z.string(),
  srcPort: z.number().nullable(),
  dstPort: z.number().nullable(),
  protocol: z.string(),
  /** `SYN, ACK`, … */
  flags: z.string().nullable(),
  /** Bytes of the transport's payload. */
  payload: count,
  /** Tunnels around it. */
  depth: count,
})
export type Packet = z.infer<typeof packet>

export const packetList = z.object({
  packets: z.array(packet),
  matched: count,
  bytes: count,
  truncated: z.boolean(),
  elapsedMs: z.number(),
})
export type PacketList = z.infer<typeof packetList>

// ── SQL ────────────────────────────────────────────────────────────────────────────────────────────────────────────

export const sqlRequest = z.object({
  sql: z.string().min(1).max(200_000),
  /** Rows that are kept to be paged through; an export has no such limit. */
  maxRows: z.number().int().min(1).max(1_000_000).default(100_000),
})

export const sqlRun = z.object({
  id: z.string(),
  sql: z.string(),
  state: z.enum(['running', 'done', 'failed', 'cancelled']),
  startedAt: time,
  elapsedMs: z.number(),
  /** Null until the first rows are there. */
  columns: z.array(answerColumn).nullable(),
  /** So far. */
  rows: count,
  /** There was more than `maxRows`, or than a result may hold. */
  truncated: z.boolean(),
  warnings: z.array(z.string()),
  error: z
    .object({ code: z.string(), message: z.string(), line: count.nullable(), column: count.nullable() })
    .nullable(),
})
export type SqlRun = z.infer<typeof sqlRun>

export const sqlRunParams = z.object({ id: z.string().regex(/^[0-9a-f]{32}$/) })
export const sqlRowsQuery = z.object({
  offset: wholeNumber(0, 1_000_000).default(0),
  limit: wholeNumber(1, 10_000).default(500),
  /** While the run has no more rows than `offset`, the answer waits for so long. */
  waitMs: wholeNumber(0, 30_000).default(0),
})
export const sqlRows = z.object({ run: sqlRun, offset: count, rows: z.array(z.array(z.unknown())) })
export type SqlRows = z.infer<typeof sqlRows>

/** Runs the query once more, without a limit of rows. */
export const exportQuery = z.object({
  format: z.enum(['csv', 'ndjson', 'parquet', 'json']),
  /** Keeps texts from running as formulas in a spreadsheet, at the price of changing them. */
  spreadsheet: z.enum(['true', 'false']).default('false'),
})

export const sqlSchema = z.object({
  tables: z.array(
    z.object({
      name: z.string(),
      rows: count.nullable(),
      columns: z.array(answerColumn.extend({ meaning: z.string().nullable() })),
    }),
  ),
})
export type SqlSchema = z.infer<typeof sqlSchema>

export const savedQuery = z.object({
  id: count,
  name: z.string(),
  sql: z.string(),
  about: z.string(),
  user: z.string().nullable(),
  updatedAt: time,
})
export type SavedQuery = z.infer<typeof savedQuery>
export const savedQueries = z.object({ queries: z.array(savedQuery) })
export const newSavedQuery = z.object({
  name: z.string().min(1).max(200),
  sql: z.string().min(1).max(200_000),
  about: text(2000).default(''),
})
export const numberParams = z.object({ id: wholeNumber(1, Number.MAX_SAFE_INTEGER) })

/** Queries that work on any capture. */
export const exampleQueries = z.object({
  examples: z.array(z.object({ name: z.string(), about: z.string(), sql: z.string() })),
})

export const sqlHistory = z.object({
  entries: z.array(
    z.object({
      id: count,
      sql: z.string(),
      user: z.string().nullable(),
      at: time,
      outcome: z.string(),
      rows: count.nullable(),
      elapsedMs: z.number().nullable(),
    }),
  ),
})
export type SqlHistory = z.infer<typeof sqlHistory>
export const historyQuery = z.object({ limit: wholeNumber(1, 500).default(100) })

// ── watch lists ────────────────────────────────────────────────────────────────────────────────────────────────────

export const employee = z.object({
  key: z.string().min(1).max(256),
  name: text(512),
  watched: z.boolean(),
})
export type Employee = z.infer<typeof employee>

const mac = z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i)

export const computer = z.object({
  compId: z.string().min(1).max(256),
  /** Several rows of one computer: several people, or one after the other. */
  employee: z.string().min(1).max(256),
  mac: mac.nullable().default(null),
  ip: text(64).nullable().default(null),
  hostname: text(255).nullable().default(null),
  /** `validFrom` ≤ event_time < `validTo`. */
  validFrom: time.nullable().default(null),
  validTo: time.nullable().default(null),
})
export type Computer = z.infer<typeof computer>

export const indicatorKind = z.enum(['ip', 'cidr', 'domain', 'hash', 'ja3', 'ja4', 'mac'])

export const indicator = z.object({
  list: z.string().min(1).max(128),
  kind: indicatorKind,
  value: z.string().min(1).max(512),
  note: text(1024).default(''),
})
export type Indicator = z.infer<typeof indicator>

const withId = { id: count }
export const watchPage = z.object({
  text: text(255).optional(),
  limit: wholeNumber(1, 5000).default(500),
  /** An answer's `next`. */
  after: text(1600).optional(),
})
/** Of all that fit how many there are, and where the next page begins. */
const ofList = { total: count, next: z.string().nullable() }
export const listedEmployee = employee.extend({ computers: count })
export type ListedEmployee = z.infer<typeof listedEmployee>
/** By name. */
export const employees = z.object({ employees: z.array(listedEmployee), ...ofList })
export const employeeParams = z.object({ key: z.string().min(1).max(256) })
export const listedComputer = computer.extend(withId)
export type ListedComputer = z.infer<typeof listedComputer>
export const computers = z.object({ computers: z.array(listedComputer), ...ofList })
export const listedIndicator = indicator.extend(withId)
export type ListedIndicator = z.infer<typeof listedIndicator>
export const indicators = z.object({
  indicators: z.array(listedIndicator),
  lists: z.array(z.object({ list: z.string(), indicators: count })),
  ...ofList,
})

export const watchKind = z.enum(['employees', 'computers', 'indicators'])
export type WatchKind = z.infer<typeof watchKind>

/** The body is the file: CSV with a header, JSON lines, a JSON array, or `key:{json}` lines. */
export const importQuery = z.object({
  kind: watchKind,
  /** Removes what the file does not name. */
  replace: z.enum(['true', 'false']).default('false'),
  /** Of indicators whose file names no list. */
  list: text(128).default('default'),
})
export const importAnswer = z.object({
  added: count,
  changed: count,
  unchanged: count,
  removed: count,
  /** Lines that were left out. */
  problems: z.array(z.object({ line: count, reason: z.string() })),
})
export type ImportAnswer = z.infer<typeof importAnswer>

/** What a load, or a rescan, found: summed up by these columns. */
export const watchHit = z.object({
  id: count,
  at: time,
  employee: z.string().nullable(),
  employeeName: z.string().nullable(),
  list: z.string(),
  /** `mac e0:a1:d7:18:c2:72 (source)`, `domain evil.example (query www.evil.example)`, … */
  reason: z.string(),
  logType: z.string(),
  captureId: z.string().nullable(),
  rows: count,
  firstTime: time.nullable(),
  lastTime: time.nullable(),
})
export type WatchHit = z.infer<typeof watchHit>

export const hitsQuery = z.object({
  employee: text(256).optional(),
  list: text(128).optional(),
  captureId: z.string().regex(HASH).optional(),
  limit: wholeNumber(1, 1000).default(200),
  /** Older than this id. */
  before: wholeNumber(1, Number.MAX_SAFE_INTEGER).optional(),
})
/** Newest first. */
export const hits = z.object({ hits: z.array(watchHit) })
export type Hits = z.infer<typeof hits>

export const reportQuery = z.object({
  by: z.enum(['employee', 'day', 'protocol', 'host', 'list']).default('employee'),
  employee: text(256).optional(),
  from: time.optional(),
  to: time.optional(),
})
export const watchReport = z.object({
  columns: z.array(answerColumn),
  rows: z.array(z.array(z.unknown())),
  elapsedMs: z.number(),
})
export type WatchReport = z.infer<typeof watchReport>

export const rescan = z.object({
  state: z.enum(['idle', 'running', 'done', 'failed']),
  files: count,
  of: count,
  rewritten: count,
  startedAt: time.nullable(),
  finishedAt: time.nullable(),
  error: z.string().nullable(),
})
export type Rescan = z.infer<typeof rescan>

// ── health ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export const stageHealth = z.object({
  stage: stageName,
  /** Runs in this process; another may run it as well. */
  here: z.boolean(),
  waiting: count,
  running: count,
  sent: count,
  failed: count,
  /** Of the jobs that wait. */
  oldestSeconds: z.number().nullable(),
  doneLastMinute: count,
  eventsLastMinute: count,
  lastError: z.object({ at: time, code: z.string().nullable(), message: z.string(), key: z.string() }).nullable(),
})
export type StageHealth = z.infer<typeof stageHealth>

export const health = z.object({
  state: z.enum(['ok', 'degraded', 'failing']),
  /** Why it is not `ok`, a sentence each. */
  problems: z.array(z.string()),
  version: z.string(),
  startedAt: time,
  stages: z.array(stageHealth),
  captures: z.record(z.string(), count),
  sinks: z.array(
    z.object({ name: z.string(), state: z.enum(['ok', 'failing', 'off']), detail: z.string(), rows: count.nullable() }),
  ),
  bus: z.object({ kind: z.string(), counters: z.record(z.string(), z.number()) }),
  disk: z.object({
    freeBytes: count,
    totalBytes: count,
    floorBytes: count,
    capturesBytes: count,
    datasetBytes: count,
    /** All that is kept, the inbox apart, and what it may be; 0 is no budget. */
    usedBytes: count,
    budgetBytes: count,
    /** Of work in hand, beyond what it has taken. */
    promisedBytes: count,
    /** Why nothing is taken in, where that is so. */
    waits: z.array(z.string()),
  }),
  memory: z.object({ rssBytes: count, heapBytes: count, systemFreeBytes: count, systemTotalBytes: count }),
  engine: z.object({ name: z.string(), version: z.string().nullable() }),
  versions: z.record(z.string(), z.string()),
})
export type Health = z.infer<typeof health>

export const logQuery = z.object({ lines: wholeNumber(1, 2000).default(200) })
export const logLines = z.object({ lines: z.array(z.string()) })

export const settingsList = z.object({
  settings: z.array(z.object({ name: z.string(), value: z.string(), source: z.string(), unit: z.string().optional() })),
})

// ── live events (SSE): `event: <kind>`, `data: <JSON>` ─────────────────────────────────────────────────────────────

/** Which kinds, separated by commas; all without it. */
export const liveQuery = z.object({
  kinds: z
    .string()
    .regex(/^[a-z]+(,[a-z]+)*$/)
    .max(200)
    .optional(),
})

export const liveEvent = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('capture'), capture }),
  z.object({ kind: z.literal('forgotten'), captureId: z.string() }),
  z.object({ kind: z.literal('stages'), stages: z.array(stageHealth) }),
  z.object({
    kind: z.literal('error'),
    at: time,
    stage: stageName,
    key: z.string(),
    code: z.string().nullable(),
    message: z.string(),
  }),
  z.object({ kind: z.literal('log'), line: z.string() }),
  z.object({ kind: z.literal('hit'), hit: watchHit }),
])
export type LiveEvent = z.infer<typeof liveEvent>

export const done = z.object({ done: z.literal(true) })

// ── the routes ─────────────────────────────────────────────────────────────────────────────────────────────────────

export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  path: string
  about: string
  params?: z.ZodType
  query?: z.ZodType
  body?: z.ZodType
  /** Absent: bytes of `produces`. */
  answer?: z.ZodType
  produces?: string
  /** The body is a stream of bytes. */
  takesBytes?: true
  /** 200 unless said. */
  status?: number
  /** Answers without a log-in. */
  open?: true
}

export const routes = {
  getSession: { method: 'GET', path: '/api/session', about: 'Who is logged in.', answer: session, open: true },
  logIn: {
    method: 'POST',
    path: '/api/session',
    about: 'Logs in: a password, or the token as password.',
    body: logIn,
    answer: session,
    open: true,
  },
  logOut: { method: 'DELETE', path: '/api/session', about: 'Logs out.', answer: session, open: true },

  listCaptures: {
    method: 'GET',
    path: '/api/captures',
    about: 'Captures, newest first, with their live progress.',
    query: captureListQuery,
    answer: captureList,
  },
  getCapture: {
    method: 'GET',
    path: '/api/captures/:id',
    about: 'One capture with every file that it came in and what failed of it.',
    params: captureParams,
    answer: captureDetail,
  },
  getReceipt: {
    method: 'GET',
    path: '/api/captures/:id/receipt',
    about: 'The proof that nothing of a capture was lost or doubled.',
    params: captureParams,
    answer: receipt,
  },
  forgetCapture: {
    method: 'DELETE',
    path: '/api/captures/:id',
    about: 'Begins to remove a capture with its rows and files.',
    params: captureParams,
    answer: started,
    status: 202,
  },
  reprocessCapture: {
    method: 'POST',
    path: '/api/captures/:id/reprocess',
    about: 'Begins to remove its rows; then it is converted again.',
    params: captureParams,
    answer: started,
    status: 202,
  },
  retryCapture: {
    method: 'POST',
    path: '/api/captures/:id/retry',
    about: 'Tries again what was given up of it.',
    params: captureParams,
    answer: retried,
  },
  downloadCapture: {
    method: 'GET',
    path: '/api/captures/:id/file',
    about: 'The stored capture; ranges are served.',
    params: captureParams,
    produces: 'application/vnd.tcpdump.pcap',
  },
  listPackets: {
    method: 'GET',
    path: '/api/captures/:id/packets',
    about: "A flow's packets, in a line each.",
    params: captureParams,
    query: packetListQuery,
    answer: packetList,
  },
  downloadPackets: {
    method: 'GET',
    path: '/api/captures/:id/packets.pcap',
    about: "A flow's packets as a capture, cut from the stored one by five-tuple and time.",
    params: captureParams,
    query: packetQuery,
    produces: 'application/vnd.tcpdump.pcap',
  },
  listArrivals: {
    method: 'GET',
    path: '/api/arrivals',
    about: 'Every file that came, whatever became of it.',
    query: arrivalsQuery,
    answer: arrivals,
  },
  listJobs: {
    method: 'GET',
    path: '/api/jobs',
    about: 'Jobs that failed, run, or wait.',
    query: jobsQuery,
    answer: jobs,
  },
  retryJobs: {
    method: 'POST',
    path: '/api/jobs/retry',
    about: 'Tries again what was given up: one job, those of a capture, or all.',
    body: retryRequest,
    answer: retried,
  },

  listUploads: {
    method: 'GET',
    path: '/api/uploads',
    about: 'Uploads of this process that are not over for long.',
    answer: uploads,
  },
  createUpload: {
    method: 'POST',
    path: '/api/uploads',
    about: 'Announces a file; the same file again gives the same upload.',
    body: newUpload,
    answer: upload,
  },
  getUpload: {
    method: 'GET',
    path: '/api/uploads/:id',
    about: 'How far an upload is, and what became of it.',
    params: uploadParams,
    answer: upload,
  },
  sendUpload: {
    method: 'PUT',
    path: '/api/uploads/:id',
    about: 'Bytes of the file from an offset on; may be cut and repeated.',
    params: uploadParams,
    query: uploadOffset,
    answer: upload,
    takesBytes: true,
  },
  cancelUpload: {
    method: 'DELETE',
    path: '/api/uploads/:id',
    about: 'Gives an upload up and removes what has come of it.',
    params: uploadParams,
    answer: done,
  },
  putFile: {
    method: 'PUT',
    path: '/api/inbox/:name',
    about: 'A whole file in one request (`curl -T`).',
    params: z.object({ name: z.string().min(1).max(1024) }),
    query: z.object({ source: text(255).optional() }),
    answer: upload,
    takesBytes: true,
  },

  listTables: { method: 'GET', path: '/api/tables', about: 'The log types with rows and time range.', answer: tables },
  getColumns: {
    method: 'GET',
    path: '/api/tables/:table/columns',
    about: 'The columns of a log type.',
    params: tableParams,
    answer: columns,
  },
  search: {
    method: 'POST',
    path: '/api/search',
    about: 'Events, newest or oldest first, page by page.',
    body: searchRequest,
    answer: searchAnswer,
  },
  searchSql: {
    method: 'POST',
    path: '/api/search/sql',
    about: 'The search as a query for SQL.',
    body: searchRequest,
    answer: sqlAnswer,
  },
  count: {
    method: 'POST',
    path: '/api/search/count',
    about: 'How many events a filter finds.',
    body: eventFilter,
    answer: countAnswer,
  },
  facets: {
    method: 'POST',
    path: '/api/search/facets',
    about: 'The most frequent values of columns.',
    body: facetRequest,
    answer: facetAnswer,
  },
  histogram: {
    method: 'POST',
    path: '/api/search/histogram',
    about: 'Events over time.',
    body: histogramRequest,
    answer: histogramAnswer,
  },
  top: {
    method: 'POST',
    path: '/api/search/top',
    about: 'Groups with the largest measures: top talkers, bytes by service.',
    body: topRequest,
    answer: topAnswer,
  },
  getEvent: {
    method: 'GET',
    path: '/api/events/:table/:id',
    about: 'An event in its three layers.',
    params: eventParams,
    query: eventQuery,
    answer: eventDetail,
  },
  flow: {
    method: 'POST',
    path: '/api/flow',
    about: 'All records of a flow, across log types.',
    body: flowRequest,
    answer: flowAnswer,
  },

  runSql: {
    method: 'POST',
    path: '/api/sql/runs',
    about: 'Starts a query.',
    body: sqlRequest,
    answer: sqlRun,
    status: 201,
  },
  getRun: {
    method: 'GET',
    path: '/api/sql/runs/:id',
    about: 'How far a query is.',
    params: sqlRunParams,
    answer: sqlRun,
  },
  getRows: {
    method: 'GET',
    path: '/api/sql/runs/:id/rows',
    about: 'Rows of its result, also while it runs.',
    params: sqlRunParams,
    query: sqlRowsQuery,
    answer: sqlRows,
  },
  cancelRun: {
    method: 'DELETE',
    path: '/api/sql/runs/:id',
    about: 'Stops a query and removes its result.',
    params: sqlRunParams,
    answer: done,
  },
  exportRun: {
    method: 'GET',
    path: '/api/sql/runs/:id/export',
    about: 'The whole result as a file.',
    params: sqlRunParams,
    query: exportQuery,
    produces: 'application/octet-stream',
  },
  getSqlSchema: {
    method: 'GET',
    path: '/api/sql/schema',
    about: 'Tables and columns, for the editor.',
    answer: sqlSchema,
  },
  listExamples: { method: 'GET', path: '/api/sql/examples', about: 'Queries to start from.', answer: exampleQueries },
  listHistory: {
    method: 'GET',
    path: '/api/sql/history',
    about: 'Queries that were run, newest first.',
    query: historyQuery,
    answer: sqlHistory,
  },
  listSaved: { method: 'GET', path: '/api/sql/saved', about: 'Saved queries.', answer: savedQueries },
  saveQuery: {
    method: 'POST',
    path: '/api/sql/saved',
    about: 'Saves a query; one of the same name is replaced.',
    body: newSavedQuery,
    answer: savedQuery,
  },
  deleteSaved: {
    method: 'DELETE',
    path: '/api/sql/saved/:id',
    about: 'Removes a saved query.',
    params: numberParams,
    answer: done,
  },

  listEmployees: {
    method: 'GET',
    path: '/api/watch/employees',
    about: 'Employees.',
    query: watchPage,
    answer: employees,
  },
  putEmployee: {
    method: 'PUT',
    path: '/api/watch/employees',
    about: 'Adds or changes an employee.',
    body: employee,
    answer: listedEmployee,
  },
  deleteEmployee: {
    method: 'DELETE',
    path: '/api/watch/employees/:key',
    about: 'Removes an employee.',
    params: employeeParams,
    answer: done,
  },
  listComputers: {
    method: 'GET',
    path: '/api/watch/computers',
    about: 'Computers and whose they are.',
    query: watchPage,
    answer: computers,
  },
  putComputer: {
    method: 'PUT',
    path: '/api/watch/computers',
    about: 'Adds a computer of an employee.',
    body: computer,
    answer: listedComputer,
  },
  changeComputer: {
    method: 'PUT',
    path: '/api/watch/computers/:id',
    about: 'Puts another in its place.',
    params: numberParams,
    body: computer,
    answer: listedComputer,
  },
  deleteComputer: {
    method: 'DELETE',
    path: '/api/watch/computers/:id',
    about: 'Removes one.',
    params: numberParams,
    answer: done,
  },
  listIndicators: {
    method: 'GET',
    path: '/api/watch/indicators',
    about: 'Addresses, networks, domains and hashes that are looked for.',
    query: watchPage,
    answer: indicators,
  },
  putIndicator: {
    method: 'PUT',
    path: '/api/watch/indicators',
    about: "Adds an indicator, or changes one's note.",
    body: indicator,
    answer: listedIndicator,
  },
  changeIndicator: {
    method: 'PUT',
    path: '/api/watch/indicators/:id',
    about: 'Puts another in its place.',
    params: numberParams,
    body: indicator,
    answer: listedIndicator,
  },
  deleteIndicator: {
    method: 'DELETE',
    path: '/api/watch/indicators/:id',
    about: 'Removes one.',
    params: numberParams,
    answer: done,
  },
  importWatch: {
    method: 'POST',
    path: '/api/watch/import',
    about: 'Takes in a whole file.',
    query: importQuery,
    answer: importAnswer,
    takesBytes: true,
  },
  listHits: {
    method: 'GET',
    path: '/api/watch/hits',
    about: 'What was found, newest first.',
    query: hitsQuery,
    answer: hits,
  },
  watchReport: {
    method: 'GET',
    path: '/api/watch/report',
    about: 'Watched traffic, summed up.',
    query: reportQuery,
    answer: watchReport,
  },
  getRescan: { method: 'GET', path: '/api/watch/rescan', about: 'The last rescan.', answer: rescan },
  startRescan: {
    method: 'POST',
    path: '/api/watch/rescan',
    about: 'Applies the lists to what is loaded already.',
    answer: rescan,
    status: 202,
  },

  getHealth: {
    method: 'GET',
    path: '/api/health',
    about: 'Stages, sinks, bus, disk, memory, versions.',
    answer: health,
  },
  getLog: { method: 'GET', path: '/api/log', about: 'The last lines of the log.', query: logQuery, answer: logLines },
  getSettings: {
    method: 'GET',
    path: '/api/settings',
    about: 'The effective settings, secrets masked.',
    answer: settingsList,
  },
  live: {
    method: 'GET',
    path: '/api/live',
    about: 'Live events: progress, stage counters, errors, log lines, hits.',
    query: liveQuery,
    produces: 'text/event-stream',
  },
} as const satisfies Record<string, Route>

export type RouteName = keyof typeof routes
type Infer<T> = T extends z.ZodType ? z.output<T> : undefined
type Part<R, K extends string> = R extends Record<K, infer S> ? Infer<S> : undefined

/** What a handler gets, after the defaults, and what it gives. */
export type ParamsOf<N extends RouteName> = Part<(typeof routes)[N], 'params'>
export type QueryOf<N extends RouteName> = Part<(typeof routes)[N], 'query'>
export type BodyOf<N extends RouteName> = Part<(typeof routes)[N], 'body'>
export type AnswerOf<N extends RouteName> = Part<(typeof routes)[N], 'answer'>
