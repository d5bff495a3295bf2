/**
 * What an engine made of a capture, in a file beside it: `captures/<sha256>.account.json`.
 *
 * The ledger has the same; the file is there for the day that it is lost. With it, and the rows themselves, it can be
 * proven that a capture's rows are all there (src/rebuild). It is written before its conversion is recorded.
 */

import { join } from 'node:path'
import type { PacketAccount, TlsAccount } from './capture.ts'
import type { CaptureRow, Conversion } from './captures.ts'
import type { Layout } from './layout.ts'

export interface AccountFile {
  version: 1
  capture: Pick<CaptureRow, 'id' | 'name' | 'source' | 'format' | 'bytes' | 'acceptedAt' | 'clockOffsetUs' | 'keyLog'>
  engine: string
  engineVersion: string
  packets: PacketAccount
  warnings: string[]
  tls?: TlsAccount | undefined
  /** The hash of the key log that it was converted with. */
  keysConverted?: string | undefined
  /** Log type → records; a type without any is not named. */
  records: Record<string, number>
}

export const ACCOUNT_ENDING = '.account.json'

export function accountPath({ captures }: Layout, captureId: string): string {
  return join(captures, `${captureId}${ACCOUNT_ENDING}`)
}

export function accountText(
  capture: CaptureRow,
  { engine, engineVersion, packets, warnings, tls, keysConverted, logs }: Conversion,
): string {
  const { id, name, source, format, bytes, acceptedAt, clockOffsetUs, keyLog } = capture
  const records = Object.fromEntries(Object.entries(logs).map(([logType, { records: n }]) => [logType, n]))
  const account: AccountFile = {
    version: 1,
    capture: { id, name, source, format, bytes, acceptedAt, clockOffsetUs, keyLog },
    ...{ engine, engineVersion, packets, warnings, tls, keysConverted, records },
  }
  return `${JSON.stringify(account, null, 2)}\n`
}

/** Undefined for a text that is none, or is that of another capture. */
export function parseAccount(text: string, captureId: string): AccountFile | undefined {
  try {
    const account = JSON.parse(text) as AccountFile
    return account.version === 1 && account.capture.id === captureId && isSound(account) ? account : undefined
  } catch {
    return undefined
  }
}

function isSound({ capture, engine, engineVersion, packets, warnings, records }: AccountFile): boolean {
  const texts = [capture.name, capture.source, engine, engineVersion, ...warnings]
  const counts = [capture.bytes, capture.acceptedAt, packets.inFile, packets.decoded, packets.lostBytes]
  const sums = [...Object.values(packets.skipped), ...Object.values(records)]
  return (
    (capture.format === 'pcap' || capture.format === 'pcapng') &&
    Number.isSafeInteger(capture.clockOffsetUs) &&
    isKeyLog(capture.keyLog) &&
    texts.every((text) => typeof text === 'string') &&
    [...counts, ...sums].every((n) => Number.isSafeInteger(n) && n >= 0) &&
    Object.keys(records).every((logType) => /^[a-z0-9_]{1,64}$/.test(logType))
  )
}

function isKeyLog(keyLog: CaptureRow['keyLog']): boolean {
  if (keyLog === null) return true
  const counts = [keyLog.bytes, keyLog.secrets, keyLog.badLines]
  return /^[0-9a-f]{64}$/.test(keyLog.sha256) && counts.every((n) => Number.isSafeInteger(n) && n >= 0)
}
