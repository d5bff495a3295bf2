/** Capture files made by hand, byte by byte. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type ReadResult, readCapture } from '../../../src/capture/reader.ts'

export interface Record {
  seconds: number
  /** Microseconds or nanoseconds, as the file has them. */
  fraction?: number
  data: Buffer
  origLen?: number
  capLen?: number
}

export function u16(value: number, little = true): Buffer {
  const bytes = Buffer.alloc(2)
  if (little) bytes.writeUInt16LE(value)
  else bytes.writeUInt16BE(value)
  return bytes
}

export function u32(value: number, little = true): Buffer {
  const bytes = Buffer.alloc(4)
  if (little) bytes.writeUInt32LE(value >>> 0)
  else bytes.writeUInt32BE(value >>> 0)
  return bytes
}

export interface PcapOptions {
  little?: boolean
  magic?: number
  linkType?: number
}

export function pcapHeader({ little = true, magic = 0xa1b2c3d4, linkType = 1 }: PcapOptions = {}): Buffer {
  const word = (value: number) => u32(value, little)
  return Buffer.concat([word(magic), u16(2, little), u16(4, little), word(0), word(0), word(262_144), word(linkType)])
}

export function pcapRecord({ seconds, fraction = 0, data, origLen, capLen }: Record, little = true, extra = 0): Buffer {
  const word = (value: number) => u32(value, little)
  const header = [word(seconds), word(fraction), word(capLen ?? data.length), word(origLen ?? data.length)]
  return Buffer.concat([...header, Buffer.alloc(extra), data])
}

export function pcap(records: Record[], options: PcapOptions = {}): Buffer {
  const extra = options.magic === 0xa1b2cd34 ? 8 : 0
  return Buffer.concat([pcapHeader(options), ...records.map((record) => pcapRecord(record, options.little, extra))])
}

export function block(type: number, body: Buffer, little = true): Buffer {
  const padded = Buffer.concat([body, Buffer.alloc((4 - (body.length % 4)) % 4)])
  const length = u32(padded.length + 12, little)
  return Buffer.concat([u32(type, little), length, padded, length])
}

export function section(little = true): Buffer {
  const body = Buffer.concat([u32(0x1a2b3c4d, little), u16(1, little), u16(0, little), Buffer.alloc(8, 0xff)])
  return block(0x0a0d0d0a, body, little)
}

export interface InterfaceOptions {
  linkType?: number
  snapLen?: number
  tsresol?: number
  tsoffset?: bigint
}

export function iface({ linkType = 1, snapLen = 0, tsresol, tsoffset }: InterfaceOptions = {}, little = true): Buffer {
  const parts = [u16(linkType, little), u16(0), u32(snapLen, little)]
  if (tsresol !== undefined) parts.push(u16(9, little), u16(1, little), Buffer.from([tsresol, 0, 0, 0]))
  if (tsoffset !== undefined) {
    const offset = Buffer.alloc(8)
    if (little) offset.writeBigInt64LE(tsoffset)
    else offset.writeBigInt64BE(tsoffset)
    parts.push(u16(14, little), u16(8, little), offset)
  }
  return block(1, Buffer.concat(parts), little)
}

export function enhanced(id: number, units: bigint, data: Buffer, origLen = data.length, little = true): Buffer {
  const word = (value: number) => u32(value, little)
  const time = [word(Number(units >> 32n)), word(Number(units & 0xffff_ffffn))]
  return block(6, Buffer.concat([word(id), ...time, word(data.length), word(origLen), data]), little)
}

/** A directory that goes with the test. */
export async function scratch(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'capture-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

export interface Seen {
  time: string
  linkType: number
  origLen: number
  number: number
  data: string
}

/** Reads a file that has these bytes. */
export async function readBytes(bytes: Buffer): Promise<{ seen: Seen[]; result: ReadResult }> {
  const path = join(await scratch(), 'test.cap')
  await writeFile(path, bytes)
  return readFile(path)
}

export async function readFile(path: string): Promise<{ seen: Seen[]; result: ReadResult }> {
  const seen: Seen[] = []
  const result = await readCapture(path, {
    onPacket({ buffer, offset, capLen, origLen, seconds, nanos, linkType, number }) {
      const data = buffer.toString('latin1', offset, offset + capLen)
      seen.push({ time: `${seconds}.${String(nanos).padStart(9, '0')}`, linkType, origLen, number, data })
    },
  })
  return { seen, result }
}
