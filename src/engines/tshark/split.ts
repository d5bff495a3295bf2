/**
 * A large capture into its parts, one file each (spool.ts), in one pass. In: the capture. Out: the files, and what the
 * reader says of the capture.
 */

import { join } from 'node:path'
import type { PacketAccount } from '../../../state/capture.ts'
import { createEmbeddedKeys } from '../../capture/embedded-keys.ts'
import { readCapture } from '../../capture/reader.ts'
import { finestOf } from './parts.ts'
import type { CaptureEnd, OnProgress } from './pass.ts'
import { createSpools, type SpooledPart } from './spool.ts'

export interface SplitRequest {
  capturePath: string
  clockOffsetUs?: number
  /** Exists; nothing else of the same name is in it. */
  dir: string
  /** A power of two. */
  parts: number
  /** Where key logs go that are in the capture. */
  embeddedPath?: string
}

export interface SplitResult {
  account: Omit<PacketAccount, 'decoded'>
  parts: SpooledPart[]
  /** Key logs in it. */
  embeddedKeys: number
  /** Absent without packets. */
  end?: CaptureEnd
}

export async function runSplit(
  { capturePath, clockOffsetUs, dir, parts, embeddedPath }: SplitRequest,
  onProgress?: OnProgress,
): Promise<SplitResult> {
  const spools = createSpools(parts, (part) => join(dir, `part-${part}`))
  const embedded = createEmbeddedKeys(embeddedPath)
  let end: CaptureEnd | undefined
  const { account } = await readCapture(capturePath, {
    clockOffsetUs,
    onSecrets: embedded.onSecrets,
    onPacket(packet) {
      const bucket = finestOf(packet)
      spools.packet(packet, bucket & (parts - 1), bucket)
      end ??= { seconds: 0, nanos: 0 }
      end.seconds = packet.seconds
      end.nanos = packet.nanos
    },
    onWindow: onProgress,
  })
  return { account, parts: spools.close(), embeddedKeys: embedded.blocks, ...(end === undefined ? {} : { end }) }
}
