/** A flow as a line of Zeek's conn log: default columns, in Zeek's order and number format. */

import { jsonNumber, jsonTime } from './json.ts'
import type { Flow } from './types.ts'

export interface ConnOptions {
  /** Columns that Zeek writes only with policy scripts. */
  communityId?: string
  l2?: boolean
  vlan?: boolean
}

/**
 * One JSON object, without a line end. `services` are the application protocols that were confirmed, in the
 * order in which they were.
 */
export function formatConn(
  flow: Flow,
  services: readonly string[],
  { communityId, l2, vlan }: ConnOptions = {},
): string {
  const { orig, resp } = flow
  let line = `{"ts":${jsonTime(flow.startTime)},"uid":"${flow.uid}","id.orig_h":"${orig.address}","id.orig_p":${orig.port}`
  line += `,"id.resp_h":"${resp.address}","id.resp_p":${resp.port},"proto":"${flow.transport}"`
  const all = flow.tunnelService === undefined ? services : [...new Set([flow.tunnelService, ...services])]
  if (all.length > 0) line += `,"service":${JSON.stringify(all.join(','))}`
  if (flow.duration > 0) {
    line += `,"duration":${jsonNumber(flow.duration)},"orig_bytes":${orig.bytes},"resp_bytes":${resp.bytes}`
  }
  line += `,"conn_state":"${flow.connState}","local_orig":${flow.localOrig},"local_resp":${flow.localResp}`
  line += `,"missed_bytes":${flow.missedBytes}`
  if (flow.history !== '') line += `,"history":"${flow.history}"`
  line += `,"orig_pkts":${orig.packets},"orig_ip_bytes":${orig.ipBytes},"resp_pkts":${resp.packets},"resp_ip_bytes":${resp.ipBytes}`
  if (flow.tunnelParents.length > 0) line += `,"tunnel_parents":${JSON.stringify(flow.tunnelParents)}`
  line += `,"ip_proto":${flow.ipProto}`
  if (l2 && orig.l2 !== undefined) line += `,"orig_l2_addr":"${orig.l2}"`
  if (l2 && resp.l2 !== undefined) line += `,"resp_l2_addr":"${resp.l2}"`
  if (vlan && flow.vlan !== undefined) line += `,"vlan":${flow.vlan}`
  if (vlan && flow.innerVlan !== undefined) line += `,"inner_vlan":${flow.innerVlan}`
  if (communityId !== undefined) line += `,"community_id":"${communityId}"`
  return `${line}}`
}
