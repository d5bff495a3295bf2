/**
 * Captures that no network has seen. In: captures and a seed. Out: one capture, damaged in a few ways, and which; the
 * same seed over the same captures gives the same bytes.
 *
 * Damage is dealt out where it hurts: the records and blocks of the file are found first, so that half of the cases
 * keep the file readable and spoil what the packets say, and the other half spoil the file.
 */

export interface Mutated {
  data: Buffer
  /** The number of the capture that most of it comes from. */
  origin: number
  /** What was done, in order. */
  steps: string[]
}

export type Random = (below: number) => number

interface Place {
  /** Of the record or block. */
  from: number
  to: number
  /** Of the packet's bytes in it; empty where it holds none. */
  dataFrom: number
  dataTo: number
}

interface Shape {
  format: 'pcap' | 'pcapng'
  little: boolean
  places: Place[]
}

type Mutator = (data: Buffer, random: Random, others: readonly Buffer[]) => Buffer

const PCAP_HEADER = 24
const PCAP_RECORD = 16
const MAX_STEPS = 6
/** A spliced capture stays of the size of a test. */
const MAX_BYTES = 4 << 20

export function mutate(captures: readonly Buffer[], seed: number): Mutated {
  const random = randomFrom(seed)
  const origin = random(captures.length)
  // Half of the cases leave the structure of the file alone.
  const mutators = Object.entries(random(2) === 0 ? ON_PACKETS : { ...ON_PACKETS, ...ON_FILE })
  let data: Buffer = Buffer.from(captures[origin] as Buffer)
  const steps: string[] = []
  for (let left = 1 + random(MAX_STEPS); left > 0 && data.length > 0; left--) {
    const [name, mutator] = mutators[random(mutators.length)] as [string, Mutator]
    const next = mutator(data, random, captures)
    if (next.length > MAX_BYTES) continue
    data = next
    steps.push(name)
  }
  return { data, origin, steps }
}

/** Whole numbers from 0 up to `below` (Tommy Ettinger's mulberry32, public domain). */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** Numbers at which lengths, counts and times go wrong. */
const ODD = [0, 1, 2, 3, 4, 7, 8, 15, 16, 19, 20, 27, 28, 40, 63, 64, 127, 128, 255, 256, 1500, 0x3fff, 0x4000, 0x7fff]
const HUGE = [0x8000, 0xfffe, 0xffff, 0x1_0000, 0x4_0000, 0x4_0001, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff]
const LINK_TYPES = [0, 1, 9, 12, 50, 101, 104, 105, 107, 108, 113, 117, 127, 147, 195, 228, 229, 276, 65_535]

const oddNumber = (random: Random): number => {
  const all = [...ODD, ...HUGE]
  return all[random(all.length)] as number
}

