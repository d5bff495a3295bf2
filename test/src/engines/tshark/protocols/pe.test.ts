import { describe, expect, it } from 'vitest'
import { createPeReader } from '../../../../../src/engines/tshark/protocols/pe.ts'
import { damaged } from './recorded-flow.ts'

const COFF = 0x84
const OPTIONAL = COFF + 20
const OPTIONAL_BYTES = 112 + 16 * 8
const SECTIONS = OPTIONAL + OPTIONAL_BYTES

/** A 64-bit program for Windows 10 with an import table and debug data, two sections. */
function program(): Buffer {
  const file = Buffer.alloc(SECTIONS + 80)
  file.write('MZ')
  file.writeUInt32LE(0x80, 0x3c)
  file.write('PE\0\0', 0x80, 'latin1')
  file.writeUInt16LE(34404, COFF)
  file.writeUInt16LE(2, COFF + 2)
  file.writeUInt32LE(1_000_000_000, COFF + 4)
  file.writeUInt16LE(OPTIONAL_BYTES, COFF + 16)
  file.writeUInt16LE(0x22, COFF + 18)
  file.writeUInt16LE(0x20b, OPTIONAL)
  file.writeUInt16LE(10, OPTIONAL + 40)
  file.writeUInt16LE(3, OPTIONAL + 68)
  file.writeUInt16LE(0x40 | 0x100 | 0x400, OPTIONAL + 70)
  file.writeUInt32LE(16, OPTIONAL + 108)
  file.writeUInt32LE(40, OPTIONAL + 112 + 8 * 1 + 4)
  file.writeUInt32LE(28, OPTIONAL + 112 + 8 * 6 + 4)
  file.write('.text', SECTIONS)
  file.write('.longest', SECTIONS + 40)
  return file
}

describe('a portable executable', () => {
  it('is told from its headers', () => {
    expect(createPeReader(program()).records()).toEqual([
      {
        machine: 'AMD64',
        compile_ts: 1_000_000_000,
        os: 'Windows 10',
        subsystem: 'WINDOWS_CUI',
        is_exe: true,
        is_64bit: true,
        uses_aslr: true,
        uses_dep: true,
        uses_code_integrity: false,
        uses_seh: false,
        has_import_table: true,
        has_export_table: false,
        has_cert_table: false,
        has_debug_data: true,
        section_names: ['.text', '.longest'],
      },
    ])
  })

  it('is told the same when it comes in small pieces', () => {
    const file = Buffer.concat([program(), Buffer.alloc(100_000, 7)])
    const reader = createPeReader(file.subarray(0, 10))
    for (let at = 10; at < file.length; at += 100) reader.data(file.subarray(at, at + 100))
    expect(reader.records()).toEqual(createPeReader(program()).records())
  })

  it('is not looked at behind a gap', () => {
    const file = program()
    const reader = createPeReader(file.subarray(0, SECTIONS))
    reader.gap()
    reader.data(file.subarray(SECTIONS + 40))
    expect(reader.records()[0]).toMatchObject({ machine: 'AMD64', section_names: undefined })
  })

  it('has no record where there is only a DOS program, or the header lies beyond the file', () => {
    const dos = program()
    dos.write('NE', 0x80)
    const far = program()
    far.writeUInt32LE(0xffffffff, 0x3c)
    expect([dos, far].map((file) => createPeReader(file).records())).toEqual([[], []])
  })

  it('holds no more than 64 KiB of a file that only looks like one', () => {
    const reader = createPeReader(Buffer.from('MZ'))
    for (let i = 0; i < 1000; i++) reader.data(Buffer.alloc(1000))
    expect(reader.records()).toEqual([])
  })

  it('survives headers that are cut or spoilt', () => {
    for (const each of damaged(program())) expect(() => createPeReader(each).records()).not.toThrow()
  })
})
