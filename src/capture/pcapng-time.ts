/**
 * pcapng time stamps: a 64-bit count of units, whose size each interface tells (if_tsresol), to seconds and
 * nanoseconds, exactly. Units finer than a nanosecond are cut off.
 */

export interface Resolution {
  /** Units in a second. */
  perSecond: number
  /** if_tsoffset, seconds. */
  offset: number
}

export const MICROSECONDS: Resolution = { perSecond: 1_000_000, offset: 0 }

/** if_tsresol: a power of ten, or of two when the top bit is set. */
export function unitsPerSecond(tsresol: number): number {
  return tsresol & 0x80 ? 2 ** (tsresol & 0x7f) : 10 ** tsresol
}

/** Writes seconds and nanos of (high, low) into `out`. */
export function splitTime(
  high: number,
  low: number,
  { perSecond, offset }: Resolution,
  out: { seconds: number; nanos: number },
): void {
  if (perSecond <= 2 ** 36) splitByLimbs(high, low, perSecond, out)
  else splitBig(high, low, perSecond, out)
  out.seconds += offset
}

/** Long division in base 65536: every intermediate value stays below 2^53 while perSecond is at most 2^36. */
function splitByLimbs(high: number, low: number, perSecond: number, out: { seconds: number; nanos: number }): void {
  const q1 = Math.floor(high / perSecond)
  const r1 = (high - q1 * perSecond) * 65_536 + (low >>> 16)
  const q2 = Math.floor(r1 / perSecond)
  const r2 = (r1 - q2 * perSecond) * 65_536 + (low & 0xffff)
  const q3 = Math.floor(r2 / perSecond)
  const rest = r2 - q3 * perSecond
  out.seconds = (q1 * 65_536 + q2) * 65_536 + q3
  out.nanos =
    perSecond <= 1e9 && 1e9 % perSecond === 0 ? rest * (1e9 / perSecond) : Math.floor((rest / perSecond) * 1e9)
}

function splitBig(high: number, low: number, perSecond: number, out: { seconds: number; nanos: number }): void {
  if (!Number.isFinite(perSecond) || perSecond > 2 ** 64) {
    out.seconds = 0
    out.nanos = 0
    return
  }
  const units = (BigInt(high) << 32n) | BigInt(low)
  const per = BigInt(perSecond)
  out.seconds = Number(units / per)
  out.nanos = Number(((units % per) * 1_000_000_000n) / per)
}
