/**
 * `npm run bench -- convert [--size 250MB] [--runs 3] [--capture FILE]`: packets a second and CPU seconds of our
 * conversion, beside (a) one tshark that writes the same kind of fields, and (b) `tshark -T ek` as it stands. The runs
 * are interleaved; what counts is the median.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { readCapture } from '../../src/capture/reader.ts'
import { makeBigCapture } from '../support/big-capture.ts'
import { type Measured, measure } from '../support/measure.ts'

const COMPILED = join(import.meta.dirname, '../../dist/src/main.js')

/** What the logs are made of: protocol → its fields. */
const FIELDS: Record<string, string> = {
  frame: 'number time_epoch',
  ip: 'src dst',
  ipv6: 'src dst',
  tcp: 'stream srcport dstport flags len',
  udp: 'stream srcport dstport length',
  dns: 'id flags.response flags.opcode flags.authoritative flags.truncated flags.recdesired flags.recavail flags.rcode qry.name qry.type qry.class resp.name resp.type resp.ttl a aaaa cname ns mx.mail_exchange txt ptr.domain_name',
  http: 'request.method request.uri request.version host user_agent referer response.code response.phrase response.version content_length content_type cookie authorization location',
  tls: 'handshake.type handshake.version handshake.ciphersuite handshake.extensions_server_name handshake.extensions_alpn_str handshake.certificate handshake.session_id record.content_type alert_message.desc handshake.ja3',
  ssh: 'protocol message_code kex_algorithms server_host_key_algorithms encryption_algorithms_client_to_server',
  ftp: 'request.command request.arg response.code response.arg',
  smtp: 'req.command req.parameter response.code rsp.parameter',
  dhcp: 'type id hw.mac_addr ip.client ip.your option.hostname option.dhcp',
  smb2: 'cmd nt_status msg_id sesid tid filename tree',
  kerberos: 'msg_type CNameString SNameString realm error_code',
  ntp: 'flags.vn flags.mode stratum ppoll precision rootdelay refid',
  snmp: 'version community',
  sip: 'Method r-uri Call-ID From To Status-Code User-Agent',
  radius: 'code id User_Name',
  rdp: 'rt_cookie',
  mqtt: 'msgtype clientid topic',
  syslog: 'facility level msg',
}
const FILTER = Object.keys(FIELDS).slice(5).join(' or ')

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '250MB' },
    runs: { type: 'string', default: '3' },
    capture: { type: 'string' },
    main: { type: 'string', default: COMPILED },
  },
})
const dir = mkdtempSync(join(tmpdir(), 'bench-convert-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
const capture = values.capture ?? makeBigCapture(join(dir, 'big.pcap'), values.size)
const { packets } = await readCapture(capture, { onPacket: () => {} })

const fields = Object.entries(FIELDS).flatMap(([name, list]) => list.split(' ').map((field) => `${name}.${field}`))
const bare = ['-r', capture, '-n', '-o', 'tcp.reassemble_out_of_order:TRUE', '--enable-heuristic', 'teredo_udp']
const commands: Record<string, [string, string[]]> = {
  ours: [process.execPath, [values.main, 'convert', capture, '--engine', 'tshark', '--out', join(dir, 'out')]],
  '(a) tshark, fields': ['tshark', [...bare, '-Y', FILTER, '-T', 'ek', ...fields.flatMap((field) => ['-e', field])]],
  '(b) tshark -T ek': ['tshark', ['-r', capture, '-T', 'ek']],
}
const results: Record<string, Measured[]> = Object.fromEntries(Object.keys(commands).map((name) => [name, []]))

console.log(`${packets} packets, ${fields.length} fields; load before: ${loadavg()[0]?.toFixed(1)}`)
for (let run = 1; run <= Number(values.runs); run++)
  for (const [name, [command, args]] of Object.entries(commands)) {
    const measured = await measure(command, args)
    if (measured.code !== 0)
      throw new Error(`${name} ended with ${measured.code}: ${command} ${args.join(' ').slice(0, 300)}`)
    results[name]?.push(measured)
    console.log(`run ${run}, ${name}: ${told(measured)}`)
  }

const median = (name: string): Measured => {
  const runs = [...(results[name] ?? [])].sort((a, b) => a.seconds - b.seconds)
  return runs[runs.length >> 1] as Measured
}
const ours = median('ours')
for (const name of Object.keys(commands)) {
  const measured = median(name)
  const [wall, cpu] = [ours.seconds / measured.seconds, ours.cpuSeconds / measured.cpuSeconds]
  console.log(
    `median, ${name}: ${told(measured)}; ours takes ${wall.toFixed(2)} of its wall time, ${cpu.toFixed(2)} of its CPU time`,
  )
}
console.log(`load after: ${loadavg()[0]?.toFixed(1)}`)

function told({ seconds, cpuSeconds, peakRssMb }: Measured): string {
  return `${Math.round(packets / seconds)} packets/s, ${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(2)} CPU s, ${peakRssMb} MB`
}
