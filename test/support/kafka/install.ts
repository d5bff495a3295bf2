/**
 * Kafka's broker for the tests, fetched once by Maven into a folder outside the project and formatted once: in, a
 * version; out, its jars and a data directory to begin from. Test runs that need it at the same time take turns.
 */

import { execFile } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
// @ts-expect-error: plain JavaScript
import { withLock } from '../../../deploy/bootstrap/lock.mjs'

export const KAFKA_VERSION = '4.3.1'

/** The accounts that every broker of the tests knows, by SCRAM-SHA-256, SCRAM-SHA-512 and PLAIN. */
export const ACCOUNTS = { pipeline: 'pipeline-secret', stranger: 'stranger-secret' }

export interface Installed {
  /** The argument of `-cp`. */
  classPath: string
  /** A data directory of a broker that was never started; to be copied. */
  formatted: string
}

const run = promisify(execFile)
const FETCH_LIMIT_MS = 540_000
const FORMAT_LIMIT_MS = 120_000

/** Why no broker can be started here, as the end of a sentence; undefined when one can. */
export function missingTool(version = KAFKA_VERSION): string | undefined {
  if (!onPath('java')) return 'no java here'
  if (!existsSync(join(folderOf(version), 'formatted')) && !onPath('mvn')) return 'no maven here'
  return undefined
}

/** @throws when a tool is missing, or when Maven cannot fetch what it is asked for. */
export async function installKafka(version = KAFKA_VERSION): Promise<Installed> {
  const folder = folderOf(version)
  const installed = { classPath: join(folder, 'libs', '*'), formatted: join(folder, 'formatted') }
  if (existsSync(installed.formatted)) return installed
  const missing = missingTool(version)
  if (missing !== undefined) throw new Error(`there is ${missing}: Kafka ${version} cannot be started`)
  mkdirSync(folder, { recursive: true })
  await withLock(folder, async () => {
    if (!existsSync(join(folder, 'libs'))) await fetchJars(folder, version)
    if (!existsSync(installed.formatted)) await format(folder, installed)
  })
  return installed
}

function folderOf(version: string): string {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  return join(cache, 'pcap-pipeline', `kafka-${version}`)
}

async function fetchJars(folder: string, version: string): Promise<void> {
  const part = join(folder, 'libs.part')
  rmSync(part, { recursive: true, force: true })
  writeFileSync(join(folder, 'pom.xml'), pomOf(version))
  const args = ['-q', '-B', 'dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${part}`]
  try {
    await run('mvn', args, { cwd: folder, timeout: FETCH_LIMIT_MS })
  } catch (cause) {
    throw new Error(`Maven could not fetch Kafka ${version}: ${lastLines(cause)}`, { cause })
  }
  renameSync(part, join(folder, 'libs'))
}

/** One formatted directory serves all brokers: what is in it names neither ports nor paths. */
async function format(folder: string, { classPath, formatted }: Installed): Promise<void> {
  const part = join(folder, 'formatted.part')
  rmSync(part, { recursive: true, force: true })
  const properties = join(folder, 'format.properties')
  writeFileSync(
    properties,
    [
      'process.roles=broker,controller',
      'node.id=1',
      'controller.quorum.voters=1@127.0.0.1:9093',
      'listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093',
      'controller.listener.names=CONTROLLER',
      `log.dirs=${part}`,
    ].join('\n'),
  )
  const scram = Object.entries(ACCOUNTS).flatMap(([name, password]) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((kind) => [
      '--add-scram',
      `${kind}=[name=${name},password=${password}]`,
    ]),
  )
  const args = ['-cp', classPath, 'kafka.tools.StorageTool', 'format', '-t', 'cGNhcC1waXBlbGluZS10ZQ', '-c', properties]
  try {
    await run('java', [...args, ...scram], { timeout: FORMAT_LIMIT_MS })
  } catch (cause) {
    throw new Error(`Kafka's StorageTool could not format a data directory: ${lastLines(cause)}`, { cause })
  }
  renameSync(part, formatted)
}

function pomOf(version: string): string {
  const dependency = (group: string, artifact: string, of: string, more = '') =>
    `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${of}</version>${more}</dependency>`
  const without = '<groupId>org.apache.kafka</groupId><artifactId>kafka-tools-api</artifactId>'
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>broker-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    ${dependency('org.apache.kafka', 'kafka_2.13', version, `<exclusions><exclusion>${without}</exclusion></exclusions>`)}
    ${dependency('org.slf4j', 'slf4j-simple', '1.7.36')}
  </dependencies>
</project>
`
}

function onPath(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return folder !== ''
    } catch {
      return false
    }
  })
}

function lastLines(error: unknown): string {
  const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
  const text = `${stdout}\n${stderr}`.trim() || String(error)
  return text.split('\n').slice(-4).join(' ').slice(0, 500)
}
