/** Messages as they are fetched, and what a collector made of them, line by line. */

import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CollectedChunk, type CollectorOptions, openCollector } from '../../../../src/bus/kafka/collector.ts'
import { DEAD_LETTERS_FILE, type DeadLetter, readDeadLetters } from '../../../../src/bus/kafka/dead-letters.ts'
import type { RawMessage } from '../../../../src/bus/kafka/events.ts'

export const KNOWN = new Set(['conn', 'dns', 'smb_files', 'http'])

export function messageOf(value: string | Buffer | null, over: Partial<RawMessage> = {}): RawMessage {
  return { topic: 'zeek-raw', partition: 0, offset: 0n, value: value === null ? null : Buffer.from(value), ...over }
}

export function headersOf(headers: Record<string, string>): RawMessage['headers'] {
  return Object.entries(headers).map(([key, value]) => [Buffer.from(key), Buffer.from(value)])
}

export function scratch(): string {
  return mkdtempSync(join(tmpdir(), 'collector-'))
}

export function collect(messages: Iterable<RawMessage>, over: Partial<CollectorOptions> = {}) {
  const dir = over.dir ?? scratch()
  const collector = openCollector({
    dir,
    maxChunkLines: 10_000,
    streamId: (topic, partition) => `${topic}.abcd1234-${partition}`,
    knownTypes: KNOWN,
    ...over,
  })
  for (const message of messages) collector.add(message)
  return { ...collector.finish(), dir }
}

export function linesOf(dir: string, { file }: CollectedChunk): string[] {
  const text = readFileSync(join(dir, file), 'latin1')
  return text.split('\n').slice(0, -1)
}

/** Those in the directory of a batch. */
export async function lettersOf(dir: string): Promise<DeadLetter[]> {
  const letters: DeadLetter[] = []
  for await (const some of readDeadLetters(join(dir, DEAD_LETTERS_FILE))) letters.push(...some)
  return letters
}
