/** How an event's id is put together: the prefix of its chunk, and its number there. */

import type { EventChunk } from './ports.ts'

/** Digits of the capture's SHA-256 that go into an event id: 96 bits. */
const ID_DIGITS = 24

/** Ends in `-`, behind which the number stands. */
export function idPrefixOf({
  idPrefix,
  captureId = '',
  logType,
}: Pick<EventChunk, 'idPrefix' | 'captureId' | 'logType'>): string {
  return idPrefix ?? `${captureId.slice(0, ID_DIGITS)}-${logType}-`
}
