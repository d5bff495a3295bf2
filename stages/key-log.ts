/**
 * Key logs of TLS: lines of secrets that a client or a server wrote down (SSLKEYLOGFILE, RFC 9850):
 * `<label> <client random> <secret>`, the latter two in hexadecimal.
 *
 * In: bytes as they come, from anyone. Out: the lines that are secrets we use, in one form, and how many were none.
 * Memory is one line.
 */

/** What a key log beside a capture is called: the capture's name, with or without its own endings, and one of these. */
const ENDINGS = /\.(?:keys|keylog|sslkeylogfile)$/i
/** What a capture's name may end with beside its format. */
const COMPRESSED = /\.(?:gz|zst|zip)$/i
const LAST_ENDING = /\.[^.]+$/

/** Beyond this nothing of a key log is read: it is some 200,000 secrets. */
export const MAX_KEY_LOG_BYTES = 32 << 20
/** The longest line that is a secret has 193 characters; what is longer is none. */
const MAX_LINE_BYTES = 512

/** Label → bytes of the secret. */
const USED: Record<string, readonly number[]> = {
  CLIENT_RANDOM: [48],
  CLIENT_HANDSHAKE_TRAFFIC_SECRET: [32, 48],
  SERVER_HANDSHAKE_TRAFFIC_SECRET: [32, 48],
  CLIENT_TRAFFIC_SECRET_0: [32, 48],
  SERVER_TRAFFIC_SECRET_0: [32, 48],
  CLIENT_EARLY_TRAFFIC_SECRET: [32, 48],
}
/** Lines of other uses that key logs have: no mistake, and nothing for us. */
const NOT_USED = /^(?:RSA|PMS_CLIENT_RANDOM|(?:EARLY_)?EXPORTER_SECRET|(?:CLIENT|SERVER)_TRAFFIC_SECRET_\w+|ECH_\w+) /

export interface KeyLine {
  label: string
  /** Hexadecimal, lower case. */
  clientRandom: string
  secret: string
}

export function isKeyLogName(name: string): boolean {
  return ENDINGS.test(name)
}

/** Whether a key log of this name belongs to a capture of that name: `x.keys` and `x.pcap.keys` to `x.pcap.gz`. */
export function belongsTo(keyLog: string, capture: string): boolean {
  const stem = keyLog.replace(ENDINGS, '')
  const plain = capture.replace(COMPRESSED, '')
  return [capture, plain, plain.replace(LAST_ENDING, '')].includes(stem)
}

export interface KeyLines {
  data(bytes: Buffer): void
  /** The last line may lack its end. Gives how many lines were no secrets, nor comments, nor of other uses. */
  end(): number
}

export function createKeyLines(onKey: (key: KeyLine) => void): KeyLines {
  let kept: Buffer = Buffer.alloc(0)
  let isTooLong = false
  let bad = 0

  function line(bytes: Buffer): void {
    if (isTooLong || bytes.length > MAX_LINE_BYTES) bad++
    else {
      const text = bytes.toString('latin1').trim()
      const key = parseKeyLine(text)
      if (key !== undefined) onKey(key)
      else if (text !== '' && !text.startsWith('#') && !NOT_USED.test(text)) bad++
    }
    isTooLong = false
  }

  return {
    data(bytes) {
      let at = 0
      for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, at)) {
        const part = bytes.subarray(at, end)
        line(kept.length > 0 ? Buffer.concat([kept, part]) : part)
        kept = kept.subarray(0, 0)
        at = end + 1
      }
      if (kept.length + bytes.length - at > MAX_LINE_BYTES) {
        isTooLong = true
        kept = kept.subarray(0, 0)
      } else if (!isTooLong) kept = Buffer.concat([kept, bytes.subarray(at)])
    },
    end() {
      if (isTooLong || kept.length > 0) line(kept)
      kept = kept.subarray(0, 0)
      return bad
    },
  }
}

function parseKeyLine(text: string): KeyLine | undefined {
  const [, label = '', clientRandom = '', secret = ''] =
    /^([A-Z0-9_]+) +([0-9a-f]{64}) +([0-9a-f]{64}(?:[0-9a-f]{32})?)$/i.exec(text) ?? []
  if (USED[label]?.includes(secret.length / 2) !== true) return undefined
  return { label, clientRandom: clientRandom.toLowerCase(), secret: secret.toLowerCase() }
}

export function keyLineText({ label, clientRandom, secret }: KeyLine): string {
  return `${label} ${clientRandom} ${secret}\n`
}
