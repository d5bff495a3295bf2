/** A worker as the engine's own, but for packets that hold a word: each does something else to the process. */

import { readFileSync } from 'node:fs'
import { createDissect } from '../../src/engines/tshark/dissect.ts'
import { runPass } from '../../src/engines/tshark/pass.ts'
import { serve } from '../../src/engines/tshark/serve.ts'
import { runSplit } from '../../src/engines/tshark/split.ts'

const DOES: Record<string, () => void> = {
  'STAND STILL': () => {
    for (;;);
  },
  'EAT MEMORY': () => {
    const eaten: number[][] = []
    for (;;) eaten.push(new Array(1000).fill(Math.random()))
  },
  'EAT BUFFERS': () => {
    const eaten: Buffer[] = []
    for (;;) eaten.push(Buffer.alloc(1 << 20, 1))
  },
  'GO AWAY': () => process.exit(7),
  ABORT: () => process.abort(),
  KILLED: () => process.kill(process.pid, 'SIGSEGV'),
  'THROW UP': () => {
    throw new TypeError('nobody has foreseen this')
  },
  'TELL YOUR NETWORK': () => {
    const interfaces = readFileSync('/proc/self/net/dev', 'latin1').matchAll(/^ *(\S+):/gm)
    throw new Error(`my network is ${[...interfaces].map(([, name]) => name).join()}.`)
  },
  // It shows with whatever comes after it.
  'TRIP THEN FALL': () => {
    hasTripped = true
  },
  // Not one packet does it but all of them together.
  'BIT BY BIT': () => {
    hoard.push(Buffer.alloc(3 << 20, 1))
  },
}
const hoard: Buffer[] = []
let hasTripped = false

function fall(): void {
  if (hasTripped) throw new Error('it has tripped before')
}

serve({
  split: runSplit,
  pass: (request, options) => {
    hoard.length = 0
    hasTripped = false
    return runPass(request, {
      ...options,
      open(given) {
        const dissect = createDissect(given)
        return {
          ...dissect,
          packet(packet) {
            fall()
            const text = packet.buffer.toString('latin1', packet.offset, packet.offset + packet.capLen)
            for (const [word, act] of Object.entries(DOES)) if (text.includes(word)) act()
            return dissect.packet(packet)
          },
          finish(time) {
            fall()
            dissect.finish(time)
          },
          get counts() {
            return dissect.counts
          },
        }
      },
    })
  },
})
