/**
 * What the processor runs itself: in, a tree of files and its processor; out, nothing, or an error that names each binary
 * that is missing or is for another one. npm leaves out an optional package that it cannot get, and says nothing.
 *
 * Source of the format: elf(5), the first twenty bytes of the header.
 */

import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { filesBelow } from '../bootstrap/files.mjs'
import { SetupError } from '../bootstrap/say.mjs'

const HOME = 'usr/lib/pcap-pipeline'
const HEAD_BYTES = 20
const MACHINE_AT = 18
/** EM_X86_64, EM_AARCH64. */
const MACHINES = { x64: 62, arm64: 183 }

/** @throws SetupError */
export function checkBinaries(tree, { node }) {
  const wanted = [
    `${HOME}/bin/node`,
    `${HOME}/node_modules/@duckdb/node-bindings-linux-${node}/duckdb.node`,
    `${HOME}/node_modules/@duckdb/node-bindings-linux-${node}/libduckdb.so`,
    `${HOME}/node_modules/better-sqlite3/prebuilds/linux-${node}.node`,
  ]
  const wrong = [
    ...wanted.filter((path) => !existsSync(join(tree, path))).map((path) => `${path} is missing`),
    ...filesBelow(tree, HOME)
      .map((path) => ({ path, machine: machineOf(join(tree, path)) }))
      .filter(({ machine }) => machine !== undefined && machine !== MACHINES[node])
      .map(({ path }) => `${path} is for another processor`),
  ]
  if (wrong.length > 0) throw new SetupError(`what is made for ${node} would not run: ${wrong.join('; ')}`)
}

/** Of an ELF file, the processor that it is for; of any other, undefined. */
function machineOf(path) {
  const head = Buffer.alloc(HEAD_BYTES)
  const file = openSync(path, 'r')
  try {
    const isElf = readSync(file, head) === HEAD_BYTES && head.subarray(0, 4).toString('latin1') === '\x7fELF'
    return isElf ? head.readUInt16LE(MACHINE_AT) : undefined
  } finally {
    closeSync(file)
  }
}
