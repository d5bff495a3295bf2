/** What a clock lacks, as people write it: `+3600s`, `-1.5s`, `+20d`. Microseconds inside. */

const UNITS: Record<string, number> = { us: 1, ms: 1e3, s: 1e6, m: 60e6, h: 3600e6, d: 86_400e6 }
/** A century: whole microseconds of it are exact. */
const LARGEST_US = 36_525 * 86_400e6

/** undefined for what is none; the sign is needed, so that nobody has to guess its direction. */
export function parseClockOffset(text: string): number | undefined {
  const [, sign, digits = '', unit = ''] = /^([+-])(\d{1,12}(?:\.\d{1,9})?)(us|ms|s|m|h|d)$/.exec(text) ?? []
  const us = Math.round(Number(digits) * (UNITS[unit] ?? Number.NaN))
  if (!(us <= LARGEST_US)) return undefined
  return us === 0 ? 0 : sign === '-' ? -us : us
}

/** In seconds, which is what tools for captures take too. */
export function clockOffsetText(us: number): string {
  return `${us < 0 ? '-' : '+'}${Math.abs(us) / 1e6}s`
}
