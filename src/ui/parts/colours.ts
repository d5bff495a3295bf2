/** A log type has the same colour everywhere. */

const TYPES = ['conn', 'dns', 'http', 'ssl', 'files', 'x509', 'ssh', 'dhcp', 'smtp', 'ftp', 'weird', 'packet']
const COLOURS = 8

/** The custom property that holds it; what is rare is grey. */
export function colourOfType(type: unknown): string {
  const at = TYPES.indexOf(String(type))
  if (at >= 0 && at < COLOURS) return `--series-${at + 1}`
  return '--series-other'
}

export function colourOfSeries(index: number): string {
  return index < COLOURS ? `--series-${index + 1}` : '--series-other'
}
