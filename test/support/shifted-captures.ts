/** Captures that differ in their content and are alike in all else: one capture, its packets' times moved. */

import { readFileSync } from 'node:fs'

const HEADER_BYTES = 24
const RECORD_BYTES = 16
/** Little-endian pcap with microseconds, with nanoseconds. */
const MAGICS = [0xa1b2c3d4, 0xa1b23c4d]

export interface CaptureMaker {
  bytes: number
  /** With its first packet at this time: whole seconds since the epoch. */
  at(seconds: number): Buffer
}

/** @param repeat How often the packets come one after another in each capture. */
export function openCaptureMaker(path: string, repeat = 1): CaptureMaker {
  const file = readFileSync(path)
  if (!MAGICS.includes(file.readUInt32LE(0))) throw new Error(`${path} is no little-endian pcap`)
  const packets = file.subarray(HEADER_BYTES)
  const base = Buffer.concat([file.subarray(0, HEADER_BYTES), ...Array<Buffer>(repeat).fill(packets)])
  const places: number[] = []
  for (let at = HEADER_BYTES; at + RECORD_BYTES <= base.length; at += RECORD_BYTES + base.readUInt32LE(at + 8))
    places.push(at)
  const first = base.readUInt32LE(HEADER_BYTES)
  const perRound = places.length / repeat
  const span = base.readUInt32LE(places[perRound - 1] as number) - first + 1
  return {
    bytes: base.length,
    at(seconds) {
      const made = Buffer.from(base)
      for (const [i, at] of places.entries())
        made.writeUInt32LE(base.readUInt32LE(at) - first + seconds + Math.floor(i / perRound) * span, at)
      return made
    },
  }
}
