/** A worker as the engine's own, but for packets that hold a word: on one it stands still, on another it eats memory. */

import { parentPort } from 'node:worker_threads'
import { readCapture } from '../../src/capture/reader.ts'
import { partOf } from '../../src/engines/tshark/parts.ts'
import { type PassRequest, runPass } from '../../src/engines/tshark/pass.ts'

parentPort?.on('message', async (request: PassRequest) => {
  await readCapture(request.capturePath, {
    onPacket(packet) {
      if (!request.parts.includes(request.partCount === 1 ? 0 : partOf(packet))) return
      const bytes = packet.buffer.subarray(packet.offset, packet.offset + packet.capLen)
      if (bytes.includes('STAND STILL')) for (;;);
      if (bytes.includes('EAT MEMORY')) eat()
      if (bytes.includes('GO AWAY')) process.exit(7)
    },
  })
  parentPort?.postMessage({ result: await runPass(request) })
})

function eat(): void {
  const eaten: number[][] = []
  for (;;) eaten.push(new Array(1000).fill(Math.random()))
}