const ON_PACKETS: Record<string, Mutator> = {
  'bits flipped in a packet': inPacket((data, from, to, random) => {
    for (let n = 1 + random(16); n > 0; n--) {
      const at = from + random(to - from)
      data[at] = (data[at] as number) ^ (1 << random(8))
    }
  }),
  'bits flipped in the headers of packets': (data, random) => {
    const places = packetsOf(data)
    if (places.length === 0) return data
    for (let n = 1 + random(12); n > 0; n--) {
      const { dataFrom, dataTo } = places[random(places.length)] as Place
      const at = dataFrom + random(Math.min(80, dataTo - dataFrom))
      data[at] = (data[at] as number) ^ (1 << random(8))
    }
    return data
  },
  'odd numbers in packets': (data, random) => {
    const places = packetsOf(data)
    if (places.length === 0) return data
    for (let n = 1 + random(8); n > 0; n--) {
      const { dataFrom, dataTo } = places[random(places.length)] as Place
      putNumber(data, dataFrom + random(dataTo - dataFrom), dataTo, 1 << random(3), oddNumber(random), random(2) === 0)
    }
    return data
  },
  'random bytes in a packet': inPacket((data, from, to, random) => {
    for (let at = from + random(to - from), n = random(64); n > 0 && at < to; n--) data[at++] = random(256)
  }),
  'a stretch of zeros in a packet': inPacket((data, from, to, random) => {
    const at = from + random(to - from)
    data.fill(random(2) === 0 ? 0 : 0xff, at, Math.min(to, at + 1 + random(300)))
  }),
  'bytes of a packet repeated': inPacket((data, from, to, random) => {
    const at = from + random(to - from)
    const pattern = Buffer.from(data.subarray(at, Math.min(to, at + 1 + random(8))))
    data.fill(pattern, at, Math.min(to, at + random(400)))
  }),
  'a packet with the bytes of another': (data, random) => {
    const places = packetsOf(data)
    if (places.length === 0) return data
    const [target, source] = [places[random(places.length)], places[random(places.length)]] as [Place, Place]
    const skip = random(60)
    const bytes = Buffer.from(data.subarray(source.dataFrom + skip, source.dataTo))
    if (target.dataFrom + skip < target.dataTo)
      bytes.copy(data, target.dataFrom + skip, 0, Math.min(bytes.length, target.dataTo - target.dataFrom - skip))
    return data
  },
  'packets shuffled': reorder((places, random) => {
    for (let n = 1 + random(20); n > 0; n--) {
      const [a, b] = [random(places.length), random(places.length)]
      ;[places[a], places[b]] = [places[b] as Place, places[a] as Place]
    }
    return places
  }),
  'packets left out': reorder((places, random) => places.filter(() => random(8) > 0)),
  'packets twice': reorder((places, random) => places.flatMap((place) => (random(6) === 0 ? [place, place] : [place]))),
}

const ON_FILE: Record<string, Mutator> = {
  'bits flipped anywhere': (data, random) => {
    for (let n = 1 + random(32); n > 0; n--) {
      const at = random(data.length)
      data[at] = (data[at] as number) ^ (1 << random(8))
    }
    return data
  },
  'bits flipped in the file header': (data, random) => {
    const at = random(Math.min(data.length, 60))
    data[at] = (data[at] as number) ^ (1 << random(8))
    return data
  },
  'a length of a record or block': onPlace((data, { from }, random, { format, little }) => {
    const at = format === 'pcap' ? from + 8 + 4 * random(2) : from + [4, 20, 24][random(3) as 0]
    putNumber(data, at, data.length, 4, oddNumber(random), little)
  }),
  'a time': onPlace((data, { from }, random, { format, little }) => {
    const at = (format === 'pcap' ? from : from + 12) + 4 * random(2)
    putNumber(data, at, data.length, 4, oddNumber(random), little)
  }),
  'the link type': (data, random) => {
    const { format, little, places } = shapeOf(data)
    const linkType = LINK_TYPES[random(LINK_TYPES.length)] as number
    if (format === 'pcap') putNumber(data, 20, data.length, 4, linkType, little)
    for (const { from } of places.filter(({ from: at }) => format === 'pcapng' && wordAt(data, at, little) === 1))
      putNumber(data, from + 8, data.length, 2, linkType, little)
    return data
  },
  'a block’s type or interface': onPlace((data, { from }, random, { format, little }) => {
    const types = [0, 1, 2, 3, 4, 5, 6, 10, 0x0a0d_0d0a, 0x4000_0bad, 0xffff_ffff]
    const type = types[random(types.length)] as number
    if (format === 'pcap' || random(2) === 0) putNumber(data, from, data.length, 4, type, little)
    else putNumber(data, from + 8, data.length, 4, oddNumber(random), little)
  }),
  'cut at its end': (data, random) => data.subarray(0, 1 + random(data.length)),
  'bytes cut out': (data, random) => {
    const at = random(data.length)
    return Buffer.concat([data.subarray(0, at), data.subarray(Math.min(data.length, at + 1 + random(200)))])
  },
  'bytes put in': (data, random) => {
    const at = random(data.length)
    const bytes = Buffer.from(Array.from({ length: 1 + random(100) }, () => random(256)))
    return Buffer.concat([data.subarray(0, at), bytes, data.subarray(at)])
  },
  'a stretch of zeros': (data, random) => {
    const at = random(data.length)
    return data.fill(random(2) === 0 ? 0 : 0xff, at, Math.min(data.length, at + 1 + random(2000)))
  },
  'zeros at its end': (data, random) => Buffer.concat([data, Buffer.alloc(random(5000))]),
  'another capture behind it': (data, random, others) => Buffer.concat([data, others[random(others.length)] as Buffer]),
  'another capture’s records': (data, random, others) => {
    const other = others[random(others.length)] as Buffer
    const [mine, theirs] = [shapeOf(data).places, shapeOf(other).places]
    const cut = mine[random(mine.length)]?.from ?? data.length
    return Buffer.concat([data.subarray(0, cut), other.subarray(theirs[random(theirs.length)]?.from ?? 0)])
  },
}

