/** The stored captures, each read again: whether it is what its name says, and what an engine once made of it. */

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CaptureInspector } from '../../stages/ports.ts'
import { ACCOUNT_ENDING, type AccountFile, accountPath, parseAccount } from '../../state/account-file.ts'
import type { CaptureFormat } from '../../state/capture.ts'
import { errnoOf, messageOf } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'

export interface StoredCapture {
  id: string
  format: CaptureFormat
  bytes: number
  /** A whole file without a packet. */
  isEmpty: boolean
}

export interface CaptureEvidence {
  stored: Map<string, StoredCapture>
  accounts: Map<string, AccountFile>
  /** By the capture's id. */
  damaged: Map<string, string>
}

const STORED = /^([0-9a-f]{64})\.(pcap|pcapng)$/

export async function readCaptures(
  layout: Layout,
  inspector: CaptureInspector,
  onCapture: (done: number, all: number) => void,
): Promise<CaptureEvidence> {
  const names = await namesIn(layout.captures)
  const evidence: CaptureEvidence = { stored: new Map(), accounts: await accountsIn(layout, names), damaged: new Map() }
  const captures = names.filter((name) => STORED.test(name))
  for (const [done, name] of captures.entries()) {
    onCapture(done, captures.length)
    const [, id, format] = STORED.exec(name) as unknown as [string, string, CaptureFormat]
    try {
      evidence.stored.set(id, { id, format, ...(await inspect(join(layout.captures, name), id, layout, inspector)) })
    } catch (error) {
      evidence.damaged.set(id, messageOf(error))
    }
  }
  return evidence
}

async function inspect(path: string, id: string, layout: Layout, inspector: CaptureInspector) {
  const signal = new AbortController().signal
  const { fileSha256, captures } = await inspector.inspect(path, { copyDir: layout.captures, copy: false, signal })
  const [found] = captures
  if (fileSha256 !== id || found === undefined) throw new Error(`its content has the SHA-256 ${fileSha256}`)
  return { bytes: found.bytes, isEmpty: found.packets === 0 && found.complete }
}

async function accountsIn(layout: Layout, names: readonly string[]): Promise<Map<string, AccountFile>> {
  const accounts = new Map<string, AccountFile>()
  for (const name of names) {
    if (!name.endsWith(ACCOUNT_ENDING)) continue
    const id = name.slice(0, -ACCOUNT_ENDING.length)
    const text = await readFile(accountPath(layout, id), 'utf8').catch(() => '')
    const account = parseAccount(text, id)
    if (account !== undefined) accounts.set(id, account)
  }
  return accounts
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir)).sort()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}
