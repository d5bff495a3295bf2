/**
 * Takes a capture's documents and its receipt out of the cluster.
 *
 * By search and bulk delete, which every server has. Safe to repeat; done when a search finds nothing more.
 */

import type { Client } from '@elastic/elasticsearch'
import { PipelineError } from '../../../state/errors.ts'
import { isFromServer, serverDown, statusOf } from './client.ts'
import { receiptsIndex } from './templates.ts'

const AT_ONCE = 5_000
const PAUSE_MS = 500

/** Answers how many documents were deleted. `notBefore`: work that was under way may still arrive until then. */
export async function removeDocuments(
  client: Client,
  prefix: string,
  captureId: string,
  notBefore = 0,
): Promise<number> {
  try {
    let removed = 0
    for (;;) {
      await client.indices.refresh({ index: `${prefix}-*-*`, allow_no_indices: true, ignore_unavailable: true })
      const found = await findSome(client, prefix, captureId)
      if (found.length > 0) removed += await deleteAll(client, found)
      else if (Date.now() >= notBefore) break
      else await pause()
    }
    await client.delete({ index: receiptsIndex(prefix), id: captureId }, { ignore: [404] })
    return removed
  } catch (error) {
    throw isFromServer(error) ? serverDown(error) : error
  }
}

interface Found {
  index: string
  id: string
}

async function findSome(client: Client, prefix: string, captureId: string): Promise<Found[]> {
  const answer = await client.search({
    index: `${prefix}-*-*`,
    allow_no_indices: true,
    ignore_unavailable: true,
    size: AT_ONCE,
    query: { term: { 'labels.pcap_sha256': captureId } },
    sort: ['_doc'],
    _source: false,
    track_total_hits: false,
  })
  return answer.hits.hits.map(({ _index, _id }) => ({ index: _index, id: _id as string }))
}

/** What is refused for now is found again by the next search. */
async function deleteAll(client: Client, found: readonly Found[]): Promise<number> {
  const operations = found.map(({ index, id }) => ({ delete: { _index: index, _id: id } }))
  const { items } = await client.bulk({ operations, filter_path: ['items.*.status', 'items.*.error.reason'] })
  const statuses = items.map((item) => item.delete?.status ?? 0)
  const refused = items.find((_, i) => [401, 403].includes(statuses[i] as number))
  if (refused !== undefined) {
    const reason = refused.delete?.error?.reason ?? 'no right to delete'
    throw new PipelineError('sink_down', `Elasticsearch deletes nothing: ${reason}`, { retryable: true })
  }
  if (statuses.some((status) => status === 429 || status >= 500)) await pause()
  return statuses.filter((status) => status === 200).length
}

/** Deletes indices whose month and whose making both lie further back than the retention. Answers their names. */
export async function removeOldIndices(
  client: Client,
  prefix: string,
  retentionDays: number,
  now = Date.now(),
): Promise<string[]> {
  const limit = now - retentionDays * 86_400_000
  const settings = await client.indices.getSettings({
    index: `${prefix}-*-*`,
    name: 'index.creation_date',
    allow_no_indices: true,
    ignore_unavailable: true,
  })
  const old = Object.entries(settings)
    .filter(([name, index]) => {
      const end = monthEnd(name, prefix)
      const made = Number(index.settings?.index?.creation_date)
      return end !== undefined && end < limit && made < limit
    })
    .map(([name]) => name)
  for (const index of old) {
    try {
      await client.indices.delete({ index })
    } catch (error) {
      if (statusOf(error) !== 404) throw error
    }
  }
  return old
}

function monthEnd(name: string, prefix: string): number | undefined {
  const [, year, month] = new RegExp(`^${prefix}-[a-z0-9_]+-(\\d{4})\\.(\\d\\d)$`).exec(name) ?? []
  return year === undefined ? undefined : Date.UTC(Number(year), Number(month), 1)
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
}
