import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const files = join(root, 'deploy/package/files')
const { copyrightOf } = await import(join(root, 'deploy/package/copyright.mjs'))
const { checkBinaries } = await import(join(root, 'deploy/package/binaries.mjs'))
const { sbomOf } = await import(join(root, 'deploy/package/sbom.mjs'))

const MIT = (who: string) =>
  `MIT License\n\nCopyright (c) 2020 ${who}\n\nPermission is hereby granted, free of charge …`
const component = (name: string, over = {}) => ({
  name,
  version: '1.0.0',
  licence: 'MIT',
  integrity: `sha512-${Buffer.from('x').toString('base64')}`,
  texts: [MIT(name)],
  place: `usr/lib/pcap-pipeline/node_modules/${name}/*`,
  ...over,
})
const release = { version: '1.2.3', arch: { deb: 'amd64', node: 'x64' }, epoch: 1_700_000_000 }

describe('the copyright file', () => {
  const text = copyrightOf([
    component('a'),
    component('b'),
    component('c', { licence: 'Apache-2.0', texts: ['Apache License\n Version 2.0, January 2004\n…'] }),
    component('d', { licence: 'ISC', texts: [] }),
  ])

  it('names the holders of each package, and has a text that differs in them alone once', () => {
    expect(text).toContain('Files: usr/lib/pcap-pipeline/node_modules/b/*\nCopyright: 2020 b\nLicense: MIT\n')
    expect(text.match(/Permission is hereby granted/g)).toHaveLength(1)
  })

  it('points to the system for the Apache licence, and says so where a package has no text', () => {
    expect(text).toContain('Copyright: the authors of c\nLicense: Apache-2.0\n')
    expect(text).toContain('/usr/share/common-licenses/Apache-2.0')
    expect(text).toContain('The package d says that its licence is ISC, and has no text of it.')
  })

  it('has one paragraph for each licence that it names', () => {
    const named = [...text.matchAll(/\nLicense: (.*)\nComment/g)].flatMap(([, names]) => names?.split(' and ') ?? [])
    const given = [...text.matchAll(/\n\nLicense: (.*)\n /g)].map(([, name]) => name)
    expect(new Set(given)).toEqual(new Set(named))
    expect(given).toHaveLength(new Set(given).size)
  })
})

describe('the list of contents', () => {
  it('is the same for the same contents, and has a number of its own for others', () => {
    const one = sbomOf(release, [component('a')])
    expect(sbomOf(release, [component('a')])).toEqual(one)
    expect(sbomOf(release, [component('b')]).serialNumber).not.toBe(one.serialNumber)
    expect(one.serialNumber).toMatch(/^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/)
  })

  it('has names, versions, checksums and licences', () => {
    const { components } = sbomOf(release, [component('@a/b', { licence: '(MIT OR Apache-2.0)' })])
    expect(components).toEqual([
      expect.objectContaining({
        purl: 'pkg:npm/%40a/b@1.0.0',
        hashes: [{ alg: 'SHA-512', content: '78' }],
        licenses: [{ expression: 'MIT OR Apache-2.0' }],
      }),
    ])
  })
})

describe('the binaries of a package', () => {
  const arm64 = { deb: 'arm64', node: 'arm64' }
  /** The beginning of an ELF file, for the processor of this number. */
  const elf = (machine: number) => {
    const head = Buffer.alloc(64)
    head.write('\x7fELF', 'latin1')
    head.writeUInt16LE(machine, 18)
    return head
  }
  const treeWith = (binaries: Record<string, Buffer>) => {
    const tree = mkdtempSync(join(tmpdir(), 'tree-'))
    for (const [name, bytes] of Object.entries(binaries)) {
      const path = join(tree, 'usr/lib/pcap-pipeline', name)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, bytes)
    }
    return tree
  }
  const whole = {
    'bin/node': elf(183),
    'node_modules/@duckdb/node-bindings-linux-arm64/duckdb.node': elf(183),
    'node_modules/@duckdb/node-bindings-linux-arm64/libduckdb.so': elf(183),
    'node_modules/better-sqlite3/prebuilds/linux-arm64.node': elf(183),
    'dist/src/main.js': Buffer.from('text'),
  }
  const check = (binaries: Record<string, Buffer>) => {
    const tree = treeWith(binaries)
    try {
      checkBinaries(tree, arm64)
    } finally {
      rmSync(tree, { recursive: true })
    }
  }

  it('are those of its processor', () => {
    expect(() => check(whole)).not.toThrow()
    expect(() => check({ ...whole, 'node_modules/a/b.node': elf(62) })).toThrow(
      'what is made for arm64 would not run: usr/lib/pcap-pipeline/node_modules/a/b.node is for another processor',
    )
  })

  it('are all there', () => {
    const { 'bin/node': _node, ...others } = whole
    expect(() => check(others)).toThrow('usr/lib/pcap-pipeline/bin/node is missing')
  })
})

it('the man page tells of every command and option of the program', async () => {
  const page = readFileSync(join(files, 'pcap-pipeline.1'), 'utf8').replaceAll('\\-', '-')
  const { stdout } = spawnSync(process.execPath, [join(root, 'src/main.ts'), '--help'], { encoding: 'utf8' })
  const commands = [...(stdout.split('Commands:')[1] ?? '').matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name as string)
  expect(commands.length).toBeGreaterThan(15)
  for (const name of [...commands.filter((each) => each !== 'help'), '--settings', '--config'])
    expect(page).toContain(name)
})

it('the scripts are understood by a plain shell', () => {
  for (const name of ['pcap-pipeline', 'install.sh', 'uninstall', 'debian/postinst', 'debian/prerm', 'debian/postrm']) {
    const { status, stderr } = spawnSync('sh', ['-n', join(files, name)], { encoding: 'utf8' })
    expect({ name, status, stderr }).toEqual({ name, status: 0, stderr: '' })
  }
})
