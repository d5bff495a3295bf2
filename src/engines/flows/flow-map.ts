/**
 * The flows that are alive, by key. A key is the pair of (address, port) in an order that does not depend
 * on who sent, and the protocol; ten 32-bit words in one typed array, chained hashing, no object a key.
 */

import type { LiveFlow } from './live-flow.ts'

export const KEY_WORDS = 10

export class FlowMap {
  /** The key that `find` and `insert` use: A's address (4 words), B's address (4), ports, protocol word. */
  readonly key = new Int32Array(KEY_WORDS)
  private hash = 0
  private capacity = 1024
  private heads = new Int32Array(1024).fill(-1)
  private chain = new Int32Array(1024)
  private hashes = new Int32Array(1024)
  keys = new Int32Array(1024 * KEY_WORDS)
  private flows: (LiveFlow | undefined)[] = new Array(1024).fill(undefined)
  private free: number[] = []
  private used = 0
  size = 0
  private readonly seed: number

  constructor(seed: number) {
    this.seed = seed | 0
  }

  /** The live flow of `key`. An IPv4 key has its addresses in words 0 and 4, zero in the other address words. */
  find(isIp4: boolean): LiveFlow | undefined {
    const key = this.key
    let h = this.seed
    h = mix(h, key[0] as number)
    h = mix(h, key[4] as number)
    h = mix(h, key[8] as number)
    h = mix(h, key[9] as number)
    if (!isIp4) {
      h = mix(h, key[1] as number)
      h = mix(h, key[2] as number)
      h = mix(h, key[3] as number)
      h = mix(h, key[5] as number)
      h = mix(h, key[6] as number)
      h = mix(h, key[7] as number)
    }
    h ^= h >>> 16
    h = Math.imul(h, 0x85ebca6b)
    h ^= h >>> 13
    this.hash = h
    let slot = this.heads[h & (this.capacity - 1)] as number
    while (slot >= 0) {
      if (this.hashes[slot] === h && this.matches(slot, isIp4)) return this.flows[slot]
      slot = this.chain[slot] as number
    }
    return undefined
  }

  private matches(slot: number, isIp4: boolean): boolean {
    const { key, keys } = this
    const at = slot * KEY_WORDS
    if (keys[at] !== key[0] || keys[at + 4] !== key[4] || keys[at + 8] !== key[8] || keys[at + 9] !== key[9])
      return false
    if (isIp4) return true
    for (let i = 1; i < 8; i++) if (keys[at + i] !== key[i]) return false
    return true
  }

  /** Right after a `find` that found nothing (or whose flow was removed). */
  insert(flow: LiveFlow): void {
    const slot = this.free.pop() ?? this.used++
    if (slot >= this.capacity) this.grow()
    const bucket = this.hash & (this.capacity - 1)
    this.chain[slot] = this.heads[bucket] as number
    this.heads[bucket] = slot
    this.hashes[slot] = this.hash
    this.keys.set(this.key, slot * KEY_WORDS)
    this.flows[slot] = flow
    flow.slot = slot
    this.size++
  }

  remove(flow: LiveFlow): void {
    const { slot } = flow
    const bucket = (this.hashes[slot] as number) & (this.capacity - 1)
    let at = this.heads[bucket] as number
    if (at === slot) this.heads[bucket] = this.chain[slot] as number
    else {
      while (this.chain[at] !== slot) at = this.chain[at] as number
      this.chain[at] = this.chain[slot] as number
    }
    this.flows[slot] = undefined
    this.free.push(slot)
    this.size--
  }

  /** All live flows, in no order. */
  all(): LiveFlow[] {
    return this.flows.filter((flow) => flow !== undefined)
  }

  private grow(): void {
    this.capacity *= 2
    const { capacity } = this
    const chain = new Int32Array(capacity)
    const hashes = new Int32Array(capacity)
    const keys = new Int32Array(capacity * KEY_WORDS)
    hashes.set(this.hashes)
    keys.set(this.keys)
    const heads = new Int32Array(capacity).fill(-1)
    for (let slot = 0; slot < this.flows.length; slot++) {
      if (this.flows[slot] === undefined) continue
      const bucket = (hashes[slot] as number) & (capacity - 1)
      chain[slot] = heads[bucket] as number
      heads[bucket] = slot
    }
    while (this.flows.length < capacity) this.flows.push(undefined)
    this.heads = heads
    this.chain = chain
    this.hashes = hashes
    this.keys = keys
  }
}

/** A step of MurmurHash3 (public domain). */
function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51)
  k = (k << 15) | (k >>> 17)
  let h = hash ^ Math.imul(k, 0x1b873593)
  h = (h << 13) | (h >>> 19)
  return (Math.imul(h, 5) + 0xe6546b64) | 0
}
