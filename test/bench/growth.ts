/**
 * `npm run bench -- growth [--sizes 10MB,100MB,1GB] [--captures FILE,FILE,…]`: how wall time, CPU time and the memory of
 * all processes together grow with the capture. An exponent of 1 is time in proportion to the size.
 */

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { makeBigCapture } from '../support/big-capture.ts'
import { type Measured, measure } from '../support/measure.ts'

const MAIN = join(import.meta.dirname, '../../dist/src/main.js')

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '10MB,100MB,1GB' },
    captures: { type: 'string' },
    runs: { type: 'string', default: '3' },
    main: { type: 'string', default: MAIN },
  },
})
const dir = mkdtempSync(join(tmpdir(), 'bench-growth-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
const captures =
  values.captures?.split(',') ?? values.sizes.split(',').map((size) => makeBigCapture(join(dir, `${size}.pcap`), size))

interface Point extends Measured {
  bytes: number
}

const points: Point[] = []
for (const capture of captures) {
  const bytes = statSync(capture).size
  const runs: Measured[] = []
  for (let run = 1; run <= Number(values.runs); run++) {
    const out = join(dir, 'out')
    runs.push(await measure(process.execPath, [values.main, 'convert', capture, '--engine', 'tshark', '--out', out]))
    rmSync(out, { recursive: true, force: true })
  }
  if (runs.some(({ code }) => code !== 0)) throw new Error(`the conversion of ${capture} failed`)
  // What others do on the machine only ever adds to the time.
  const best = runs.reduce((a, b) => (a.seconds < b.seconds ? a : b))
  const point = { ...best, bytes, peakRssMb: Math.max(...runs.map(({ peakRssMb }) => peakRssMb)) }
  const before = points.at(-1)
  points.push(point)
  const mb = (bytes / 1e6).toFixed(0)
  const { seconds, cpuSeconds, peakRssMb } = point
  const growth =
    before === undefined
      ? ''
      : `; exponent of wall ${exponent(before, point, 'seconds')}, of CPU ${exponent(before, point, 'cpuSeconds')}, ` +
        `memory × ${(peakRssMb / before.peakRssMb).toFixed(2)}`
  const load = loadavg()[0]?.toFixed(1)
  console.log(
    `${mb} MB: ${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(2)} CPU s, peak ${peakRssMb} MB (load ${load})${growth}`,
  )
}
const [first, last] = [points[0], points.at(-1)]
if (first !== undefined && last !== undefined && first !== last)
  console.log(
    `from first to last: exponent of wall ${exponent(first, last, 'seconds')}, of CPU ${exponent(first, last, 'cpuSeconds')}`,
  )

function exponent(a: Point, b: Point, of: 'seconds' | 'cpuSeconds'): string {
  return (Math.log(b[of] / a[of]) / Math.log(b.bytes / a.bytes)).toFixed(3)
}
