/** Readers of what Microsoft's protocols hold: little-endian numbers, GUIDs, FILETIMEs. The caller has checked the bounds. */

const EPOCH_FILETIME = 116_444_736_000_000_000n

/** FILETIME: 100 ns since 1601 (MS-DTYP 2.3.3) → seconds since the epoch. */
export const fileTime = (bytes: Buffer, at: number) => Number(bytes.readBigUInt64LE(at) - EPOCH_FILETIME) / 1e7

/** A GUID's text (MS-DTYP 2.3.4): its first three parts are little-endian. */
export function guidText(bytes: Buffer, at: number): string {
  const part = (from: number, length: number, swap: boolean) => {
    const slice = Buffer.from(bytes.subarray(at + from, at + from + length))
    return (swap ? slice.reverse() : slice).toString('hex')
  }
  return [part(0, 4, true), part(4, 2, true), part(6, 2, true), part(8, 2, false), part(10, 6, false)].join('-')
}

/** 64 bits as a number; beyond 2^53 the lowest bits are lost. */
export const uint64 = (bytes: Buffer, at: number) => bytes.readUInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at)
