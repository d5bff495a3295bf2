/**
 * Beside a shard: for each of its packets, in order, the entry that the flow table gave it (`FlowEntry`), four
 * bytes little-endian. So `frame.number` n of an engine that reads the shard is the entry at (n - 1) * 4.
 */

import { readFile } from 'node:fs/promises'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import { type FlowEntry, NO_FLOW } from './types.ts'

/** The entries of a sidecar. Throws `artifact_missing`, or `artifact_damaged` when it ends within an entry. */
export async function readSidecar(path: string): Promise<Uint32Array> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new PipelineError('artifact_missing', `cannot read the sidecar ${path}: ${messageOf(cause)}`, { cause })
  })
  if (bytes.length % 4 !== 0) {
    throw new PipelineError(
      'artifact_damaged',
      `the sidecar ${path} has ${bytes.length} bytes, which is no multiple of 4`,
    )
  }
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32LE(i * 4))
}

/** Index of the flow, undefined for a packet in none. */
export function flowIndexOf(entry: FlowEntry): number | undefined {
  return entry === NO_FLOW ? undefined : Math.floor(entry / 2)
}

/** Whether the packet was sent by the flow's originator. */
export function isFromOriginator(entry: FlowEntry, firstIsOrig: boolean): boolean {
  return (entry % 2 === 1) === firstIsOrig
}
