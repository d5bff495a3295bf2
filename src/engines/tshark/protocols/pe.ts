/**
 * Portable Executables (Microsoft's PE format): a file's first bytes in, the record of Zeek's pe log out. What
 * is cut tells as much as there is, from the COFF header on.
 */

import type { Fields } from './protocol.ts'
import { textOf } from './text.ts'

/** Headers and section table; no linker puts them further back. */
const MAX_BYTES = 1 << 16
const DOS_HEADER_BYTES = 64
const COFF_HEADER_BYTES = 20
const SECTION_BYTES = 40
const MAX_SECTIONS = 1000
const PE32_PLUS = 0x20b
const WORD_32_MACHINE = 0x100
const [EXPORTS, IMPORTS, CERTIFICATES, DEBUG] = [0, 1, 4, 6]

const MACHINES: Record<number, string> = {
  0: 'UNKNOWN',
  332: 'I386',
  358: 'R4000',
  361: 'WCEMIPSV2',
  418: 'SH3',
  419: 'SH3DSP',
  422: 'SH4',
  424: 'SH5',
  448: 'ARM',
  450: 'THUMB',
  452: 'ARMNT',
  467: 'AM33',
  496: 'POWERPC',
  497: 'POWERPCFP',
  512: 'IA64',
  614: 'MIPS16',
  870: 'MIPSFPU',
  1126: 'MIPSFPU16',
  3772: 'EBC',
  34404: 'AMD64',
  36929: 'M32R',
  43620: 'ARM64',
}

/** By major and minor version. */
const SYSTEMS: Record<string, string> = {
  '1.0': 'Windows 1.0',
  '1.1': 'Windows 1.01',
  '1.3': 'Windows 1.03',
  '1.4': 'Windows 1.04',
  '2.0': 'Windows 2.0',
  '2.10': 'Windows 2.10',
  '2.11': 'Windows 2.11',
  '3.0': 'Windows 3.0',
  '3.2': 'Windows 3.2',
  '3.10': 'Windows 3.1 or NT 3.1',
  '3.11': 'Windows for Workgroups 3.11',
  '3.50': 'Windows NT 3.5',
  '3.51': 'Windows NT 3.51',
  '4.0': 'Windows 95 or NT 4.0',
  '4.10': 'Windows 98',
  '4.90': 'Windows Me',
  '5.0': 'Windows 2000',
  '5.1': 'Windows XP',
  '5.2': 'Windows XP x64 or Server 2003',
  '6.0': 'Windows Vista or Server 2008',
  '6.1': 'Windows 7 or Server 2008 R2',
  '6.2': 'Windows 8 or Server 2012',
  '6.3': 'Windows 8.1 or Server 2012 R2',
  '6.4': 'Windows 10 Technical Preview',
  '10.0': 'Windows 10',
}

const SUBSYSTEMS: Record<number, string> = {
  0: 'UNKNOWN',
  1: 'NATIVE',
  2: 'WINDOWS_GUI',
  3: 'WINDOWS_CUI',
  7: 'POSIX_CUI',
  9: 'WINDOWS_CE_GUI',
  10: 'EFI_APPLICATION',
  11: 'EFI_BOOT_SERVICE_DRIVER',
  12: 'EFI_RUNTIME_DRIVER',
  13: 'EFI_ROM',
  14: 'XBOX',
}

interface PeReader {
  data(bytes: Buffer): void
  /** What comes after it is not looked at. */
  gap(): void
  /** None where there is no COFF header. */
  records(): Fields[]
}

export function createPeReader(head: Buffer): PeReader {
  let bytes: Buffer = head
  let length = head.length
  let whole = length >= headerBytes(head)

  /** Room for all that will be looked at, so that a file in small pieces is not copied again and again. */
  function grow(): void {
    if (bytes.length >= MAX_BYTES) return
    const room = Buffer.alloc(MAX_BYTES)
    bytes.copy(room)
    bytes = room
  }

  return {
    data(more) {
      if (whole) return
      grow()
      length += more.copy(bytes, length)
      whole = length >= headerBytes(bytes.subarray(0, length))
    },
    gap() {
      whole = true
    },
    records() {
      const fields = readPe(bytes.subarray(0, length))
      return fields === undefined ? [] : [fields]
    },
  }
}

