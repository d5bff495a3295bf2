import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..', '..')
const load = (name: string) => import(join(root, 'deploy', 'bootstrap', name))
const { completeLock, missingFromLock } = await load('complete-lock.mjs')
const { findEngine } = await load('engine.mjs')
const { nodeOptions } = await load('node-options.mjs')
const { missingTools } = await load('test-tools.mjs')
const { wantsInstallableTool } = await load('summary-reporter.mjs')
const lockFile = join(root, 'deploy', 'bootstrap', 'lock.mjs')

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'bootstrap-'))
})
afterEach(() => {
  rmSync(dir, { recursive: true, force: true })
})

describe('the Node of a process that takes events in', () => {
  const isSmall = (...args: string[]) => {
    const { flags, env } = nodeOptions(args, {})
    expect(env).toEqual(flags.includes('--max-semi-space-size=4') ? { MALLOC_ARENA_MAX: '2' } : {})
    return flags.includes('--max-semi-space-size=4')
  }

  it('has a small young generation, wherever options stand; that of others is as it is', () => {
    expect([isSmall('stream'), isSmall('--config', 'config.json', 'stream'), isSmall('stage', 'upload')]).toEqual([
      true,
      true,
      true,
    ])
    expect([isSmall(), isSmall('run'), isSmall('stage', 'convert')]).toEqual([false, false, false])
    expect(nodeOptions(['stream'], { MALLOC_ARENA_MAX: '8' }).env).toEqual({ MALLOC_ARENA_MAX: '8' })
  })
})

describe('package-lock.json', () => {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))

  it('has an entry for every optional package, whichever registry wrote it (node deploy/bootstrap/complete-lock.mjs)', () => {
    expect(missingFromLock(lock).map(({ name }: { name: string }) => name)).toEqual([])
  })

  it('names no registry', () => {
    expect(Object.values(lock.packages).filter((entry) => 'resolved' in (entry as object))).toEqual([])
  })

  it('names a package with a checksum, except binaries for other platforms', () => {
    const without = Object.entries<{ integrity?: string; os?: string[] }>(lock.packages).filter(([, e]) => !e.integrity)
    for (const [path, entry] of without) expect(path === '' || entry.os, path).toBeTruthy()
  })
})

describe('completing a lock file', () => {
  const tool = {
    version: '1.0.0',
    dev: true,
    optionalDependencies: { '@t/win32-x64-msvc': '1.0.0', 't-linux-arm64-musl': '1.0.0' },
  }
  const whole = completeLock({ lockfileVersion: 3, packages: { '': {}, 'node_modules/t': tool } })

  it('adds what the name and the parent tell', () => {
    expect(whole.packages['node_modules/@t/win32-x64-msvc']).toEqual({
      version: '1.0.0',
      dev: true,
      optional: true,
      cpu: ['x64'],
      os: ['win32'],
    })
    expect(whole.packages['node_modules/t-linux-arm64-musl']).toMatchObject({
      cpu: ['arm64'],
      os: ['linux'],
      libc: ['musl'],
    })
  })

  it('changes nothing the second time', () => {
    expect(completeLock(whole)).toEqual(whole)
  })

  it('refuses what it would have to guess', () => {
    const packages = { '': {}, 'node_modules/t': { version: '1.0.0', optionalDependencies: { fancy: '^1.0.0' } } }
    expect(() => completeLock({ packages })).toThrow(/no entry for fancy/)
  })
})

describe('looking for an engine', () => {
  const tool = (name: string, mode = 0o755) => {
    writeFileSync(join(dir, name), '#!/bin/sh\n')
    chmodSync(join(dir, name), mode)
    return join(dir, name)
  }

  it('finds one on the PATH, Zeek first', () => {
    expect(findEngine(dir, { PATH: dir }, [])).toBeUndefined()
    const tshark = tool('tshark')
    expect(findEngine(dir, { PATH: `/nowhere:${dir}` }, [])).toBe(tshark)
    const zeek = tool('zeek')
    expect(findEngine(dir, { PATH: dir }, [])).toBe(zeek)
  })

  it('finds one that the environment or the settings file names', () => {
    const own = tool('my-tshark')
    expect(findEngine(dir, { PATH: '', TSHARK_PATH: own }, [])).toBe(own)
    writeFileSync(join(dir, '.env'), `# mine\nexport TSHARK_PATH="${own}" # here\n`)
    expect(findEngine(dir, { PATH: '' }, [])).toBe(own)
  })

  it('does not take what cannot be run', () => {
    tool('tshark', 0o644)
    expect(findEngine(dir, { PATH: dir }, [])).toBeUndefined()
  })
})

describe('the tools of the tests', () => {
  it('are those packages whose commands are not on the PATH, without those of a broker where one is named', () => {
    expect(missingTools({ PATH: dir })).toEqual([
      'default-jre-headless',
      'maven',
      'openssl',
      'chromium',
      'debootstrap',
      'lintian',
    ])
    writeFileSync(join(dir, 'java'), '#!/bin/sh', { mode: 0o755 })
    expect(missingTools({ PATH: `/nowhere:${dir}` })).toEqual([
      'maven',
      'openssl',
      'chromium',
      'debootstrap',
      'lintian',
    ])
    expect(missingTools({ PATH: dir, KAFKA_BROKERS: 'a:9092' })).toEqual(['chromium', 'debootstrap', 'lintian'])
  })
})

describe('a reason to skip', () => {
  it.each([
    'reads pcapng (skipped: tshark not installed)',
    'x: needs tshark',
    'x (skipped: no capinfos here)',
    'x > y: dumpcap is missing',
    'x (skipped: needs the openssl command)',
    'the bus (skipped: no java here, which starts Kafka)',
    'the bus (skipped: no kafka here, Maven could not fetch Kafka 4.3.1)',
  ])('that CI does not accept: %s', (text) => {
    expect(wantsInstallableTool(text)).toBe(true)
  })

  it.each([
    'agrees with tshark on every capture (skipped: no corpus beside the project)',
    'converts with Zeek (skipped: no Zeek here)',
    'writes as tshark does',
    'x (skipped: KAFKA_BROKERS names another)',
  ])('that CI accepts: %s', (text) => {
    expect(wantsInstallableTool(text)).toBe(false)
  })
})

describe('the lock of the set-up', () => {
  const hold = `import { withLock } from ${JSON.stringify(lockFile)}
await withLock(process.argv[1], async () => {
  process.stdout.write('held\\n')
  await new Promise((resolve) => setTimeout(resolve, Number(process.argv[2])))
})`
  const start = (ms: number) => spawn(process.execPath, ['--input-type=module', '-e', hold, dir, String(ms)])
  const held = (child: ReturnType<typeof start>) => once(child.stdout, 'data')

  it('is held by one at a time and passed on', async () => {
    const first = start(400)
    await held(first)
    const second = start(0)
    let isFirstDone = false
    first.on('exit', () => {
      isFirstDone = true
    })
    await held(second)
    await once(second, 'exit')
    expect(isFirstDone).toBe(true)
  })

  it('is free at once when its holder is killed', async () => {
    const first = start(600_000)
    await held(first)
    const second = start(0)
    setTimeout(() => first.kill('SIGKILL'), 200)
    await held(second)
    expect(await once(second, 'exit')).toEqual([0, null])
  })
})
