/** Each engine that is there reads a tiny capture, and what it makes of it is compared with what it must be. */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Engine, Log } from '../../../stages/ports.ts'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import { cleanEnv, findExecutable, runChild } from '../../engines/child.ts'
import { openTsharkEngine } from '../../engines/tshark/engine.ts'
import { openZeekEngine } from '../../engines/zeek/engine.ts'
import { type Check, error, type Finding, ok, warning } from '../check.ts'
import type { Host } from '../host.ts'
import { type TinyCapture, tinyCapture } from '../tiny-capture.ts'

const CAPTURE_ID = '0'.repeat(64)
const LIMIT_MS = 60_000
const silent: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent }

type Convert = Host['config']['convert']

export const engines: Check<Host> = {
  name: 'engines',
  async look({ config: { convert } }) {
    const dir = await mkdtemp(join(tmpdir(), 'pcap-pipeline-doctor-'))
    try {
      const tiny = tinyCapture()
      const path = join(dir, 'tiny.pcap')
      await writeFile(path, tiny.bytes)
      const options = { ...convert, parallel: 1, packetLog: false, timeoutMs: LIMIT_MS }
      const own = await tryEngine('our own engine', () => openTsharkEngine(options), path, tiny)
      return [
        own,
        await zeekFinding(convert, () => openZeekEngine(options), path, tiny),
        await tsharkFinding(convert, path, tiny),
      ]
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  },
}

async function zeekFinding(
  { engine, zeekPath = 'zeek', searchPath }: Convert,
  open: () => Promise<Engine>,
  path: string,
  tiny: TinyCapture,
): Promise<Finding> {
  if (findExecutable(zeekPath, searchPath) === undefined)
    return engine === 'zeek'
      ? error(
          `CONVERT_ENGINE is zeek, and ${zeekPath} is not there`,
          'install Zeek, set ZEEK_PATH, or CONVERT_ENGINE=auto',
        )
      : ok('no Zeek here; our own dissectors read the captures')
  const found = await tryEngine('Zeek', open, path, tiny)
  return engine === 'tshark' && found.verdict === 'error' ? { ...found, verdict: 'warning' } : found
}

async function tryEngine(name: string, open: () => Promise<Engine>, path: string, tiny: TinyCapture): Promise<Finding> {
  const todo = `convert captures with another engine (CONVERT_ENGINE), and install ${name === 'Zeek' ? 'Zeek' : 'pcap-pipeline'} anew`
  try {
    const { packets, logs, version } = await convertTiny(await open(), path)
    const wrong = Object.entries(tiny.records)
      .filter(([log, n]) => logs[log]?.records !== n)
      .map(([log, n]) => `${logs[log]?.records ?? 0} records of ${log} instead of ${n}`)
    if (packets !== tiny.packets) wrong.unshift(`${packets} packets instead of ${tiny.packets}`)
    if (wrong.length > 0) return error(`${name} (${version}) read of a tiny capture ${wrong.join(', ')}`, todo)
    return ok(`${name} (${version}) reads a tiny capture as it should`)
  } catch (thrown) {
    return error(`${name} does not read a tiny capture: ${messageOf(thrown)}`, todo)
  }
}

async function convertTiny(engine: Engine, path: string) {
  const outDir = `${path}.${engine.name}.out`
  const workDir = `${path}.${engine.name}.work`
  await mkdir(outDir)
  await mkdir(workDir)
  const request = { capturePath: path, captureId: CAPTURE_ID, outDir, workDir, log: silent }
  const { packets, logs, engineVersion } = await engine.convert({ ...request, signal: AbortSignal.timeout(LIMIT_MS) })
  return { packets: packets.decoded, logs, version: engineVersion }
}

/** It makes the packet log alone: without that, what is wrong with it harms nobody. */
async function tsharkFinding(
  { packetLog, tsharkPath = 'tshark', searchPath }: Convert,
  path: string,
  tiny: TinyCapture,
): Promise<Finding> {
  const bad = packetLog ? error : warning
  const todo = packetLog
    ? 'sudo apt-get install --reinstall tshark, or set TSHARK_PATH to another, or PACKET_LOG=false'
    : 'sudo apt-get install --reinstall tshark, before PACKET_LOG is set to true; nothing else needs it'
  const command = findExecutable(tsharkPath, searchPath)
  if (command === undefined)
    return packetLog
      ? error(`PACKET_LOG is true, and ${tsharkPath} is not there`, todo)
      : ok('no tshark here; only the packet log needs it')
  try {
    const version = /(\d+\.\d+\.\d+)/.exec(await outputOf(command, ['--version']))?.[1] ?? 'of unknown version'
    const lines = await outputOf(command, ['-n', '-r', path, '-T', 'fields', '-e', 'frame.number'])
    const packets = lines.split('\n').filter((line) => line !== '').length
    if (packets === tiny.packets) return ok(`tshark ${version} reads a tiny capture as it should`)
    return bad(`tshark (${command}) read ${packets} packets of a tiny capture that has ${tiny.packets}`, todo)
  } catch (thrown) {
    return bad(`tshark (${command}) does not read a tiny capture: ${messageOf(thrown)}`, todo)
  }
}

async function outputOf(command: string, args: string[]): Promise<string> {
  let text = ''
  const { code, signal, stderr } = await runChild({
    ...{ command, args, env: cleanEnv(), timeoutMs: LIMIT_MS, signal: AbortSignal.timeout(LIMIT_MS) },
    onStdout: (chunk) => {
      if (text.length < 65_536) text += chunk.toString('latin1')
    },
  })
  if (code === 0) return text
  const how = signal === null ? `exit code ${code}` : `it was ended by ${signal}`
  throw new PipelineError('engine_failed', `${how}${stderr === '' ? '' : `: ${stderr.slice(0, 200)}`}`)
}
