/**
 * Names that are no settings: which of them are ours by mistake, and what was meant.
 *
 * In a settings file every unknown name is a mistake. The environment is shared with everything else on the
 * host, so there a name counts only when it can hardly belong to anything but this program.
 */

/** First words that no common program uses for variables of its own. */
const OWN_WORDS = new Set([
  ...['INBOX', 'STABILITY', 'RESCAN', 'CONVERT', 'SPLIT', 'DISTRIBUTE', 'FLUSH', 'UPLOAD', 'NORMALIZATION'],
  ...['TSHARK', 'KAFKA', 'ELASTICSEARCH'],
])

/** What other programs do set under those words or within a slip of our names. */
const FOREIGN = [
  /^KAFKA_(HOME|OPTS|HEAP|JVM|GC|JMX|LOG4J|DEBUG|CLUSTER_ID|CFG_|LISTENERS?$)/,
  // Kubernetes and Docker links describe each service by such variables
  /^(KAFKA|ELASTICSEARCH|UPLOAD|CONVERT)_(\w+_)?(SERVICE|PORT|ENV|NAME)(_|$)/,
  /^ELASTICSEARCH_(HOME|HOSTS|VERSION|PATH_CONF|USERNAME|PASSWORD)$/,
  /^(LOGNAME|HTTPS?_PROXY|LOGLEVEL|ZEEKPATH)$/,
]

/** Whether a variable of the environment is one of our settings, misspelt. */
export function isMisspelt(name: string, known: readonly string[]): boolean {
  if (!/^[A-Z][A-Z0-9_]*$/.test(name) || FOREIGN.some((pattern) => pattern.test(name))) return false
  const words = name.split('_')
  if (words.length > 1 && OWN_WORDS.has(words[0] as string)) return true
  return known.some((own) => isSlip(name, own) || sharesTwoWords(words, own.split('_')))
}

/** The known name that was most likely meant, if any comes near. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const upper = name.toUpperCase()
  const ranked = known.map((own) => ({ own, distance: editDistance(upper, own) }))
  ranked.sort((a, b) => a.distance - b.distance)
  const [best] = ranked
  if (best && best.distance <= Math.max(2, upper.length / 3)) return best.own
  return known.find((own) => own.startsWith(`${upper}_`) || upper.startsWith(`${own}_`))
}

/** Short names lie near too many others for a slip to be told from a different name. */
function isSlip(name: string, own: string): boolean {
  const allowed = own.length <= 5 ? 0 : own.length <= 9 ? 1 : 2
  return editDistance(name, own) <= allowed
}

function sharesTwoWords(words: string[], own: string[]): boolean {
  return own.length > 2 && words.length > 2 && words[0] === own[0] && words[1] === own[1]
}

/** Letters to insert, drop, change or swap with their neighbour (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, i) => i)]
  const at = (i: number, j: number) => rows[i]?.[j] ?? 0
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    rows.push(row)
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      const best = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + change)
      row[j] = swapped ? Math.min(best, at(i - 2, j - 2) + 1) : best
    }
  }
  return at(a.length, b.length)
}
