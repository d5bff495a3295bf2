import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { readCapture } from '../../../../src/capture/reader.ts'
import { createDissect } from '../../../../src/engines/tshark/dissect.ts'
import { createLogOutput } from '../../../../src/engines/tshark/output.ts'
import { PROTOCOLS } from '../../../../src/engines/tshark/protocols/index.ts'
import { PipelineError } from '../../../../state/errors.ts'
import { scratch } from '../../capture/files.ts'

const SHARED = new URL('../../../../../shared/', import.meta.url).pathname
const TRUTH = join(SHARED, 'corpus/zeek-logs-full')
const here = existsSync(TRUTH)
const where = here ? '' : ' (skipped: no ../shared/corpus here)'

/** Log → least recall, precision and share of equal fields, of what Zeek itself writes. */
const LEAST: Record<string, [recall: number, precision: number, fields: number]> = {
  conn: [0.999, 0.999, 0.99],
  dns: [0.99, 0.99, 0.99],
  http: [0.99, 0.99, 0.99],
  ssl: [0.99, 0.99, 0.98],
  x509: [0.99, 0.99, 0.99],
  files: [0.98, 0.98, 0.99],
  smtp: [0.99, 0.99, 0.96],
  weird: [0.95, 0.98, 0.98],
  modbus: [0.99, 0.99, 0.99],
  kerberos: [0.99, 0.95, 0.99],
  // Their ids are drawn at random.
  ocsp: [0.99, 0.99, 0.88],
  pe: [0.99, 0.99, 0.94],
  ...Object.fromEntries(
    `analyzer dce_rpc dhcp dnp3 ftp irc mqtt_connect mqtt_publish mqtt_subscribe mysql notice ntlm ntp radius rdp rfb sip
    smb_files smb_mapping snmp socks ssh syslog tunnel websocket`
      .split(/\s+/)
      .map((log) => [log, [0.99, 0.99, 0.99]]),
  ),
}

interface Measured {
  expected: number
  matched: number
  p_produced: number
  p_matched: number
  fields: Record<string, Record<'agree' | 'differ' | 'missing' | 'spurious', number>>
}

/** Converts every capture; what is no capture is none here either. */
async function convertAll(out: string, faults: string[]): Promise<number> {
  let packets = 0
  for (const dir of ['pcaps', 'pcaps-unpaired'])
    for (const name of readdirSync(join(SHARED, 'corpus', dir))) {
      await mkdir(join(out, name))
      const raw = join(SHARED, 'corpus', dir, name)
      const path = name.endsWith('.gz') ? join(out, 'plain') : raw
      if (path !== raw) writeFileSync(path, gunzipSync(readFileSync(raw)))
      const log = createLogOutput(join(out, name))
      const onFault = (protocol: string, error: unknown) => faults.push(`${name}: ${protocol}: ${error}`)
      const dissect = createDissect({
        captureId: name,
        protocols: PROTOCOLS,
        write: log.write,
        writeLine: log.writeLine,
        onFault,
      })
      await readCapture(path, { onPacket: (packet) => void dissect.packet(packet) }).catch((error) => {
        if (!(error instanceof PipelineError)) throw error
      })
      dissect.finish()
      await log.finish()
      packets += dissect.counts.packets
    }
  return packets
}

describe(`the captures of Zeek's own tests${where}`, () => {
  it.skipIf(!here)(
    'give the logs that Zeek writes of them, and no dissector fails on any',
    { timeout: 240_000 },
    async () => {
      const dir = await scratch()
      const out = join(dir, 'out')
      await mkdir(out)
      const faults: string[] = []
      expect(await convertAll(out, faults)).toBeGreaterThan(100_000)
      expect(faults).toEqual([])
      const json = join(dir, 'measured.json')
      const logs = Object.keys(LEAST).join()
      execFileSync('python3', [
        join(SHARED, 'tools/compare.py'),
        out,
        TRUTH,
        '--logs',
        logs,
        '--time-tol',
        '0.000002',
        '--json',
        json,
      ])
      const measured = JSON.parse(readFileSync(json, 'utf8')) as { logs: Record<string, Measured> }
      for (const [log, least] of Object.entries(LEAST)) {
        const { expected, matched, p_produced, p_matched, fields } = measured.logs[log] as Measured
        const sum = (of: (field: Measured['fields'][string]) => number) =>
          Object.values(fields).reduce((total, field) => total + of(field), 0)
        const agreement =
          sum(({ agree }) => agree) / sum(({ agree, differ, missing, spurious }) => agree + differ + missing + spurious)
        const found = [matched / expected, p_matched / p_produced, agreement]
        expect({ log, found, least, enough: found.every((value, i) => value >= (least[i] as number)) }).toMatchObject({
          enough: true,
        })
      }
    },
  )
})
