/** conn_state and sizes of a flow, from the state of its sides. Zeek's documentation of conn.log. */

import {
  ACTIVE,
  CLOSED,
  ESTABLISHED,
  INACTIVE,
  type LiveFlow,
  PARTIAL,
  RESET,
  type Side,
  SYN_ACK_SENT,
  SYN_SENT,
} from './live-flow.ts'

const TCP = 6
const UDP = 17

export function connState(flow: LiveFlow): string {
  if (flow.protocol === TCP) return tcpState(flow)
  if (flow.protocol === UDP) return udpState(flow)
  return 'OTH'
}

function udpState({ orig, resp }: LiveFlow): string {
  if (orig.state === ACTIVE) return resp.state === ACTIVE ? 'SF' : 'S0'
  return resp.state === ACTIVE ? 'SHR' : 'OTH'
}

/** An endpoint of which no more than the middle was seen. */
function unseen({ state }: Side): boolean {
  return state === INACTIVE || state === PARTIAL
}

function tcpState(flow: LiveFlow): string {
  const { orig, resp } = flow
  if (resp.state === RESET) return resetByResponder(flow)
  if (orig.state === RESET) return resetByOriginator(flow)
  if (orig.state === CLOSED) {
    if (resp.state === CLOSED) return 'SF'
    return unseen(resp) ? 'SH' : 'S2'
  }
  if (resp.state === CLOSED) return unseen(orig) ? 'SHR' : 'S3'
  if (orig.state === SYN_SENT && resp.state === INACTIVE) return 'S0'
  return orig.state === ESTABLISHED && resp.state === ESTABLISHED ? 'S1' : 'OTH'
}

function resetByResponder({ orig, resp }: LiveFlow): string {
  if (orig.state === SYN_SENT || orig.state === SYN_ACK_SENT) return 'REJ'
  if (orig.state === RESET && payloadBytes(orig) === 0 && payloadBytes(resp) === 0) return 'REJ'
  return unseen(orig) ? 'RSTRH' : 'RSTR'
}

/** RSTOS0: a SYN, then a RST, and nothing else. */
function resetByOriginator({ resp, history }: LiveFlow): string {
  if (!unseen(resp)) return 'RSTO'
  return resp.state === INACTIVE && /^S[SWTC]*[RQI]/.test(history) ? 'RSTOS0' : 'OTH'
}

/** Payload bytes of one side of a TCP flow, by sequence numbers: SYN and FIN do not count. */
export function payloadBytes(side: Side): number {
  if (!side.started) return 0
  return Math.max(0, Math.max(side.high, side.acked) - 1 - (side.fins > 0 ? 1 : 0))
}
