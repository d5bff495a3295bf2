/**
 * ICMP as flows, Zeek's way: the originator's "port" is the message type, the responder's the type of the
 * answer where there is one (echo and so on: request and reply are one flow), else the code.
 */

const ANSWERS_4 = new Map([
  [8, 0],
  [0, 8],
  [13, 14],
  [14, 13],
  [15, 16],
  [16, 15],
  [17, 18],
  [18, 17],
  [10, 9],
  [9, 10],
])

const ANSWERS_6 = new Map([
  [128, 129],
  [129, 128],
  [133, 134],
  [134, 133],
  [135, 136],
  [136, 135],
  [130, 131],
  [131, 130],
  [139, 140],
  [140, 139],
  [144, 145],
  [145, 144],
])

/** The type of the answer to `type` (or of what it answers), undefined for a one-way message. */
export function icmpAnswer(isV6: boolean, type: number): number | undefined {
  return (isV6 ? ANSWERS_6 : ANSWERS_4).get(type)
}
