/** Numbers as Zeek's JSON writer has them: whole ones of type time, interval and double end in `.0`. */

/** Seconds since the epoch, microseconds, no zeros at the end but one. */
export function jsonTime(seconds: number): string {
  return jsonNumber(Math.round(seconds * 1e6) / 1e6)
}

/** The shortest text that reads back as the same double. */
export function jsonNumber(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e21) return `${value}.0`
  return String(value)
}
