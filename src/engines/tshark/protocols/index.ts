/** All protocols. A new one is a file here and a line in this list. */

import { dceRpc } from './dce-rpc.ts'
import { dhcp } from './dhcp.ts'
import { dnp3Tcp, dnp3Udp } from './dnp3.ts'
import { dns } from './dns.ts'
import { ftp, ftpData } from './ftp.ts'
import { http } from './http.ts'
import { irc, ircData } from './irc.ts'
import { krb, krbTcp } from './kerberos.ts'
import { ldapTcp, ldapUdp } from './ldap.ts'
import { modbus } from './modbus.ts'
import { mqtt } from './mqtt.ts'
import { mysql } from './mysql.ts'
import { ntp } from './ntp.ts'
import { pop3 } from './pop3.ts'
import { postgresql } from './postgresql.ts'
import type { Protocol } from './protocol.ts'
import { quic } from './quic.ts'
import { radius } from './radius.ts'
import { rdp, rdpeudp } from './rdp.ts'
import { redis } from './redis.ts'
import { rfb } from './rfb.ts'
import { sip } from './sip.ts'
import { smb } from './smb.ts'
import { smtp } from './smtp.ts'
import { snmp } from './snmp.ts'
import { socks } from './socks.ts'
import { ssh } from './ssh.ts'
import { imap, xmpp } from './starttls.ts'
import { syslog } from './syslog.ts'
import { dtls, ssl } from './tls.ts'
import { websocket } from './websocket.ts'

export const PROTOCOLS: readonly Protocol[] = [
  dns,
  http,
  ssl,
  dtls,
  ssh,
  ftp,
  ftpData,
  smtp,
  dhcp,
  ntp,
  sip,
  snmp,
  syslog,
  radius,
  krb,
  krbTcp,
  irc,
  ircData,
  socks,
  mysql,
  modbus,
  dnp3Tcp,
  dnp3Udp,
  quic,
  websocket,
  dceRpc,
  smb,
  ldapTcp,
  ldapUdp,
  rdp,
  rdpeudp,
  rfb,
  redis,
  postgresql,
  mqtt,
  imap,
  pop3,
  xmpp,
]
