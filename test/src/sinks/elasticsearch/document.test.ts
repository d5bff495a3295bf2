import { beforeAll, describe, expect, it } from 'vitest'
import { openDocuments } from '../../../../src/sinks/elasticsearch/document.ts'
import { rules as functions } from '../../../../src/sinks/elasticsearch/mapping/rules.ts'
import { kindOfTarget, knownLogTypes, mapping, planOf } from '../../../../src/sinks/elasticsearch/mapping/table.ts'
import { templatesOf } from '../../../../src/sinks/elasticsearch/templates.ts'
import type { Flags } from '../../../../stages/event-flags.ts'
import { loadRules, type Rules } from '../../../../stages/upload/rules.ts'

let rules: Rules
let documents: ReturnType<typeof openDocuments>
beforeAll(async () => {
  rules = await loadRules({})
  documents = openDocuments({ rules, localNetworks: ['10.0.0.0/8', 'fd00::/8'] })
})

const ORIGIN = {
  eventId: 'e-1',
  source: 'lab',
  captureId: 'c'.repeat(64),
  captureName: 'a.pcap',
  ingested: '2026-01-01T00:00:00.000Z',
}
const FLOW = {
  ts: 1768435200.25,
  uid: 'C1',
  'id.orig_h': '10.0.0.1',
  'id.orig_p': 40000,
  'id.resp_h': '192.0.2.7',
  'id.resp_p': 443,
}

// biome-ignore lint/suspicious/noExplicitAny: a document, looked at
function documentOf(logType: string, record: Record<string, unknown>, flags?: Flags): any {
  return JSON.parse(documents.of(logType)({ ...FLOW, ...record }, { ...ORIGIN, flags }).text)
}