function inPacket(change: (data: Buffer, from: number, to: number, random: Random) => void): Mutator {
  return (data, random) => {
    const places = packetsOf(data)
    const place = places[random(places.length)]
    if (place !== undefined) change(data, place.dataFrom, place.dataTo, random)
    return data
  }
}

function onPlace(change: (data: Buffer, place: Place, random: Random, shape: Shape) => void): Mutator {
  return (data, random) => {
    const shape = shapeOf(data)
    const place = shape.places[random(shape.places.length)]
    if (place !== undefined) change(data, place, random, shape)
    return data
  }
}

/** What is no packet (headers, interface blocks) stays in front. */
function reorder(change: (places: Place[], random: Random) => Place[]): Mutator {
  return (data, random) => {
    const packets = packetsOf(data)
    const [first] = packets
    if (first === undefined) return data
    const pieces = change([...packets], random).map(({ from, to }) => data.subarray(from, to))
    return Buffer.concat([data.subarray(0, first.from), ...pieces])
  }
}

const packetsOf = (data: Buffer): Place[] => shapeOf(data).places.filter(({ dataFrom, dataTo }) => dataTo > dataFrom)

/** Walks the file as long as it makes sense. */
function shapeOf(data: Buffer): Shape {
  if (data.length >= 12 && data.readUInt32BE(0) === 0x0a0d_0d0a) return shapeOfPcapng(data)
  const little = data.length < 4 || data[0] !== 0xa1
  const places: Place[] = []
  for (let at = PCAP_HEADER; at + PCAP_RECORD <= data.length; ) {
    const dataFrom = at + PCAP_RECORD
    const dataTo = Math.min(data.length, dataFrom + wordAt(data, at + 8, little))
    places.push({ from: at, to: dataTo, dataFrom, dataTo })
    at = dataTo
  }
  return { format: 'pcap', little, places }
}

function shapeOfPcapng(data: Buffer): Shape {
  const little = data[8] === 0x4d
  const places: Place[] = []
  for (let at = 0; at + 12 <= data.length; ) {
    const length = wordAt(data, at + 4, little)
    const to = Math.min(data.length, at + Math.max(12, length))
    const isPacket = wordAt(data, at, little) === 6 && to - at >= 32
    const dataFrom = isPacket ? at + 28 : to
    const dataTo = isPacket ? Math.min(to - 4, dataFrom + wordAt(data, at + 20, little)) : to
    places.push({ from: at, to, dataFrom, dataTo })
    at = to
  }
  return { format: 'pcapng', little, places }
}

const wordAt = (data: Buffer, at: number, little: boolean): number =>
  little ? data.readUInt32LE(at) : data.readUInt32BE(at)

/** As many bytes as there is room for. */
function putNumber(data: Buffer, at: number, end: number, bytes: number, value: number, little: boolean): void {
  for (let i = 0; i < bytes && at + i < end; i++)
    data[at + i] = Math.floor(value / 256 ** (little ? i : bytes - 1 - i)) % 256
}
