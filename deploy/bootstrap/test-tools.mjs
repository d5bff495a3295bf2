/**
 * What the tests alone need: Java and Maven, which start a Kafka broker, openssl, a browser for the pages, what makes a
 * clean Debian for the package, and promtool, which checks the rules for Prometheus. Under CI=true they are installed
 * where that can be done; elsewhere nobody is given a Java or a browser unasked, and those tests say that they are
 * skipped. promtool is taken out of its package, which is not installed: that would start a Prometheus.
 */

import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { canInstall, downloadPackage, installPackages, isExecutable } from './apt.mjs'
import { runTool } from './child.mjs'
import { say } from './say.mjs'

/** By command, the package that has it. */
const BROKER_TOOLS = { java: 'default-jre-headless', mvn: 'maven', openssl: 'openssl' }
const TOOLS = { chromium: 'chromium', debootstrap: 'debootstrap', lintian: 'lintian' }

/** Where Debian has debootstrap, and a PATH may not lead. */
export const SYSTEM_FOLDERS = ['/usr/sbin', '/sbin']

/** Tools that are only unpacked; the last of the tests' PATH. */
export function toolsFolder(env = process.env) {
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'pcap-pipeline', 'tools')
}

export async function ensureTestTools(env = process.env) {
  if (env.CI === 'true') await ensurePromtool(env)
  const packages = missingTools({ ...env, PATH: [env.PATH ?? '', ...SYSTEM_FOLDERS].join(delimiter) })
  if (env.CI !== 'true' || packages.length === 0) return
  if (!(await canInstall())) return say(`some tests need ${packages.join(', ')}, which cannot be installed here`)
  say(`installing what some tests need (apt-get install ${packages.join(' ')})`)
  await installPackages(...packages)
}

async function ensurePromtool(env) {
  const folder = toolsFolder(env)
  const path = [...(env.PATH ?? '').split(delimiter).filter(Boolean), folder]
  if (path.some((each) => isExecutable(join(each, 'promtool')))) return
  say('fetching promtool, which some tests need (apt-get download prometheus)')
  mkdirSync(folder, { recursive: true })
  const scratch = mkdtempSync(join(folder, '.promtool-'))
  try {
    await downloadPackage('prometheus', scratch)
    const [deb] = readdirSync(scratch).filter((name) => name.endsWith('.deb'))
    if (deb === undefined) return say('it could not be fetched; those tests will fail')
    const unpacked = join(scratch, 'unpacked')
    const { code, output } = await runTool('dpkg-deb', ['-x', join(scratch, deb), unpacked])
    if (code === 0) renameSync(join(unpacked, 'usr', 'bin', 'promtool'), join(folder, 'promtool'))
    else say(`it could not be unpacked: ${output.trim()}`)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/**
 * The packages of those that are not on the PATH. A broker that KAFKA_BROKERS names is not started here.
 * @public
 */
export function missingTools(env) {
  const folders = (env.PATH ?? '').split(delimiter).filter(Boolean)
  const isHere = (name) => folders.some((folder) => isExecutable(join(folder, name)))
  const wanted = { ...(env.KAFKA_BROKERS ? {} : BROKER_TOOLS), ...TOOLS }
  return Object.entries(wanted).flatMap(([name, of]) => (isHere(name) ? [] : [of]))
}
