/** Captures made of packets, and requests to convert them. */

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { emptyPacket } from '../../../src/capture/packet.ts'
import { openCaptureWriter } from '../../../src/capture/writer.ts'
import type { ConvertRequest, Log } from '../../../stages/ports.ts'
import { type Sent, T } from './flows/packets.ts'

/** Raw IP packets, or what `linkType` says, in a pcap. */
export async function captureOf(path: string, sent: Sent[], linkType = 101): Promise<string> {
  const writer = await openCaptureWriter(path, { format: 'pcap', linkType })
  sent.forEach(({ at, data, origLen }, n) => {
    const seconds = T + Math.floor(at)
    const nanos = Math.round((at % 1) * 1e6) * 1000
    const frame = { buffer: data, offset: 0, capLen: data.length, origLen: origLen ?? data.length }
    writer.packet({ ...emptyPacket(linkType), ...frame, seconds, nanos, number: n + 1 })
  })
  await writer.close()
  return path
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent }

/** A request with folders of its own, removed when the test is over. */
export async function request(capturePath: string, more: Partial<ConvertRequest> = {}): Promise<ConvertRequest> {
  const dir = await mkdtemp(join(tmpdir(), 'convert-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const [outDir, workDir] = [join(dir, 'out'), join(dir, 'work')]
  await mkdir(outDir)
  await mkdir(workDir)
  return {
    capturePath,
    captureId: 'c'.repeat(64),
    outDir,
    workDir,
    signal: new AbortController().signal,
    log: silent,
    ...more,
  }
}
