/** Cuts a list into runs of even weight. Pure. */

/**
 * Splits consecutive items into at most `count` runs, none empty, so that each is close to an even share of the
 * bytes: a run ends where its share of the total is reached, at the item whose middle lies before that point.
 */
export function packEvenly<T extends { bytes: number }>(items: readonly T[], count: number): T[][] {
  const total = items.reduce((sum, { bytes }) => sum + bytes, 0)
  const runs: T[][] = []
  let run: T[] = []
  let before = 0
  for (const item of items) {
    const share = (total * (runs.length + 1)) / count
    if (run.length > 0 && runs.length < count - 1 && before + item.bytes / 2 > share) {
      runs.push(run)
      run = []
    }
    run.push(item)
    before += item.bytes
  }
  if (run.length > 0) runs.push(run)
  return runs
}
