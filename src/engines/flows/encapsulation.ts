/**
 * The tunnels that the packet in hand came through, and the tunnel log. A tunnel over UDP has the uid of its
 * flow; one over IP (GRE, IP in IP) has none and gets its own. It is logged when a flow inside it begins.
 */

import type { TunnelEvent } from './types.ts'
import { textUid } from './uid.ts'

export interface TunnelRef {
  uid: string
  type: string
  origAddress: string
  origPort: number
  respAddress: string
  respPort: number
  logged: boolean
  lastTime: number
}

/** As `Tunnel::ip_tunnel_timeout`, seconds. */
const IP_TUNNEL_TIMEOUT = 86_400
const MAX_IP_TUNNELS = 50_000
/** Deeper nesting is nobody's network. */
export const MAX_DEPTH = 12

export class Encapsulation {
  private readonly refs: TunnelRef[] = []
  private readonly ipTunnels = new Map<string, TunnelRef>()
  private readonly captureId: string
  private readonly tell: ((event: TunnelEvent) => void) | undefined
  /** uid of the innermost tunnel, '' outside of any. */
  current = ''

  constructor(captureId: string, tell: ((event: TunnelEvent) => void) | undefined) {
    this.captureId = captureId
    this.tell = tell
  }

  clear(): void {
    if (this.current === '') return
    this.refs.length = 0
    this.current = ''
  }

  get depth(): number {
    return this.refs.length
  }

  /** What kind the innermost tunnel is; undefined outside of any. */
  get type(): string | undefined {
    return this.refs[this.refs.length - 1]?.type
  }

  push(ref: TunnelRef, time: number): void {
    ref.lastTime = time
    this.refs.push(ref)
    this.current = ref.uid
  }

  pop(): void {
    this.refs.pop()
    this.current = this.refs[this.refs.length - 1]?.uid ?? ''
  }

  /** The tunnel between two addresses, whichever sent; it begins when it has been silent for a day. */
  ipTunnel(src: string, dst: string, type: string, time: number): TunnelRef {
    const key = src < dst ? `${src} ${dst}` : `${dst} ${src}`
    const known = this.ipTunnels.get(key)
    if (known && time - known.lastTime < IP_TUNNEL_TIMEOUT) return known
    if (this.ipTunnels.size >= MAX_IP_TUNNELS) {
      const oldest = this.ipTunnels.keys().next().value
      if (oldest !== undefined) this.ipTunnels.delete(oldest)
    }
    const uid = textUid(this.captureId, `tunnel ${key} ${time}`)
    const ref = {
      uid,
      type,
      origAddress: src,
      origPort: 0,
      respAddress: dst,
      respPort: 0,
      logged: false,
      lastTime: time,
    }
    this.ipTunnels.set(key, ref)
    return ref
  }

  /** A flow begins inside the tunnels in hand, or has come into them. */
  register(time: number): void {
    for (const ref of this.refs) {
      if (ref.logged) continue
      ref.logged = true
      this.log(ref, 'Tunnel::DISCOVER', time)
    }
  }

  close(ref: TunnelRef, time: number): void {
    if (ref.logged) this.log(ref, 'Tunnel::CLOSE', time)
  }

  private log(ref: TunnelRef, action: TunnelEvent['action'], time: number): void {
    const { uid, type, origAddress, origPort, respAddress, respPort } = ref
    this.tell?.({ time, uid, origAddress, origPort, respAddress, respPort, type, action })
  }
}
