/**
 * Elasticsearch's server for the tests, fetched once by Maven into a folder outside the project. It is the build that
 * Elastic makes for tests of plugins: the server itself with its own transport and security, without the rest.
 */

import { execFile } from 'node:child_process'
import { accessSync, chmodSync, constants, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
// @ts-expect-error: plain JavaScript
import { withLock } from '../../../deploy/bootstrap/lock.mjs'

const VERSION = '8.19.21'
const ARTIFACT = `org.elasticsearch.distribution.integ-test-zip:elasticsearch:${VERSION}:zip`
const FETCH_LIMIT_MS = 540_000

const run = promisify(execFile)

/** Why no node can be started here, as the end of a sentence; undefined when one can. */
export function missingTool(): string | undefined {
  if (!onPath('java')) return 'no java here'
  if (isInstalled()) return undefined
  return onPath('mvn') ? (onPath('unzip') ? undefined : 'no unzip here') : 'no maven here'
}

/** The server's home, readable by everybody. Throws when it cannot be fetched. */
export async function installElasticsearch(): Promise<string> {
  const folder = folderOfServer()
  if (!isInstalled()) {
    mkdirSync(folder, { recursive: true })
    await withLock(folder, async () => {
      if (!isInstalled()) await fetchServer(folder)
    })
  }
  return homeOf(folder)
}

/** Another user runs it when we are root, and root's own folder is closed to others. */
function folderOfServer(): string {
  const cache = process.getuid?.() === 0 ? '/var/cache' : process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  return join(cache, 'pcap-pipeline', `elasticsearch-${VERSION}`)
}

const homeOf = (folder: string) => join(folder, `elasticsearch-${VERSION}`)
const isInstalled = () => existsSync(homeOf(folderOfServer()))

async function fetchServer(folder: string): Promise<void> {
  const part = join(folder, 'part')
  rmSync(part, { recursive: true, force: true })
  mkdirSync(part, { recursive: true })
  const limit = { timeout: FETCH_LIMIT_MS, maxBuffer: 64 * 2 ** 20 }
  await run('mvn', ['-q', '-B', 'dependency:get', '-Dtransitive=false', `-Dartifact=${ARTIFACT}`], limit)
  const copy = ['-q', '-B', 'dependency:copy', `-Dartifact=${ARTIFACT}`, `-DoutputDirectory=${part}`]
  await run('mvn', copy, limit)
  await run('unzip', ['-q', join(part, `elasticsearch-${VERSION}.zip`), '-d', part], limit)
  chmodSync(folder, 0o755)
  renameSync(join(part, `elasticsearch-${VERSION}`), homeOf(folder))
  rmSync(part, { recursive: true, force: true })
}

function onPath(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((dir) => {
    try {
      accessSync(join(dir, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