describe('documents', () => {
  it('carry the common part: times, endpoints, direction, Community ID, what is related, where it came from', () => {
    expect(documentOf('ssh', {})).toMatchObject({
      '@timestamp': '2026-01-15T00:00:00.250000Z',
      event: { id: 'e-1', kind: 'event', module: 'zeek', dataset: 'zeek.ssh', category: ['network', 'authentication'] },
      source: { ip: '10.0.0.1', address: '10.0.0.1', port: 40000 },
      destination: { ip: '192.0.2.7', port: 443 },
      client: { ip: '10.0.0.1' },
      network: {
        transport: 'tcp',
        iana_number: '6',
        type: 'ipv4',
        direction: 'outbound',
        protocol: 'ssh',
        community_id: expect.stringMatching(/^1:/),
      },
      related: { ip: ['10.0.0.1', '192.0.2.7'] },
      labels: { pcap_sha256: ORIGIN.captureId, pcap_name: 'a.pcap', source: 'lab' },
      observer: { name: 'lab' },
      zeek: { session_id: 'C1' },
    })
  })

  it('are in the index of the month of their event, whatever the time of loading; nonsense is undated', () => {
    const periodOf = (ts: unknown) => documents.of('conn')({ ...FLOW, ts }, ORIGIN).period
    expect(periodOf(1768435200)).toBe('2026.01')
    expect(periodOf('2026-02-01T00:00:00Z')).toBe('2026.02')
    expect(periodOf(0)).toBe('undated')
    expect(periodOf(9e10)).toBe('undated')
    expect(periodOf('soon')).toBe('undated')
  })

  it('conn: IP bytes on the endpoints, payload kept, tokens of the service, type by state', () => {
    const doc = documentOf('conn', {
      ...{ proto: 'tcp', service: 'SSL,http', duration: 1.5, conn_state: 'SF', local_orig: true, local_resp: false },
      ...{
        orig_bytes: 10,
        resp_bytes: 20,
        orig_ip_bytes: 100,
        resp_ip_bytes: 200,
        orig_pkts: 1,
        resp_pkts: 2,
        tunnel_parents: ['P'],
      },
      ...{ orig_l2_addr: '00:00:5e:00:53:23', vlan: 7 },
    })
    expect(doc).toMatchObject({
      event: { duration: 1_500_000_000, end: '2026-01-15T00:00:01.750000Z', type: ['connection', 'start', 'end'] },
      network: { protocol: ['ssl', 'http'], bytes: 300, packets: 3, vlan: { id: '7' } },
      source: { bytes: 100, packets: 1, mac: '00-00-5E-00-53-23' },
      zeek: { connection: { orig_bytes: 10, resp_bytes: 20, state: 'SF', tunnel_parents: ['P'], local_resp: false } },
      tags: ['local_orig'],
    })
    expect(documentOf('conn', { conn_state: 'REJ' }).event.type).toEqual(['connection', 'start', 'denied'])
  })

  it('of ICMP have types instead of ports', () => {
    const doc = documentOf('conn', { proto: 'icmp', 'id.orig_p': 8, 'id.resp_p': 0 })
    expect(doc.source).not.toHaveProperty('port')
    expect(doc.zeek.connection.icmp).toEqual({ type: 8, code: 0 })
    expect(
      documentOf('conn', {
        proto: 'icmp',
        'id.orig_h': 'fd00::1',
        'id.resp_h': 'fd00::2',
        'id.orig_p': 128,
        'id.resp_p': 0,
      }).network.iana_number,
    ).toBe('58')
  })

  it('dns: names, answers with their times to live even where these are fewer, and how it ended', () => {
    const doc = documentOf('dns', {
      ...{
        proto: 'udp',
        query: 'WWW.Example.co.uk.',
        qtype_name: 'A',
        qclass: 1,
        trans_id: 7,
        rcode: 0,
        rcode_name: 'NOERROR',
      },
      ...{ answers: ['192.0.2.1', 'alias.example.org'], TTLs: [60], AA: false, RD: true, RA: true, rtt: 0.001 },
    })
    expect(doc.dns).toMatchObject({
      id: '7',
      type: 'answer',
      question: {
        name: 'www.example.co.uk',
        registered_domain: 'example.co.uk',
        subdomain: 'www',
        top_level_domain: 'co.uk',
        class: 'IN',
        type: 'A',
      },
      answers: [{ data: '192.0.2.1', ttl: 60 }, { data: 'alias.example.org' }],
      resolved_ip: ['192.0.2.1'],
      header_flags: ['RD', 'RA'],
    })
    expect(doc.event).toMatchObject({ outcome: 'success', duration: 1_000_000 })
    expect(doc.related.hosts).toEqual(['www.example.co.uk'])
    expect(documentOf('dns', { rcode: 3, rcode_name: 'NXDOMAIN' }).event.outcome).toBe('failure')
    expect(documentOf('dns', { rejected: true, rcode_name: 'NOERROR' }).event.outcome).toBe('failure')
    expect(documentOf('dns', { query: 'x' }).event.outcome).toBe('unknown')
  })

  it('http: the URL in parts and as a whole, and no password', () => {
    const doc = documentOf('http', {
      ...{ 'id.resp_p': 8080, method: 'GET', host: 'www.example.org', uri: '/a/b.PHP?q=1#f', status_code: 404 },
      ...{ username: 'ann', password: 'secret', resp_mime_types: ['text/html'], user_agent: 'x/1' },
    })
    expect(doc.url).toEqual({
      ...{
        domain: 'www.example.org',
        original: '/a/b.PHP?q=1#f',
        path: '/a/b.PHP',
        query: 'q=1',
        fragment: 'f',
        extension: 'php',
      },
      ...{ full: 'http://www.example.org:8080/a/b.PHP?q=1#f', scheme: 'http', port: 8080, username: 'ann' },
    })
    expect(doc).toMatchObject({
      network: { protocol: 'http' },
      event: { action: 'GET', outcome: 'failure' },
      user: { name: 'ann' },
    })
    expect(doc.http).toMatchObject({ response: { status_code: 404, mime_type: 'text/html' } })
    expect(JSON.stringify(doc)).not.toContain('secret')
    expect(documentOf('http', { host: '192.0.2.7', uri: '/' }).destination).not.toHaveProperty('domain')
  })

  it('ssl: the server name, version, DTLS over UDP, names of certificates with escapes and repeated parts', () => {
    const doc = documentOf('ssl', {
      ...{
        version: 'TLSv13',
        server_name: 'Secure.example.org',
        established: true,
        cert_chain_fps: ['ab'.repeat(32), 'cd'.repeat(32)],
      },
      subject: 'CN=a\\, b,OU=one+OU=two,O="Quoted, Inc",C=DE',
    })
    expect(doc.tls).toMatchObject({
      version: '1.3',
      version_protocol: 'tls',
      established: true,
      client: { server_name: 'Secure.example.org' },
    })
    expect(doc.tls.server.hash.sha256).toBe('ab'.repeat(32))
    expect(doc.tls.server.x509.subject).toMatchObject({
      common_name: ['a, b'],
      organizational_unit: ['one', 'two'],
      organization: ['Quoted, Inc'],
      country: ['DE'],
    })
    expect(doc).toMatchObject({
      network: { protocol: 'tls', transport: 'tcp' },
      destination: { domain: 'secure.example.org' },
      event: { outcome: 'success' },
    })
    expect(documentOf('ssl', { version: 'DTLSv12' }).network).toMatchObject({ protocol: 'dtls', transport: 'udp' })
  })

  it('files: sender and receiver by direction, of records of either generation of Zeek', () => {
    const now = documentOf('files', {
      fuid: 'F1',
      source: 'SSL',
      is_orig: true,
      seen_bytes: 5,
      filename: 'C:\\dir\\evil.EXE',
      missing_bytes: 3,
    })
    expect(now).toMatchObject({
      source: { ip: '10.0.0.1' },
      network: { protocol: 'tls' },
      file: { name: 'evil.EXE', extension: 'exe', size: 5 },
      event: { outcome: 'failure' },
      tags: ['file_size_seen'],
      zeek: { files: { fuid: 'F1', tx_host: '10.0.0.1', rx_host: '192.0.2.7' } },
    })
    const { text } = documents.of('files')(
      { ts: 1, fuid: 'F', tx_hosts: ['192.0.2.9'], rx_hosts: ['10.0.0.9'], conn_uids: ['C9'] },
      ORIGIN,
    )
    expect(JSON.parse(text)).toMatchObject({
      zeek: { session_id: 'C9', files: { tx_host: '192.0.2.9', rx_host: '10.0.0.9' } },
      related: { ip: ['192.0.2.9', '10.0.0.9'] },
    })
  })

  it('kerberos: the principal is cut at its last slash, machine accounts are hosts, the transport is not guessed', () => {
    const doc = documentOf('kerberos', {
      client: 'host/web.example.org/EXAMPLE.ORG',
      service: 'HTTP/web.example.org/EXAMPLE.ORG',
      success: false,
      error_msg: 'KDC_ERR',
    })
    expect(doc).toMatchObject({
      user: { name: 'host/web.example.org', domain: 'EXAMPLE.ORG' },
      destination: { domain: 'web.example.org' },
      event: { outcome: 'failure', reason: 'KDC_ERR' },
    })
    expect(doc.network).not.toHaveProperty('transport')
    expect(documentOf('kerberos', { client: 'PC7$/EXAMPLE.ORG', service: 'krbtgt/EXAMPLE.ORG' }).related.hosts).toEqual(
      ['pc7'],
    )
  })

  it('smb_files: the type by the action, the path whole', () => {
    const doc = documentOf('smb_files', {
      action: 'SMB::FILE_DELETE',
      path: '\\\\srv\\share',
      name: 'a\\b.doc',
      'times.modified': 1768435200,
    })
    expect(doc.event).toMatchObject({ action: 'SMB::FILE_DELETE', type: ['connection', 'protocol', 'deletion'] })
    expect(doc.file).toMatchObject({
      directory: '\\\\srv\\share',
      name: 'b.doc',
      path: '\\\\srv\\share\\a\\b.doc',
      mtime: '2026-01-15T00:00:00.000000Z',
    })
  })

  it('x509: the fingerprint as the hash, all alternative names, the algorithm by one name', () => {
    const doc = documentOf('x509', {
      ...{ fingerprint: 'ab'.repeat(32), 'certificate.sig_alg': 'sha256WithRSAEncryption', 'certificate.version': 3 },
      ...{ 'san.dns': ['a.example.org'], 'san.ip': ['192.0.2.1'], 'basic_constraints.ca': true },
    })
    expect(doc.file).toMatchObject({
      hash: { sha256: 'ab'.repeat(32) },
      x509: {
        signature_algorithm: 'SHA256-RSA',
        version_number: '3',
        alternative_names: ['a.example.org', '192.0.2.1'],
      },
    })
    expect(doc.zeek.x509.basic_constraints).toEqual({ ca: true })
  })

  it('notice is an alert; watch lists are labels, a rule and a tag', () => {
    expect(documentOf('notice', { note: 'Scan::Port_Scan', msg: 'many ports', src: '10.0.0.9' })).toMatchObject({
      event: { kind: 'alert', category: ['intrusion_detection'] },
      rule: { name: 'Scan::Port_Scan', description: 'many ports' },
      source: { ip: '10.0.0.9' },
    })
    const flags = { watch_employee: ['100'], watch_list: ['employees', 'bad'], watch_reason: ['mac', 'ip'] }
    expect(documentOf('dns', {}, flags)).toMatchObject({
      labels: { watchlist: ['employees', 'bad'], watch_employee: ['100'] },
      rule: { ruleset: ['employees', 'bad'], name: ['mac', 'ip'] },
      tags: ['watchlist'],
      related: { user: ['100'] },
    })
    const forged = documentOf('dns', { watch_list: 'staff', watch_employee: ['100'] })
    expect([forged.tags, forged.labels.watchlist, forged.related?.user]).toEqual([undefined, undefined, undefined])
    expect(forged.zeek.extra).toEqual({ watch_list: 'staff', watch_employee: '["100"]' })
  })

  it('keep values that do not fit and fields that nobody knows, where they can hurt nothing', () => {
    const doc = documentOf('conn', {
      'id.resp_h': 'not an address',
      orig_bytes: 'many',
      new_field: { deep: [1] },
      'id.resp_p': 70000,
      __proto__x: 1,
    })
    expect(doc.zeek.extra).toEqual({
      'id.resp_h': 'not an address',
      orig_bytes: 'many',
      'new_field.deep': [1],
      'id.resp_p': 70000,
      __proto__x: 1,
    })
    expect(doc.tags).toContain('invalid_field')
    expect(doc).not.toHaveProperty('destination')
    const other = documentOf('no_such_log', { colour: 'red', size: { x: 1 } })
    expect(other).toMatchObject({
      event: { dataset: 'zeek.no_such_log' },
      zeek: { no_such_log: { colour: 'red', 'size.x': 1 } },
    })
    expect(documentOf('session_id', { a: 1 }).zeek).toEqual({ session_id: 'C1', log_session_id: { a: 1 } })
  })

  it('take names that mean something to JavaScript for names', () => {
    for (const logType of ['constructor', '__proto__', 'extra'])
      expect(documentOf(logType, { a: 1 }).zeek).toHaveProperty(`log_${logType}`, { a: 1 })
    const doc = JSON.parse(
      documents.of('conn')(JSON.parse('{"ts":1,"__proto__":{"x":1},"constructor":"c"}'), ORIGIN).text,
    )
    expect(doc.zeek.extra).toMatchObject({ '__proto__.x': 1, constructor: 'c' })
    expect({}).not.toHaveProperty('x')
  })

  it('read nested records as they read flat ones', () => {
    const { text } = documents.of('x509')(
      { ts: 1768435200, certificate: { serial: '01', subject: 'CN=x' }, san: { dns: ['a.example'] } },
      ORIGIN,
    )
    expect(JSON.parse(text).file.x509).toMatchObject({
      serial_number: '01',
      subject: { common_name: ['x'] },
      alternative_names: ['a.example'],
    })
  })

  it('survive any value in any field', () => {
    const values = [
      null,
      '',
      0,
      -1,
      1e300,
      true,
      [],
      [null],
      [[]],
      {},
      { a: { b: [] } },
      'x'.repeat(5000),
      '\ud800',
      [1, 'a'],
      Number.MAX_SAFE_INTEGER,
    ]
    for (const logType of knownLogTypes(rules))
      for (const value of values) {
        const fields = [...planOf(rules, logType).steps.keys(), ...Object.keys(FLOW), 'proto']
        const { text } = documents.of(logType)(Object.fromEntries(fields.map((field) => [field, value])), ORIGIN)
        expect(JSON.parse(text).event.id).toBe('e-1')
      }
  })
})

