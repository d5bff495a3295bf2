/**
 * What the tests alone need: Java and Maven, which start a Kafka broker, openssl, and a browser for the pages. Under
 * CI=true they are installed where that can be done; elsewhere nobody is given a Java or a browser unasked, and those
 * tests say that they are skipped.
 */

import { delimiter, join } from 'node:path'
import { canInstall, installPackages, isExecutable } from './apt.mjs'
import { say } from './say.mjs'

/** By command, the package that has it. */
const BROKER_TOOLS = { java: 'default-jre-headless', mvn: 'maven', openssl: 'openssl' }
const TOOLS = { chromium: 'chromium' }

export async function ensureTestTools(env = process.env) {
  const packages = missingTools(env)
  if (env.CI !== 'true' || packages.length === 0) return
  if (!(await canInstall())) return say(`some tests need ${packages.join(', ')}, which cannot be installed here`)
  say(`installing what some tests need (apt-get install ${packages.join(' ')})`)
  await installPackages(...packages)
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
