/**
 * Stands in for Zeek where there is none: called as the engine calls Zeek (`-C -r FILE …`), it writes a `<log>.log` a
 * log type into the working directory, by our own dissectors, without the ids that each of Zeek's runs draws anew.
 */

import { appendFileSync } from 'node:fs'
import { readCapture } from '../../src/capture/reader.ts'
import { createDissect } from '../../src/engines/tshark/dissect.ts'
import { PROTOCOLS } from '../../src/engines/tshark/protocols/index.ts'

const file = process.argv[process.argv.indexOf('-r') + 1] as string
const IDS = /"(?:uid|fuid|id|conn_uids|tunnel_parents|parent_fuid|[a-z_]*fuids?)":(?:"[^"]*"|\[[^\]]*\]),?/g

const write = (log: string, line: string) => appendFileSync(`${log}.log`, `${line.replaceAll(IDS, '')}\n`)
const dissect = createDissect({
  captureId: file,
  protocols: PROTOCOLS,
  write: (log, record) => write(log, JSON.stringify(record)),
  writeLine: write,
  onFault(protocol, error) {
    throw new Error(`${protocol}: ${error}`)
  },
})
await readCapture(file, { onPacket: dissect.packet })
dissect.finish()
