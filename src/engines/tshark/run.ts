/**
 * One tshark over one shard. In: a capture file, a display filter, the fields wanted. Out: a row for each frame
 * that the filter lets through, in order.
 *
 * `-T ek -e` is the one output that cannot be misread: a JSON object a line, every value escaped. Nothing of the
 * user's own Wireshark set-up may change the result: its home is an empty directory.
 */

import { join } from 'node:path'
import { PipelineError } from '../../../state/errors.ts'
import { type ChildResult, cleanEnv, runChild } from '../child.ts'

export interface TsharkFrame {
  /** `frame.number`: from 1 in the shard. */
  number: number
  /** Values by field name with dots, in the order of the dissection; a field that is absent has no entry. */
  fields: Record<string, string[]>
}

export interface TsharkRun {
  tshark: string
  file: string
  filter: string
  fields: string[]
  /** `tcp.port==N,protocol`: protocols on ports where tshark would not look for them. */
  decodeAs: string[]
  /** Of TLS, to decrypt with. */
  keyLog?: string | undefined
  /** An existing directory: home of the child. */
  home: string
  timeoutMs: number
  maxRssBytes: number
  signal: AbortSignal
  onFrame: (frame: TsharkFrame) => void
}

export interface TsharkOutcome {
  result: ChildResult
  frames: number
  /** tshark ended with a complaint, but after rows: what it said. */
  partial?: string
}

const LF = 10
const MAX_LINE_BYTES = 64 << 20
const INDEX_LINE = Buffer.from('{"index"')

/**
 * @throws PipelineError engine_failed (it crashed, or refused its arguments), engine_timeout, engine_memory,
 *   engine_missing; the signal's reason when aborted.
 */
export async function runTshark(run: TsharkRun): Promise<TsharkOutcome> {
  const names = new Map(run.fields.map((field) => [field.replaceAll('.', '_'), field]))
  let frames = 0
  const lines = createLineCutter((line) => {
    if (line.subarray(0, INDEX_LINE.length).equals(INDEX_LINE)) return
    const frame = parseLine(line, names)
    if (frame === undefined) return
    frames++
    run.onFrame(frame)
  })
  const result = await runChild({
    command: run.tshark,
    args: argumentsOf(run),
    cwd: run.home,
    env: cleanEnv({
      HOME: run.home,
      XDG_CONFIG_HOME: join(run.home, 'config'),
      WIRESHARK_CONFIG_DIR: join(run.home, 'config'),
      WIRESHARK_RUN_FROM_BUILD_DIRECTORY: '0',
    }),
    timeoutMs: run.timeoutMs,
    maxRssBytes: run.maxRssBytes,
    signal: run.signal,
    onStdout: lines.data,
  })
  if (result.code === 0) return { result, frames }
  const said = complaintOf(result)
  // 2 with rows: the file ends badly, what came before it is good.
  if (result.code === 2 && frames > 0) return { result, frames, partial: said }
  throw new PipelineError('engine_failed', `tshark failed (${said})`, {
    details: { code: result.code ?? -1, signal: result.signal ?? '' },
  })
}

function argumentsOf({ file, filter, fields, decodeAs, keyLog }: TsharkRun): string[] {
  return [
    // Names of hosts come from the DNS answers in the file alone; ports and MAC addresses stay numbers.
    ...['-r', file, '-N', 'dn'],
    ...['-o', 'tcp.reassemble_out_of_order:TRUE'],
    ...['--enable-heuristic', 'teredo_udp'],
    ...(keyLog === undefined ? [] : ['-o', `tls.keylog_file:${keyLog}`]),
    ...decodeAs.flatMap((rule) => ['-d', rule]),
    ...['-Y', filter, '-T', 'ek', '-e', 'frame.number'],
    ...fields.flatMap((field) => ['-e', field]),
  ]
}

/** stderr without the warnings that say nothing of the capture. */
function complaintOf({ code, signal, stderr }: ChildResult): string {
  const said = stderr
    .split('\n')
    .filter((line) => !/Running as user|could be dangerous|^\s*$/.test(line))
    .join(' ')
    .slice(0, 500)
  return `${signal === null ? `exit code ${code}` : `signal ${signal}`}${said === '' ? '' : `: ${said}`}`
}

function parseLine(line: Buffer, names: Map<string, string>): TsharkFrame | undefined {
  let layers: Record<string, string[]> | undefined
  try {
    layers = (JSON.parse(line.toString('utf8')) as { layers?: Record<string, string[]> }).layers
  } catch {
    return undefined
  }
  const number = Number(layers?.frame_number?.[0])
  if (layers === undefined || !Number.isSafeInteger(number)) return undefined
  const fields: Record<string, string[]> = {}
  for (const [key, values] of Object.entries(layers)) {
    const name = names.get(key)
    if (name !== undefined) fields[name] = values
  }
  return { number, fields }
}

/** Bytes as they come, lines out; memory is one line. */
function createLineCutter(onLine: (line: Buffer) => void): { data(chunk: Buffer): void } {
  let parts: Buffer[] = []
  let size = 0
  return {
    data(chunk) {
      let at = 0
      for (let feed = chunk.indexOf(LF, at); feed >= 0; feed = chunk.indexOf(LF, at)) {
        const tail = chunk.subarray(at, feed)
        const line = parts.length > 0 ? Buffer.concat([...parts, tail]) : tail
        parts = []
        size = 0
        at = feed + 1
        if (line.length > 0) onLine(line)
      }
      if (at === chunk.length) return
      const rest = chunk.subarray(at)
      size += rest.length
      if (size > MAX_LINE_BYTES) throw new PipelineError('engine_failed', 'tshark wrote a line of more than 64 MiB')
      parts.push(Buffer.from(rest))
    },
  }
}
