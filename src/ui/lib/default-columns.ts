/** What a search shows of a log type before anybody chooses: who, with whom, and what makes the type worth reading. */

import type { KnownColumn } from './schema.ts'

const ENDS = ['src_ip', 'src_port', 'dst_ip', 'dst_port']

const OF_TYPE: Record<string, readonly string[]> = {
  conn: [...ENDS, 'protocol', 'service', 'conn_state', 'duration', 'orig_bytes', 'resp_bytes', 'history'],
  dns: ['src_ip', 'dst_ip', 'query', 'qtype_name', 'rcode_name', 'answers'],
  http: ['src_ip', 'dst_ip', 'method', 'host', 'uri', 'status_code', 'user_agent', 'response_body_len'],
  ssl: [...ENDS, 'server_name', 'version', 'cipher', 'established', 'ja3'],
  quic: [...ENDS, 'server_name', 'version', 'client_protocol'],
  files: ['src_ip', 'dst_ip', 'source', 'mime_type', 'filename', 'seen_bytes', 'sha256'],
  x509: ['certificate_subject', 'certificate_issuer', 'certificate_not_valid_after', 'san_dns'],
  ssh: [...ENDS, 'client', 'server', 'auth_success', 'auth_attempts'],
  dhcp: ['mac', 'host_name', 'assigned_ip', 'client_ip', 'server_ip', 'msg_types'],
  smtp: ['src_ip', 'dst_ip', 'mailfrom', 'rcptto', 'subject', 'last_reply'],
  ftp: ['src_ip', 'dst_ip', 'user', 'command', 'arg', 'reply_code', 'reply_msg'],
  weird: [...ENDS, 'name', 'addl'],
  notice: ['src_ip', 'dst_ip', 'note', 'msg', 'sub'],
  packet: ['frame_number', ...ENDS, 'protocols', 'frame_len', 'tcp_flags', 'info'],
  arp: ['operation', 'sender_mac', 'sender_ip', 'target_mac', 'target_ip'],
  ntp: ['src_ip', 'dst_ip', 'version', 'mode', 'stratum', 'ref_id'],
  snmp: ['src_ip', 'dst_ip', 'version', 'community', 'get_requests', 'set_requests'],
  sip: ['src_ip', 'dst_ip', 'method', 'uri', 'status_code', 'request_from', 'request_to'],
  rdp: [...ENDS, 'cookie', 'result', 'security_protocol', 'client_name'],
  smb_files: ['src_ip', 'dst_ip', 'action', 'path', 'name', 'size'],
  kerberos: ['src_ip', 'dst_ip', 'request_type', 'client', 'service', 'success', 'error_msg'],
  ntlm: ['src_ip', 'dst_ip', 'username', 'hostname', 'domainname', 'success'],
  dce_rpc: ['src_ip', 'dst_ip', 'endpoint', 'operation', 'named_pipe'],
  tunnel: [...ENDS, 'tunnel_type', 'action'],
  software: ['host', 'software_type', 'name', 'unparsed_version'],
  syslog: ['src_ip', 'dst_ip', 'facility', 'severity', 'message'],
  mysql: ['src_ip', 'dst_ip', 'cmd', 'arg', 'success', 'rows'],
  ldap: ['src_ip', 'dst_ip', 'opcode', 'object', 'result', 'diagnostic_message'],
}

/** Of a mixed list: the one that says most of an event; the first that has a value is shown. */
export const TELLING = [
  ...['query', 'host', 'server_name', 'certificate_subject', 'note', 'subject', 'filename', 'path', 'arg', 'mime_type'],
  ...['name', 'message', 'info', 'endpoint', 'username', 'client', 'conn_state'],
]

const HIDDEN = /^(event_|ingest_time|capture_id|source$|extra|watch_|year|month|day|hour|community_id|flow_id)/

/** The telling columns are asked for too: `summarize` shows them as one. */
export function defaultColumns(types: readonly string[], known: readonly KnownColumn[]): string[] {
  const has = new Set(known.map(({ name }) => name))
  const [only] = types
  if (types.length !== 1 || only === undefined) return [...ENDS, 'protocol', 'service'].filter((name) => has.has(name))
  const chosen = (OF_TYPE[only] ?? []).filter((name) => has.has(name))
  if (chosen.length > 2) return chosen
  return known
    .map(({ name }) => name)
    .filter((name) => !HIDDEN.test(name))
    .slice(0, 10)
}

/** Bytes first where people look for them. */
export const COMMON = ['capture_id', 'source', 'flow_id', 'community_id', 'direction']
