/**
 * A part of a capture, dissected whatever is in it. In: the part. Out: the results of all passes that were needed.
 *
 * A pass that crashes, hangs or takes too much memory is repeated with a mark: the number of the packet in hand is
 * written down before it is looked at. The packet on which it fails again is left out, and the rest of its flow goes
 * on. Where that does not help (it is not one packet, it happens between two), the part is halved: by pairs of hosts
 * as long as there are several, then by packets in the order of time, until what does it stands alone. It is set
 * aside as a capture of its own, and counted.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ConvertRequest } from '../../../stages/ports.ts'
import { PipelineError } from '../../../state/errors.ts'
import { openCaptureWriter } from '../../capture/writer.ts'
import { pack } from '../flows/shard.ts'
import type { CaptureEnd, OnProgress, PassRequest, PassResult } from './pass.ts'
import type { Pool } from './pool.ts'
import { readSpool, type Selection, type Survey, surveySpool, wantedBy } from './spool.ts'

/** Packets that were set aside together, and why. */
export interface Poison {
  packets: number
  reason: string
}

export interface Part extends Selection {
  spoolPath: string
  end: CaptureEnd
}

export interface IsolateOptions {
  request: ConvertRequest
  pool: Pool
  /** What all passes of the capture have in common. */
  base: Pick<PassRequest, 'captureId' | 'localNets' | 'policyLogs' | 'uidPath' | 'tls'>
  /** A capture of packets on which dissection fails, and how. It is removed afterwards. */
  onPoison?: (file: string, reason: string) => void | Promise<void>
  poison: Poison[]
}

export interface Isolation {
  /** @param failed what a pass over exactly this part has ended with already. */
  dissect(part: Part, onProgress?: OnProgress, failed?: PipelineError): Promise<PassResult[]>
}

/** Packets that are found out one by one in what is then still dissected as one. */
const MAX_SINGLED_OUT = 8
/** Passes over a capture that may fail; from then on a part that fails once more is set aside as it is. */
const MAX_FAILURES = 48

export function isPoisoned(error: unknown): error is PipelineError {
  if (!(error instanceof PipelineError)) return false
  return error.code === 'engine_memory' || error.code === 'engine_timeout' || error.details.crashed === true
}

interface Suspect {
  packet: number
  reason: string
}

type Tried = { result: PassResult } | { error: PipelineError; packet: number }

export function createIsolation({ request, pool, base, onPoison, poison }: IsolateOptions): Isolation {
  const { workDir, signal, log } = request
  let [passes, failures] = [0, 0]

  async function pass(source: Part, onProgress?: OnProgress, markPath?: string): Promise<PassResult> {
    const outPath = join(workDir, `lines-${passes++}`)
    const mark = markPath === undefined ? {} : { markPath }
    return await pool.pass({ ...base, source, outPath, ...mark }, { signal, onProgress })
  }

  async function dissect(part: Part, onProgress?: OnProgress, failed?: PipelineError): Promise<PassResult[]> {
    let error = failed
    if (error === undefined) {
      try {
        return [await pass(part, onProgress)]
      } catch (thrown) {
        if (!isPoisoned(thrown)) throw thrown
        error = thrown
      }
    }
    failures++
    log.warn('a part of the capture cannot be dissected', { error: error.message })
    return await lookClosely(part, MAX_SINGLED_OUT)
  }

  /** Leaves out the packets on which the part fails, one by one, up to so many. */
  async function lookClosely(part: Part, mostSuspects: number): Promise<PassResult[]> {
    const suspects: Suspect[] = []
    const without = () => [...(part.without ?? []), ...suspects.map(({ packet }) => packet)]
    for (;;) {
      const tried = await tryMarked({ ...part, without: without() })
      if ('result' in tried) {
        for (const { packet, reason } of suspects) await setAside({ ...part, from: packet, before: packet + 1 }, reason)
        return [tried.result]
      }
      const { error, packet } = tried
      failures++
      if (failures > MAX_FAILURES) return await setAside(part, error.message)
      const isOne = packet !== 0 && suspects.length < mostSuspects
      if (!isOne || (error.code === 'engine_memory' && !(await failsAlone(part, packet))))
        return await halve(part, error)
      suspects.push({ packet, reason: error.message })
    }
  }

  /** Memory may be filled by many packets: the one in hand when it was too much need not be to blame. */
  async function failsAlone(part: Part, packet: number): Promise<boolean> {
    return 'error' in (await tryMarked({ ...part, from: packet, before: packet + 1 }))
  }

  async function tryMarked(part: Part): Promise<Tried> {
    const markPath = join(workDir, `mark-${passes}`)
    try {
      return { result: await pass(part, undefined, markPath) }
    } catch (error) {
      if (!isPoisoned(error)) throw error
      const bytes = await readFile(markPath).catch(() => Buffer.alloc(0))
      return { error, packet: bytes.length === 8 ? bytes.readDoubleLE() : 0 }
    }
  }

  async function halve(part: Part, error: PipelineError): Promise<PassResult[]> {
    const survey = await surveySpool(part.spoolPath, wantedBy(part))
    if (survey.packets <= 1) return await setAside(part, error.message)
    const [first, second] = halvesOf(part, survey)
    return [...(await lookClosely(first, 1)), ...(await lookClosely(second, 1))]
  }

  async function setAside(part: Part, reason: string): Promise<PassResult[]> {
    const writer = await openCaptureWriter(join(workDir, `poison-${poison.length}-${passes}.pcapng`), {
      format: 'pcapng',
    })
    try {
      const isWanted = wantedBy(part)
      await readSpool(part.spoolPath, {
        onPacket(packet, bucket) {
          if (isWanted(packet.number, bucket)) writer.packet(packet)
        },
        onWindow: () => writer.flush(),
      })
    } finally {
      await writer.close()
    }
    const { packets } = writer
    if (packets > 0) {
      poison.push({ packets, reason })
      await onPoison?.(writer.path, reason)
    }
    return []
  }

  return { dissect }
}

function halvesOf(part: Part, { buckets, middle }: Survey): [Part, Part] {
  if (buckets.size === 1) {
    return [
      { ...part, before: middle },
      { ...part, from: middle },
    ]
  }
  const numbers = [...buckets.keys()].sort((a, b) => a - b)
  const half = pack(
    Float64Array.from(numbers, (bucket) => buckets.get(bucket) ?? 0),
    2,
  )
  const those = (side: number) => numbers.filter((_, i) => half[i] === side)
  return [
    { ...part, buckets: those(0) },
    { ...part, buckets: those(1) },
  ]
}
