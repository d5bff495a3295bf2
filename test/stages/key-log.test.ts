import { expect, it } from 'vitest'
import { belongsTo, createKeyLines, isKeyLogName, type KeyLine, keyLineText } from '../../stages/key-log.ts'

const random = 'ab'.repeat(32)
const line = (label: string, bytes: number) => `${label} ${random} ${'0f'.repeat(bytes)}`

function read(text: string | Buffer, pieceBytes = 7): { keys: KeyLine[]; bad: number } {
  const keys: KeyLine[] = []
  const reader = createKeyLines((key) => keys.push(key))
  const bytes = Buffer.from(text as string)
  for (let at = 0; at < bytes.length; at += pieceBytes) reader.data(bytes.subarray(at, at + pieceBytes))
  return { keys, bad: reader.end() }
}

it.each([
  ['x.keys', 'x.pcap', true],
  ['x.pcap.keys', 'x.pcap', true],
  ['x.keylog', 'x.pcap.gz', true],
  ['x.pcap.sslkeylogfile', 'x.pcap.zst', true],
  ['x.keys', 'x', true],
  ['a.b.keys', 'a.b.pcapng', true],
  ['a.keys', 'a.b.pcapng', false],
  ['x.keys', 'xx.pcap', false],
  ['.keys', '.pcap', true],
])('%s belongs to %s: %j', (keyLog, capture, does) => {
  expect(isKeyLogName(keyLog)).toBe(true)
  expect(belongsTo(keyLog, capture)).toBe(does)
})

it('is told by its ending alone', () => {
  for (const name of ['x.pcap', 'keys', 'x.keys.pcap', 'x.key']) expect(isKeyLogName(name)).toBe(false)
})

it('takes the secrets that decrypt, however the bytes come, in upper case and with Windows line ends too', () => {
  const text = [
    '# a comment',
    '',
    line('CLIENT_RANDOM', 48).toUpperCase(),
    `${line('SERVER_TRAFFIC_SECRET_0', 32)}\r`,
    line('CLIENT_HANDSHAKE_TRAFFIC_SECRET', 48),
    line('EXPORTER_SECRET', 32),
    `RSA ${'00'.repeat(8)} ${'00'.repeat(48)}`,
    line('CLIENT_TRAFFIC_SECRET_N', 48),
    line('CLIENT_TRAFFIC_SECRET_0', 32),
  ].join('\n')
  for (const pieceBytes of [1, 7, 4096]) {
    const { keys, bad } = read(text, pieceBytes)
    expect(bad).toBe(0)
    expect(keys.map(({ label }) => label)).toEqual([
      'CLIENT_RANDOM',
      'SERVER_TRAFFIC_SECRET_0',
      'CLIENT_HANDSHAKE_TRAFFIC_SECRET',
      'CLIENT_TRAFFIC_SECRET_0',
    ])
    expect(keyLineText(keys[0] as KeyLine)).toBe(`${line('CLIENT_RANDOM', 48)}\n`)
  }
})

it.each([
  ['a secret of another length', line('CLIENT_RANDOM', 32)],
  ['a cut line', line('CLIENT_RANDOM', 48).slice(0, -3)],
  ['a label that nobody knows', line('SOMETHING', 32)],
  ['a line without an end', 'x'.repeat(100_000)],
  ['bytes of no text', Buffer.from([0, 1, 2, 255, 254, 10].slice(0, 5))],
])('%s is no key, and is counted', (_what, text) => {
  expect(read(text)).toEqual({ keys: [], bad: 1 })
})

it('goes on behind a line that is too long', () => {
  const { keys, bad } = read(`${'x'.repeat(5000)}\n${line('CLIENT_RANDOM', 48)}\n`, 64)
  expect({ keys: keys.length, bad }).toEqual({ keys: 1, bad: 1 })
})
