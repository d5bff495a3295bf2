import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Debian, finished, makeDebian, must, whyNoDebian } from '../support/debian.ts'

const project = join(import.meta.dirname, '../..')
const SAMPLE = join(project, 'test/fixtures/sample.pcap')
const SETTINGS = 'etc/pcap-pipeline/pcap-pipeline.env'
const DATA = 'var/lib/pcap-pipeline'
const ARCH = { x64: 'amd64', arm64: 'arm64' }[process.arch as 'x64' | 'arm64']
const why = await whyNoDebian()
const hasLintian = spawnSync('lintian', ['--version']).status === 0
/** Debian is made, packages are built and installed: minutes, where a network is slow. */
const LONG = 600_000
const isError = ({ verdict }: { verdict: string }) => verdict === 'error'

describe.skipIf(why !== '')(`the package, in a clean Debian 12${why}`, () => {
  let packages: string
  let debian: Debian
  let fresh: string
  let older: string
  let lean: string

  const at = (path: string) => join(debian.root, path)
  const install = (path: string) => {
    copyFileSync(path, at('tmp/pcap-pipeline.deb'))
    return debian.run(['apt-get', 'install', '-y', '--no-install-recommends', '/tmp/pcap-pipeline.deb'])
  }
  const rowsOfDns = async (user?: string) => {
    const query = ['pcap-pipeline', 'query', 'select count(*) as n from dns', '--format', 'csv']
    return (await debian.run(query, { user })).stdout.trim().split(/\s+/).at(-1)
  }

  beforeAll(async () => {
    packages = mkdtempSync(join(tmpdir(), 'packages-'))
    const build = ['deploy/package/main.mjs', '--arch', ARCH, '--out', packages]
    const [built, made] = await Promise.all([finished(process.execPath, build, project), makeDebian()])
    debian = made
    if (built.code !== 0) throw new Error(built.stderr)
    fresh = join(packages, readdirSync(packages).find((name) => name.endsWith('.deb')) as string)
    ;({ older, lean } = await changed(fresh))
    const { code, stderr } = await debian.run(['apt-get', 'update'])
    if (code !== 0) throw new Error(stderr)
  }, LONG)
  afterAll(() => {
    debian?.[Symbol.dispose]()
    rmSync(packages, { recursive: true, force: true })
  }, LONG)

  /**
   * The same package under another version, as one that came before; and without the binaries that others publish, all
   * of whose faults are explained, for lintian takes minutes to look at them.
   */
  async function changed(deb: string): Promise<{ older: string; lean: string }> {
    const folder = join(packages, 'unpacked')
    await must('dpkg-deb', ['-R', deb, folder])
    const change = (name: string, to: (text: string) => string) =>
      writeFileSync(join(folder, name), to(readFileSync(join(folder, name), 'utf8')))
    const pack = async (name: string, compression: string[]) => {
      const file = join(packages, name)
      await must('dpkg-deb', [...compression, '--root-owner-group', '-b', folder, file])
      return file
    }
    change('DEBIAN/control', (text) => text.replace(/^Version: .*$/m, 'Version: 0.0.9'))
    const before = await pack('before', ['-Znone'])
    const sums = readFileSync(join(folder, 'DEBIAN/md5sums'), 'utf8').split('\n')
    const binaries = sums.filter((line) => /\/bin\/node$|\.node$|\.so$/.test(line))
    for (const line of binaries) rmSync(join(folder, line.slice(line.indexOf('  ') + 2)))
    change('DEBIAN/md5sums', () => sums.filter((line) => !binaries.includes(line)).join('\n'))
    const light = await pack('light.deb', ['-Zgzip', '-z1'])
    rmSync(folder, { recursive: true })
    return { older: before, lean: light }
  }

  it('is installed with what it needs, asks nothing, and takes a capture in', { timeout: LONG }, async () => {
    const { code, stdout, stderr } = await install(older)
    expect(code, stdout + stderr).toBe(0)
    copyFileSync(SAMPLE, at('tmp/sample.pcap'))
    const taken = await debian.run(['pcap-pipeline', 'ingest', '/tmp/sample.pcap'])
    expect(taken.code, taken.stderr).toBe(0)
    expect(taken.stdout).toMatch(/balanced {2}every packet and every record is accounted for/)
    expect(Number(await rowsOfDns())).toBeGreaterThan(0)
    expect((await debian.run(['which', 'tshark'])).code).toBe(0)
    expect(statSync(at(SETTINGS)).mode & 0o777).toBe(0o640)
  })

  it('members of the group work on the same data, and others are told what to do', { timeout: LONG }, async () => {
    await debian.run(['useradd', '--create-home', '--groups', 'pcap-pipeline', 'analyst'])
    await debian.run(['useradd', '--create-home', 'stranger'])
    expect(await rowsOfDns('analyst')).toBe(await rowsOfDns())
    copyFileSync(SAMPLE, at('home/analyst/mine.pcap'))
    await debian.run(['chown', 'analyst:analyst', '/home/analyst/mine.pcap'])
    await debian.run(['chmod', '600', '/home/analyst/mine.pcap'])
    const again = await debian.run(['pcap-pipeline', 'reprocess', 'sample.pcap'], { user: 'analyst' })
    expect(again.code, again.stderr).toBe(0)
    const taken = await debian.run(['pcap-pipeline', 'ingest', '/home/analyst/mine.pcap'], {
      user: 'analyst',
    })
    expect(taken.code, taken.stderr).toBe(0)
    const healthy = await debian.run(['pcap-pipeline', 'doctor', '--json'], { user: 'analyst' })
    expect([healthy.code, JSON.parse(healthy.stdout).findings.filter(isError)]).toEqual([0, []])
    for (const command of [['backup', '/home/analyst'], ['retention'], ['compact']]) {
      const { code, stderr } = await debian.run(['pcap-pipeline', ...command], { user: 'analyst' })
      expect({ command, code, stderr: code === 0 ? '' : stderr }).toEqual({ command, code: 0, stderr: '' })
    }
    const [copy] = readdirSync(at('home/analyst')).filter((name) => name.endsWith('.db'))
    expect(statSync(at(`home/analyst/${copy}`)).mode & 0o777).toBe(0o600)
    // Keys too, which nobody else may read: who converts next may be another member, or the service.
    for (const name of ['tls.pcap', 'tls.keys'])
      copyFileSync(join(project, 'test/fixtures', name), at(`home/analyst/${name}`))
    const withKeys = await debian.run(['pcap-pipeline', 'ingest', '/home/analyst/tls.pcap'], { user: 'analyst' })
    expect(withKeys.code, withKeys.stderr).toBe(0)
    const keys = ['find', `/${DATA}/captures`, '-name', '*.keys', '-perm', '660']
    expect((await debian.run(keys)).stdout.trim().split('\n')).toEqual([expect.stringMatching(/\.keys$/)])
    expect((await debian.run(['find', `/${DATA}`, '!', '-group', 'pcap-pipeline'])).stdout).toBe('')
    const refused = await debian.run(['pcap-pipeline', 'status'], { user: 'stranger' })
    expect(refused.code).toBe(2)
    expect(refused.stderr).toContain('usermod --append --groups pcap-pipeline stranger')
    expect((await debian.run(['pcap-pipeline', '--help'], { user: 'stranger' })).code).toBe(0)
  })

  it('has every library that any part of it loads', { timeout: LONG }, async () => {
    const names = Object.keys(JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')).dependencies)
    const home = '/usr/lib/pcap-pipeline'
    const script = `for (const name of ${JSON.stringify(names)}) await import(name)`
    writeFileSync(at(`${home}/dist/load.mjs`), script)
    const { code, stderr } = await debian.run([`${home}/bin/node`, `${home}/dist/load.mjs`])
    rmSync(at(`${home}/dist/load.mjs`))
    expect(code, stderr).toBe(0)
  })

  it('an upgrade keeps settings and rows, and nothing was ever written into what is installed', {
    timeout: LONG,
  }, async () => {
    const before = await rowsOfDns()
    writeFileSync(at(SETTINGS), `${readFileSync(at(SETTINGS), 'utf8')}LOG_LEVEL=debug\n`)
    // What is not as it was installed: the settings alone.
    const verified = await debian.run(['dpkg', '--verify', 'pcap-pipeline'])
    expect(verified.stdout.split('\n').filter(Boolean)).toEqual([expect.stringContaining(` c /${SETTINGS}`)])
    const { code, stdout, stderr } = await install(fresh)
    expect(code, stdout + stderr).toBe(0)
    expect(readFileSync(at(SETTINGS), 'utf8')).toMatch(/\nLOG_LEVEL=debug\n$/)
    expect(await rowsOfDns()).toBe(before)
    const config = await debian.run(['pcap-pipeline', 'config', '--json'])
    expect(JSON.parse(config.stdout)).toContainEqual({ name: 'LOG_LEVEL', value: 'debug', source: '.env' })
  })

  it('removing it leaves settings and data; installing it again goes on with them', { timeout: LONG }, async () => {
    const before = await rowsOfDns()
    expect((await debian.run(['apt-get', 'remove', '-y', 'pcap-pipeline'])).code).toBe(0)
    for (const path of [
      'usr/lib/pcap-pipeline',
      'usr/bin/pcap-pipeline',
      'usr/lib/systemd/system/pcap-pipeline.service',
    ])
      expect(existsSync(at(path)), path).toBe(false)
    for (const path of [SETTINGS, `${DATA}/pipeline.db`, `${DATA}/parquet/dns`])
      expect(existsSync(at(path)), path).toBe(true)
    expect((await install(fresh)).code).toBe(0)
    expect(await rowsOfDns()).toBe(before)
  })

  it('purging it takes everything', { timeout: LONG }, async () => {
    const { code, stderr } = await debian.run(['apt-get', 'purge', '-y', 'pcap-pipeline'])
    expect(code, stderr).toBe(0)
    const found = await debian.run([
      'find',
      '/etc',
      '/usr',
      '/var',
      '-path',
      '/var/cache/apt',
      '-prune',
      '-o',
      '-name',
      '*pcap-pipeline*',
      '-print',
    ])
    expect(found.stdout).toBe('')
    for (const file of ['etc/passwd', 'etc/group'])
      expect(readFileSync(at(file), 'utf8')).not.toMatch(/^pcap-pipeline:/m)
  })

  it('the bundle installs the same, upgrades itself, and goes again', { timeout: LONG }, async () => {
    const bundle = readdirSync(packages).find((name) => name.endsWith('.tar.gz')) as string
    const folder = `/opt/${bundle.slice(0, -'.tar.gz'.length)}`
    expect((await finished('tar', ['-C', at('opt'), '-xf', join(packages, bundle)])).code).toBe(0)
    const first = await debian.run(['sh', `${folder}/install.sh`])
    expect(first.code, first.stderr).toBe(0)
    expect((await debian.run(['pcap-pipeline', 'ingest', '/tmp/sample.pcap'])).code).toBe(0)
    writeFileSync(at(SETTINGS), `${readFileSync(at(SETTINGS), 'utf8')}LOG_LEVEL=warn\n`)
    expect((await debian.run(['sh', `${folder}/install.sh`])).code).toBe(0)
    expect(readFileSync(at(SETTINGS), 'utf8')).toMatch(/\nLOG_LEVEL=warn\n$/)
    expect(Number(await rowsOfDns())).toBeGreaterThan(0)
    writeFileSync(at(`${folder}/root/usr/bin/pcap-pipeline`), 'damaged')
    const damaged = await debian.run(['sh', `${folder}/install.sh`])
    expect([damaged.code, damaged.stderr]).toEqual([1, expect.stringContaining('the bundle is not whole')])
    expect((await debian.run(['/usr/lib/pcap-pipeline/uninstall'])).code).toBe(0)
    expect(existsSync(at('usr/lib/pcap-pipeline'))).toBe(false)
    expect(existsSync(at(`${DATA}/pipeline.db`))).toBe(true)
  })

  it('tells what is inside, Node and the pages too, and no place to get it from', () => {
    const file = readdirSync(packages).find((name) => name.endsWith('.cdx.json')) as string
    const text = readFileSync(join(packages, file), 'utf8')
    const bom = JSON.parse(text)
    const names = bom.components.map(({ name }: { name: string }) => name)
    for (const name of ['node', '@duckdb/node-api', 'better-sqlite3', 'fastify', 'react', '@codemirror/view', 'uplot'])
      expect(names).toContain(name)
    expect(names).not.toContain('vitest')
    const node = bom.components.find(({ name }: { name: string }) => name === 'node')
    expect(node.components.map(({ name }: { name: string }) => name)).toContain('openssl')
    expect(
      bom.components
        .filter(({ licenses, hashes }: { licenses?: unknown; hashes?: unknown }) => !licenses || !hashes)
        .map(({ name }: { name: string }) => name),
    ).toEqual(
      // A lock file that a mirror without them wrote has no checksum of binaries for other processors.
      process.arch === 'x64' ? [] : expect.any(Array),
    )
    expect(text).not.toMatch(/https?:|resolved|registry/)
    const licences = spawnSync('dpkg-deb', ['--fsys-tarfile', fresh], { maxBuffer: 2 ** 30 })
    const copyright = spawnSync('tar', ['-xO', './usr/share/doc/pcap-pipeline/copyright'], {
      input: licences.stdout,
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    }).stdout
    for (const name of names) expect(copyright).toContain(` ${name} `)
  })

  it.skipIf(!hasLintian)(
    `has no fault that is not explained${hasLintian ? '' : ' (skipped: no lintian here)'}`,
    { timeout: LONG },
    async () => {
      const { code, stdout } = await finished('lintian', ['--fail-on', 'error,warning', lean])
      expect(stdout).toBe('')
      expect(code).toBe(0)
    },
  )
})
