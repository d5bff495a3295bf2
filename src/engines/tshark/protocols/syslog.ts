/** Syslog over UDP (RFC 3164, 5424): one syslog record a datagram. */

import type { Protocol } from './protocol.ts'
import { textOf } from './text.ts'

const FACILITIES = `KERN USER MAIL DAEMON AUTH SYSLOG LPR NEWS UUCP CRON AUTHPRIV FTP NTP AUDIT ALERT CLOCK
  LOCAL0 LOCAL1 LOCAL2 LOCAL3 LOCAL4 LOCAL5 LOCAL6 LOCAL7`.split(/\s+/)
const SEVERITIES = 'EMERG ALERT CRIT ERR WARNING NOTICE INFO DEBUG'.split(' ')
const UNSPECIFIED = 'UNSPECIFIED'
const UNKNOWN = '?'
/** `<134>`: eight times the facility plus the severity (RFC 5424, 6.2.1). */
const PRIORITY = /^<(\d{1,5})>/

export const syslog: Protocol = {
  name: 'syslog',
  logs: ['syslog'],
  udpPorts: [514],
  dissect: (session) => ({
    data(_fromOriginator, bytes, ts) {
      if (session.flow.transport !== 'udp') return
      const match = PRIORITY.exec(bytes.subarray(0, 8).toString('latin1'))
      const priority = match === null ? undefined : Number(match[1])
      session.emit('syslog', ts, {
        proto: session.flow.transport,
        facility: priority === undefined ? UNSPECIFIED : (FACILITIES[priority >> 3] ?? UNKNOWN),
        severity: priority === undefined ? UNSPECIFIED : SEVERITIES[priority & 7],
        message: textOf(bytes.subarray(match?.[0].length ?? 0)),
      })
    },
  }),
}
