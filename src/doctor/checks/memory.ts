/** Memory and cores against what the settings let the parts take. */

import { availableParallelism, totalmem } from 'node:os'
import { bytesText } from '../../cli/text.ts'
import { type Check, error, type Finding, ok, warning } from '../check.ts'
import type { Host } from '../host.ts'

const MB = 1024 * 1024
/** What a worker takes whatever the size of its capture, and the service itself. */
const WORKER_BYTES = 100 * MB
const SERVICE_BYTES = 300 * MB

export const memory: Check<Host> = {
  name: 'memory',
  look({ config: { convert, upload, query } }) {
    const total = memoryBytes()
    const cores = availableParallelism()
    const expected =
      SERVICE_BYTES + convert.parallel * WORKER_BYTES + upload.concurrency * upload.memoryBytes + query.memoryBytes
    const findings: Finding[] = []
    const has = `this host has ${bytesText(total)} of memory`
    if (expected > total)
      findings.push(
        error(
          `${has}, and the settings let the pipeline take ${bytesText(expected)} at once`,
          'lower UPLOAD_MEMORY_MB, QUERY_MEMORY_MB, UPLOAD_CONCURRENCY or CONVERT_PARALLEL',
        ),
      )
    else if (expected > 0.8 * total)
      findings.push(
        warning(
          `${has}, of which the settings let the pipeline take ${bytesText(expected)} at once`,
          'lower UPLOAD_MEMORY_MB or QUERY_MEMORY_MB, if other programs run here',
        ),
      )
    if (convert.memoryBytes > total)
      findings.push(
        warning(
          `${has}, and one engine may take ${bytesText(convert.memoryBytes)}: the kernel would end it, or something else, first`,
          `set CONVERT_MEMORY_MB to ${Math.floor((0.5 * total) / MB)} or less`,
        ),
      )
    if (convert.parallel > 2 * cores)
      findings.push(
        warning(
          `this host has ${cores} cores, and CONVERT_PARALLEL is ${convert.parallel}`,
          'set it to 0, which is one for each core',
        ),
      )
    return findings.length > 0
      ? findings
      : [ok(`${bytesText(total)}, of which ${bytesText(expected)} may be used at once; ${cores} cores`)]
  },
}

/** What a container is allowed, where it is less than there is. */
function memoryBytes(): number {
  const allowed = process.constrainedMemory()
  return allowed > 0 ? Math.min(allowed, totalmem()) : totalmem()
}
