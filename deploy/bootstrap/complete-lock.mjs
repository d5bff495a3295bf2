/**
 * Completes package-lock.json: node deploy/bootstrap/complete-lock.mjs [package-lock.json]
 *
 * A package may name binaries for platforms that a registry mirror does not carry. `npm install` then
 * leaves them out of the lock file, and `npm ci` (npm 11) refuses the file as out of step with
 * package.json. This adds what is missing: version, os, cpu and libc, all of which the parent's
 * `optionalDependencies` and the binary's name tell. It also removes `resolved`, so that every registry
 * serves. Run it after each change of a dependency; repeating it changes nothing.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const SYSTEMS = ['linux', 'darwin', 'win32', 'android', 'freebsd', 'netbsd', 'openbsd', 'sunos', 'aix', 'openharmony']
const PROCESSORS = ['x64', 'arm64', 'ia32', 'arm', 'ppc64', 'riscv64', 's390x', 'loong64', 'mips64el']
const LIBRARIES = { gnu: 'glibc', gnueabihf: 'glibc', musl: 'musl', musleabihf: 'musl' }

/** The platform that a binary package's name tells, or undefined. */
function platformOf(name) {
  const words = name.split(/[-/]/)
  const os = words.find((word) => SYSTEMS.includes(word))
  const cpu = words.find((word) => PROCESSORS.includes(word))
  const library = words.find((word) => word in LIBRARIES)
  return os && cpu ? { cpu: [cpu], ...(library && { libc: [LIBRARIES[library]] }), os: [os] } : undefined
}

/** The optional packages that the lock file's entries name and that it has no entry for. */
export function missingFromLock(lock) {
  const missing = []
  for (const [path, entry] of Object.entries(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const known = `node_modules/${name}` in lock.packages || `${path}/node_modules/${name}` in lock.packages
      if (!known) missing.push({ name, version, dev: entry.dev })
    }
  }
  return missing
}

/** A copy of the lock file with an entry for each optional package, and without `resolved`. */
export function completeLock(lock) {
  const packages = structuredClone(lock.packages)
  for (const { name, version, dev } of missingFromLock(lock)) {
    const platform = platformOf(name)
    if (!platform || !/^\d[\w.+-]*$/.test(version)) {
      throw new Error(`package-lock.json has no entry for ${name}@${version}, and its name tells no platform`)
    }
    packages[`node_modules/${name}`] = { version, ...(dev && { dev }), optional: true, ...platform }
  }
  for (const entry of Object.values(packages)) delete entry.resolved
  const paths = Object.keys(packages).sort((a, b) => a.localeCompare(b, 'en'))
  return { ...lock, packages: Object.fromEntries(paths.map((path) => [path, packages[path]])) }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const file = process.argv[2] ?? 'package-lock.json'
  const lock = JSON.parse(readFileSync(file, 'utf8'))
  const added = missingFromLock(lock).length
  writeFileSync(file, `${JSON.stringify(completeLock(lock), null, 2)}\n`)
  process.stderr.write(`${file}: ${added} entries added\n`)
}