/** How much there is to read: up to the end of the section table, where that can be told yet. */
function headerBytes(bytes: Buffer): number {
  const coff = coffAt(bytes)
  if (coff === undefined) return MAX_BYTES
  const end = coff + COFF_HEADER_BYTES + bytes.readUInt16LE(coff + 16) + bytes.readUInt16LE(coff + 2) * SECTION_BYTES
  return Math.min(end, MAX_BYTES)
}

function coffAt(bytes: Buffer): number | undefined {
  if (bytes.length < DOS_HEADER_BYTES || bytes.toString('latin1', 0, 2) !== 'MZ') return undefined
  const start = bytes.readUInt32LE(0x3c)
  if (start + 4 + COFF_HEADER_BYTES > bytes.length || bytes.toString('latin1', start, start + 4) !== 'PE\0\0')
    return undefined
  return start + 4
}

function readPe(bytes: Buffer): Fields | undefined {
  const coff = coffAt(bytes)
  if (coff === undefined) return undefined
  const machine = bytes.readUInt16LE(coff)
  const optionalBytes = bytes.readUInt16LE(coff + 16)
  const optional = bytes.subarray(coff + COFF_HEADER_BYTES, coff + COFF_HEADER_BYTES + optionalBytes)
  const names = sectionNames(bytes, coff + COFF_HEADER_BYTES + optionalBytes, bytes.readUInt16LE(coff + 2))
  return {
    machine: MACHINES[machine] ?? `unknown-${machine}`,
    compile_ts: bytes.readUInt32LE(coff + 4),
    ...readOptional(optional, optionalBytes, (bytes.readUInt16LE(coff + 18) & WORD_32_MACHINE) === 0),
    section_names: names.length > 0 ? names : undefined,
  }
}

function readOptional(header: Buffer, size: number, is64Bit: boolean): Fields {
  const word = (at: number) => (at + 2 <= header.length ? header.readUInt16LE(at) : undefined)
  const [major, minor, subsystem] = [word(40), word(42), word(68)]
  const flags = word(70) ?? 0
  const version = `${major}.${minor}`
  return {
    os: minor === undefined ? undefined : (SYSTEMS[version] ?? `unknown-${version}`),
    subsystem: subsystem === undefined ? undefined : (SUBSYSTEMS[subsystem] ?? `unknown-${subsystem}`),
    is_exe: size > 0,
    is_64bit: is64Bit,
    uses_aslr: (flags & 0x40) !== 0,
    uses_dep: (flags & 0x100) !== 0,
    uses_code_integrity: (flags & 0x80) !== 0,
    uses_seh: (flags & 0x400) === 0,
    ...readDirectories(header),
  }
}

function readDirectories(header: Buffer): Fields {
  const start = header.length >= 2 && header.readUInt16LE(0) === PE32_PLUS ? 112 : 96
  if (header.length < start) return {}
  const count = header.readUInt32LE(start - 4)
  const has = (index: number) => {
    const at = start + 8 * index + 4
    return index < count && at + 4 <= header.length && header.readUInt32LE(at) > 0
  }
  return {
    has_import_table: has(IMPORTS),
    has_export_table: has(EXPORTS),
    has_cert_table: has(CERTIFICATES),
    has_debug_data: has(DEBUG),
  }
}

function sectionNames(bytes: Buffer, start: number, count: number): string[] {
  const names: string[] = []
  for (let i = 0; i < Math.min(count, MAX_SECTIONS); i++) {
    const at = start + i * SECTION_BYTES
    if (at + SECTION_BYTES > bytes.length) break
    const name = bytes.subarray(at, at + 8)
    const end = name.indexOf(0)
    names.push(textOf(end < 0 ? name : name.subarray(0, end)))
  }
  return names
}