describe('the mapping', () => {
  it('names only rules and fields that are there, for every log type', () => {
    for (const logType of knownLogTypes(rules)) {
      expect(() => documents.of(logType)({}, ORIGIN), logType).not.toThrow()
      const plan = planOf(rules, logType)
      for (const { target, rule } of [...plan.steps.values(), plan.derive].flat()) {
        if (rule !== undefined) expect(functions, `${logType}: ${rule}`).toHaveProperty(rule)
        const isKnown = kindOfTarget(plan, target) ?? (['url', 'dns.answers'].includes(target) || undefined)
        expect(isKnown, `${logType}: ${target}`).toBeDefined()
      }
    }
  })

  it('covers the logs that people search', () => {
    const wanted =
      'conn dns http ssl x509 files ssh ftp smtp dhcp rdp smb_files smb_mapping smb_cmd dce_rpc kerberos ntlm sip snmp radius tunnel notice weird quic ntp mqtt_connect mqtt_publish mqtt_subscribe modbus dnp3 ldap ldap_search mysql packet'
    expect(Object.keys(mapping.logs)).toEqual(expect.arrayContaining(wanted.split(' ')))
  })

  it('has templates that are strict about types and grow by nothing', () => {
    const { indices, components } = templatesOf(rules, { prefix: 'pcap', shards: 1 })
    expect(indices['pcap-log-conn']?.template.mappings.dynamic).toBe(false)
    const ecs = components['pcap-ecs']?.template.mappings.properties
    expect(ecs.source.properties.ip).toEqual({ type: 'ip' })
    expect(ecs.event.properties.duration).toEqual({ type: 'long' })
    expect(ecs.zeek.properties.extra).toEqual({ type: 'flattened', ignore_above: 1024 })
    const own = indices['pcap-log-conn']?.template.mappings.properties.zeek.properties.connection.properties
    expect(own.orig_bytes).toEqual({ type: 'long' })
    const text = JSON.stringify({ indices, components })
    for (const type of ['wildcard', 'constant_keyword', 'match_only_text', 'scaled_float', 'unsigned_long'])
      expect(text).not.toContain(`"${type}"`)
  })
})
