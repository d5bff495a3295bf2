/** Chunks of one log type and numbering that one statement reads: bounded in bytes, lines and files, at least one chunk. */

import type { EventChunk } from './types.ts'

export interface ChunkGroup {
  logType: string
  /** Indices into the request's chunks. */
  members: number[]
}

export interface GroupLimits {
  bytes: number
  lines: number
  files: number
}

/** Log type by log type, within one in the order of the request. */
export function groupChunks(chunks: readonly EventChunk[], limits: GroupLimits): ChunkGroup[] {
  const byKind = Map.groupBy(chunks.keys(), (index) => {
    const { logType, numbering = '' } = chunks[index] as EventChunk
    return `${logType}/${numbering}`
  })
  return [...byKind.values()].flatMap((indices) =>
    cut((chunks[indices[0] as number] as EventChunk).logType, indices, chunks, limits),
  )
}

function cut(logType: string, indices: number[], chunks: readonly EventChunk[], limits: GroupLimits): ChunkGroup[] {
  const groups: ChunkGroup[] = []
  let [bytes, lines] = [0, 0]
  for (const index of indices) {
    const chunk = chunks[index] as EventChunk
    const group = groups.at(-1)
    const fits = bytes + chunk.bytes <= limits.bytes && lines + chunk.lines <= limits.lines
    if (group && fits && group.members.length < limits.files) {
      group.members.push(index)
      bytes += chunk.bytes
      lines += chunk.lines
    } else {
      groups.push({ logType, members: [index] })
      bytes = chunk.bytes
      lines = chunk.lines
    }
  }
  return groups
}
