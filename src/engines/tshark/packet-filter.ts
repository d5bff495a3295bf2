/**
 * Zeek installs a packet filter, `ip or not ip`, before it reads. libpcap cannot compile one for link layers that
 * carry no IP of their own (802.15.4, USB, Bluetooth, CAN, …); that gives the one notice that default scripts write
 * of a capture.
 */

/** Link types for which libpcap (1.10.3) refuses the filter; NFLOG and mPackets, for which Zeek writes no notice, left out. */
const UNFILTERED = ranges(
  '106 110-111 115-116 118 120-121 124-126 128 139-162 169-177 182 184-191 193 195-199 201-225 227 230-231 235-237 242-273 275 277-289',
)

/** The record for the notice log; undefined where the filter can be installed. */
export function filterNotice(linkType: number): object | undefined {
  if (!UNFILTERED.has(linkType)) return undefined
  return {
    // Before the first packet: Zeek's clock has not begun.
    ts: 0,
    note: 'PacketFilter::Install_Failure',
    msg: 'Installing packet filter failed',
    sub: 'ip or not ip',
    actions: ['Notice::ACTION_LOG'],
    email_dest: [],
    suppress_for: 3600,
  }
}

function ranges(text: string): Set<number> {
  const numbers = new Set<number>()
  for (const range of text.split(' ')) {
    const [from = 0, to = from] = range.split('-').map(Number)
    for (let number = from; number <= to; number++) numbers.add(number)
  }
  return numbers
}
