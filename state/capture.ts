/** The nouns of a capture: what it is called, where it came from, and where its packets went. */

export type CaptureFormat = 'pcap' | 'pcapng'

/**
 * Where each packet of a capture went. It balances when
 * `inFile = decoded + the sum of skipped` (counts are packets).
 */
export interface PacketAccount {
  /** Packet records in the file, readable or not. */
  inFile: number
  /** Packets that the engine saw and dissected as far as it can. */
  decoded: number
  /** Packets that no engine could be given, by reason (`corrupt record`, `poison`, …). */
  skipped: Record<string, number>
  /** Bytes of the file that belong to no whole record: a cut tail, a corrupt stretch. */
  lostBytes: number
  /** Set when the file was cut or damaged and its good part was used, with what was wrong and where. */
  salvaged?: string
  /** Time stamps of the first and last packet in seconds since the epoch; absent without packets. */
  firstTime?: number
  lastTime?: number
}

/** What the keys that a capture came with led to. Sessions are those of TLS over TCP whose handshake was seen. */
export interface TlsAccount {
  /** Sessions that there are keys of, in the capture or not. */
  keys: number
  sessions: number
  /** Sessions of the capture that there are keys of. */
  withKeys: number
  /** Of those, sessions of which something could be read. */
  decrypted: number
}

export function accountBalances(account: PacketAccount): boolean {
  const skipped = Object.values(account.skipped).reduce((sum, n) => sum + n, 0)
  return account.inFile === account.decoded + skipped
}

/** Under this the ledger counts events that came without a capture. */
export const NO_CAPTURE = ''
