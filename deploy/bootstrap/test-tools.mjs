/**
 * What the tests alone need: Java and Maven, which start a Kafka broker, and openssl. Under CI=true they are
 * installed where that can be done; elsewhere nobody is given a Java unasked, and those tests say that they are skipped.
 */

import { delimiter, join } from 'node:path'
import { canInstall, installPackages, isExecutable } from './apt.mjs'
import { say } from './say.mjs'

/** By command, the package that has it. */
const TOOLS = { java: 'default-jre-headless', mvn: 'maven', openssl: 'openssl' }

export async function ensureTestTools(env = process.env) {
  const packages = missingTools(env)
  if (env.CI !== 'true' || packages.length === 0) return
  if (!(await canInstall()))
    return say(`the tests of Kafka need ${packages.join(', ')}, which cannot be installed here`)
  say(`installing what the tests of Kafka need (apt-get install ${packages.join(' ')})`)
  await installPackages(...packages)
}

/**
 * The packages of those that are not on the PATH. A broker that KAFKA_BROKERS names needs none.
 * @public
 */
export function missingTools(env) {
  if (env.KAFKA_BROKERS) return []
  const folders = (env.PATH ?? '').split(delimiter).filter(Boolean)
  const isHere = (name) => folders.some((folder) => isExecutable(join(folder, name)))
  return Object.entries(TOOLS).flatMap(([name, of]) => (isHere(name) ? [] : [of]))
}
