/**
 * Ports that Zeek registers for its analyzers. They decide the direction of a flow whose beginning was not
 * seen (`likely_server_ports`) and are a guess at the protocol. Zeek's documentation, base/protocols/*.
 */

const TCP: Record<string, number[]> = {
  ftp: [21, 2811],
  ssh: [22],
  smtp: [25, 587],
  dns: [53],
  finger: [79],
  http: [80, 81, 631, 3128, 8000, 8080, 8888],
  krb_tcp: [88],
  pop3: [110],
  dce_rpc: [135],
  imap: [143],
  smb: [139, 445],
  ldap_tcp: [389, 3268],
  ssl: [443, 563, 585, 614, 636, 853, 989, 990, 992, 993, 995, 5223],
  modbus: [502],
  socks: [1080],
  mysql: [1434, 3306],
  mqtt: [1883],
  rdp: [3389],
  xmpp: [5222, 5269],
  postgresql: [5432],
  redis: [6379],
  irc: [6666, 6667, 6668, 6669],
  dnp3_tcp: [20000],
}

const UDP: Record<string, number[]> = {
  dns: [53, 137, 5353, 5355],
  dhcp: [67, 68, 4011],
  krb: [88],
  ntp: [123],
  snmp: [161, 162],
  ldap_udp: [389],
  quic: [443, 784],
  syslog: [514],
  radius: [1812],
  gtpv1: [2123, 2152],
  teredo: [3544],
  vxlan: [4789],
  sip: [5060],
  ayiya: [5072],
  geneve: [6081],
  dnp3_udp: [20000],
}

function byPort(table: Record<string, number[]>): Map<number, string> {
  return new Map(Object.entries(table).flatMap(([name, ports]) => ports.map((port) => [port, name] as const)))
}

const TCP_PORTS = byPort(TCP)
const UDP_PORTS = byPort(UDP)

/** The protocol that a port is registered for. */
export function portProtocol(isTcp: boolean, port: number): string | undefined {
  return (isTcp ? TCP_PORTS : UDP_PORTS).get(port)
}

const LIKELY_TCP = likely(TCP_PORTS)
const LIKELY_UDP = likely(UDP_PORTS)
// DHCP clients have a registered port too.
LIKELY_UDP[68] = 0

function likely(ports: Map<number, string>): Uint8Array {
  const table = new Uint8Array(65_536)
  for (const port of ports.keys()) table[port] = 1
  return table
}

export function isLikelyServer(isTcp: boolean, port: number): boolean {
  return (isTcp ? LIKELY_TCP : LIKELY_UDP)[port] === 1
}
