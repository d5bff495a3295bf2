/**
 * What a file is by its first bytes, under the names that Zeek gives. In: the file's beginning, up to 4 KiB (more is
 * never needed). Out: a MIME type, or undefined for bytes that look like nothing known.
 *
 * Many formats may hold at once; Zeek then takes the one of the highest rank, by name among equals. The magic
 * numbers are those of the formats' own specifications; ranks and names were read off Zeek's published signatures.
 */

export const MIME_BYTES = 4096

/** @param text one character a byte */
type Test = (text: string, bytes: Buffer) => boolean

const starts =
  (...magics: string[]): Test =>
  (text) =>
    magics.some((magic) => text.startsWith(magic))

const at =
  (offset: number, ...magics: string[]): Test =>
  (text) =>
    magics.some((magic) => text.startsWith(magic, offset))

const like =
  (pattern: RegExp): Test =>
  (text) =>
    pattern.test(text)

/** An ISO base media file: a `ftyp` box whose major brand begins so (ISO/IEC 14496-12). */
const brand = (...brands: string[]): Test => at(4, ...brands.map((name) => `ftyp${name}`))

/** A zip whose first entry is a stored `mimetype` (ODF, EPUB). */
const zipOf = (mime: RegExp): Test =>
  like(new RegExp(`^PK\\x03\\x04[\\s\\S]{22}\\x08\\0\\0\\0mimetypeapplication/${mime.source}`))

/** Office Open XML: one of the parts that come first, then one in the format's own folder. */
const zipWithFolder =
  (folder: string): Test =>
  (text) =>
    at(30, '[Content_Types].xml', '_rels/.rels', `${folder}/`)(text, NOTHING) &&
    text.startsWith('PK\x03\x04') &&
    new RegExp(`PK\\x03\\x04[\\s\\S]{26}${folder}/`).test(text.slice(4))

/** ELF's e_type, which stands in the byte order that the header names. */
const elf =
  (type: number): Test =>
  (text, bytes) =>
    text.startsWith('\x7fELF') &&
    bytes.length >= 18 &&
    (bytes[5] === 2 ? bytes.readUInt16BE(16) : bytes.readUInt16LE(16)) === type

/** Words of which each comes after the one before. */
const inOrder =
  (...words: string[]): Test =>
  (text) => {
    let from = 0
    return words.every((word) => {
      const found = text.indexOf(word, from)
      from = found + word.length
      return found >= 0
    })
  }

/** A script by its first line. */
const script = (interpreter: string): Test =>
  like(new RegExp(`^#![^\\n]{1,15}bin/(?:env[ \\t\\n\\v\\f\\r]+)?${interpreter}`))

/** A document whose first element looks like this. */
const element =
  (root: RegExp): Test =>
  (text) => {
    const sticky = new RegExp(root.source, 'iy')
    return rootsOf(text).some((position) => {
      sticky.lastIndex = position
      return sticky.test(text)
    })
  }

const NOTHING = Buffer.alloc(0)
const BLANK = /[\r\n\t ]*/y
const DECLARATION = '<?xml '

function skipBlank(text: string, position: number): number {
  BLANK.lastIndex = position
  return position + (BLANK.exec(text)?.[0].length ?? 0)
}

/** Where a document may go on behind this mark, blanks skipped. */
function behind(text: string, mark: string, from: number): number[] {
  const found: number[] = []
  for (let p = text.indexOf(mark, from); p >= 0; p = text.indexOf(mark, p + 1))
    found.push(skipBlank(text, p + mark.length))
  return found
}

/** Blanks and comments; what stands between two comments counts as part of them. */
function behindComments(text: string, positions: number[]): number[] {
  const first = positions.find((position) => text.startsWith('<!--', position))
  return first === undefined ? positions : [...positions, ...behind(text, '-->', first + 4)]
}

function bodyStart(text: string): number {
  if (text.startsWith('\xef\xbb\xbf')) return 3
  return text.startsWith('\xff\xfe') || text.startsWith('\xfe\xff') ? 2 : 0
}

/** Where an element may be the first one: behind comments, a declaration, and comments again. */
function rootsOf(text: string): number[] {
  const before = behindComments(text, [skipBlank(text, bodyStart(text))])
  const declared = before.find((position) => text.startsWith(DECLARATION, position))
  if (declared === undefined) return before
  return [...before, ...behindComments(text, behind(text, '?>', declared + DECLARATION.length))]
}

const BOM = '^(?:\\xef\\xbb\\xbf|\\xff\\xfe|\\xfe\\xff)?'
const B = '[\\r\\n\\t ]*'
const JSON_OBJECT = new RegExp(`${BOM}${B}\\{${B}(?:"[^"]+"|[a-zA-Z][\\w\\\\]*)${B}:${B}(?:["[{0-9]|true|false)`)
const JSON_ARRAY = new RegExp(`${BOM}${B}\\[${B}(?:(?:"[^"]+"|\\d+(?:\\.\\d+)?|true|false)${B},|[{[])`)
const JSON_EMPTY = new RegExp(`${BOM}${B}(?:\\[\\]|\\{\\})${B}$`)
const XML = new RegExp(`${BOM}${B}\\0?<\\0?\\?\\0?x\\0?m\\0?l\\0? `)
const INI = new RegExp(`${BOM}[\\0\\r\\n\\t ]*\\[[^\\r\\n]+\\][\\t \\0]*[\\r\\n]`)
const TEXT = /^(?:\xef\xbb\xbf|(?:\0\0)?\xfe\xff|\xff\xfe(?:\0\0)?)?[\t-\r\x20-\x7e]{10}/
const TAR = /^[\x20-\x7e\0]{100}(?:[\d ]{7}\0){3}(?:[\d ]{11}\0){2}[\d\0 ]{7}[ \0][0-7\0]/

const FORMATS: [rank: number, mime: string, test: Test][] = [
  // ---- documents ------------------------------------------------------------------------------------------
  [340, 'application/zip', like(/^MZ[\s\S]{28}(?:Copyright 1989-1990 PKWARE Inc|PKLITE Copr)\./)],
  [330, 'application/pgp-keys', at(2, '---BEGIN PGP PUBLIC KEY BLOCK-')],
  [320, 'application/mac-binhex40', at(11, 'must be converted with BinHex')],
  [280, 'application/pgp-signature', starts('-----BEGIN PGP SIGNATURE-')],
  [280, 'application/x-shar', at(10, '# This is a shell archive')],
  [260, 'application/pgp', starts('-----BEGIN PGP MESSAGE-')],
  [180, 'text/calendar', starts('BEGIN:VCALENDAR')],
  [180, 'application/x-msaccess', at(4, 'Standard Jet DB\0', 'Standard ACE DB\0')],
  [170, 'message/rfc822', starts('Relay-Version:')],
  [160, 'message/rfc822', like(/^delivered-to:/i)],
  [150, 'message/rfc822', like(/^return-path:/i)],
  [140, 'application/x-bittorrent', starts('d8:announce')],
  [140, 'text/x-vcard', starts('BEGIN:VCARD')],
  [130, 'message/rfc822', starts('Forward to')],
  [110, 'application/epub+zip', zipOf(/epub\+zip/)],
  ...['text', 'graphics', 'presentation', 'spreadsheet', 'chart', 'formula', 'image'].flatMap(
    (kind): [number, string, Test][] => [
      [120, `application/vnd.oasis.opendocument.${kind}-template`, zipOf(RegExp(`${odf(kind)}-template`))],
      [110, `application/vnd.oasis.opendocument.${kind}`, zipOf(RegExp(`${odf(kind)}[^-]`))],
    ],
  ),
  [110, 'application/vnd.oasis.opendocument.database', zipOf(RegExp(odf('database')))],
  [100, 'application/java-archive', like(/^PK\x03\x04[\s\S]{1,200}\x14\0[\s\S]{2}META-INF\/MANIFEST\.MF/)],
  [100, 'application/vnd.google-earth.kmz', like(/^PK\x03\x04\x14[\s\S]{25}doc\.kml/)],
  [100, 'message/news', starts('Article')],
  [80, 'message/news', starts('Path:', 'Xref:')],
  [80, 'message/rfc822', starts('From:')],
  [80, 'application/pdf', starts('%PDF-')],
  [80, 'application/vnd.fdf', starts('%FDF-')],
  [80, 'text/rtf', starts('{\\rtf')],
  [60, 'application/postscript', starts('\x04%!')],
  [50, 'application/postscript', starts('%!')],
  [80, 'application/vnd.openxmlformats-officedocument.wordprocessingml.document', zipWithFolder('word')],
  [80, 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet', zipWithFolder('xl')],
  [80, 'application/vnd.openxmlformats-officedocument.presentationml.presentation', zipWithFolder('ppt')],
  [50, 'application/vnd.openxmlformats-officedocument', starts('PK\x03\x04\x14\0\x06\0')],
  [50, 'application/msword', starts('\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1')],
  [49, 'application/vnd.ms-outlook', like(/^!BDN[\s\S]{6}[\x0e\x0f\x15\x17][\0-\x02]/)],
  [10, 'application/zip', (text) => text.startsWith('PK\x03\x04') && text.length >= 6],
  [10, 'application/zip', starts('PK\x07\x08PK\x03\x04')],
  [100, 'application/vnd.ms-tnef', starts('\x78\x9f\x3e\x22')],
  [100, 'application/mshelp', starts('ITSF')],
  [70, 'application/dicom', at(128, 'DICM')],
  [60, 'application/x-hdf', starts('\x89HDF\r\n\x1a\n')],
  // ---- markup and text ------------------------------------------------------------------------------------
  [100, 'text/html', element(/<(?:!doctype {1,}html|html|meta {1,}http-equiv)/)],
  [20, 'text/html', element(/<(?:head|html|title|body)/)],
  [100, 'text/atom', element(/<(?:rss[^>]*xmlns:atom|feed[^>]*xmlns=["']?http:\/\/www[\s\S]w3[\s\S]org\/2005\/Atom)/)],
  [90, 'text/rss', element(/<rss/)],
  [
    61,
    'application/vnd.google-earth.kml+xml',
    like(/^<\?xml[\s\S]{15}[\s\S]* xmlns=['"]http:\/\/earth.google.com\/kml/),
  ],
  [
    60,
    'application/vnd.google-earth.kml+xml',
    like(/^<\?xml[\s\S]{15}[\s\S]* xmlns=['"]http:\/\/www.opengis.net\/kml/),
  ],
  [49, 'application/soap+xml', element(/<soap(?:-env)?:envelope/)],
  [49, 'application/xml-rpc', element(/<methodresponse>/)],
  [49, 'text/x-cross-domain-policy', element(/<(?:!doctype {1,})?cross-domain-policy/)],
  [49, 'application/f4m', element(/<manifest[\r\n\t ]{1,}xmlns="http:\/\/ns\.adobe\.com\/f4m\//)],
  [43, 'model/x3d', like(/^<\?xml version="[\s\S]{5}[\s\S]*<!DOCTYPE ?X3D/)],
  [38, 'image/svg+xml', like(/^<\?xml version="[^\0][\s\S]{3}[\s\S]*<svg/)],
  [37, 'application/xml-sitemap', like(/^<\?xml version="[^\0][\s\S]{3}[\s\S]*<urlset/)],
  [20, 'magnus-internal/cold-fusion', like(/^[\r\n\t ]*<(?:CFPARAM|CFSET|CFIF)/)],
  [20, 'text/ini', like(INI)],
  [
    10,
    'application/xml',
    (text) =>
      XML.test(text) ||
      behindComments(text, [skipBlank(text, bodyStart(text))]).some((p) => text.startsWith(DECLARATION, p)),
  ],
  [10, 'application/sla', starts('solid ')],
  [1, 'text/json', like(JSON_OBJECT)],
  [1, 'text/json', like(JSON_ARRAY)],
  [0, 'text/json', like(JSON_EMPTY)],
  [0, 'application/x-pem', starts('-----BEGIN CERTIFICATE-----')],
  [-20, 'text/plain', like(TEXT)],
  // ---- programs -------------------------------------------------------------------------------------------
  [250, 'text/x-shellscript', script('(?:ba|tc|c|z|fa|ae|k)?sh')],
  [110, 'text/x-msdos-batch', like(/^@ *echo {1,}off/i)],
  [70, 'text/x-msdos-batch', like(/^@set {1,}/i)],
  [60, 'text/x-msdos-batch', like(/^@rem/i)],
  [60, 'text/x-perl', script('perl')],
  [60, 'text/x-ruby', script('ruby')],
  [60, 'text/x-python', script('python')],
  [60, 'text/x-awk', script('[gn]?awk')],
  [60, 'text/x-tcl', script('(?:wish|tcl)')],
  [60, 'text/x-php', script('php')],
  [49, 'text/x-lua', script('lua')],
  [40, 'text/x-php', (text) => text.includes('<?php')],
  [40, 'text/x-m4', starts('dnl ')],
  [55, 'text/x-diff', inOrder('--- ', '\n', '+++ ', '\n', '@@')],
  [60, 'application/javascript', script('node')],
  [60, 'application/javascript', like(/^[\r\n\t ]*<script[\t ]+(?:type|language)=['"]?(?:text\/)?javascript/i)],
  [60, 'application/javascript', like(/^[\r\n\t ]*for \(;;\);/)],
  [60, 'application/javascript', like(/^[\r\n\t ]*document\.write(?:ln)?[:blank]?\(/)],
  [60, 'application/javascript', like(/^\(function\(\)[\t \n]*\{/)],
  [60, 'application/javascript', like(/^[\r\n\t ]*<script>[\r\n\t ]*(?:var|function) /)],
  [51, 'application/x-dosexec', starts('MZ')],
  [50, 'application/x-object', elf(1)],
  [50, 'application/x-executable', elf(2)],
  [50, 'application/x-sharedlib', elf(3)],
  [50, 'application/x-coredump', elf(4)],
  [100, 'application/x-mach-o-executable', like(/^(?:[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe[\s\S]{2}\0[\x01-\x14])/)],
  [71, 'application/x-java-applet', like(/^\xca\xfe\xba\xbe[\s\S]{3}[\x2d-\x34]/)],
  [100, 'application/x-java-jnlp-file', starts('<jnlp ')],
  [70, 'application/x-java-keystore', starts('\xfe\xed\xfe\xed')],
  [
    80,
    'application/x-python-bytecode',
    like(/^(?:[\x42-\x6f\x7a-\xcb\xde-\xf3\x20-\x33\x3e-\x42]\x0d|[\x10-\x19]\x0e)\r\n/),
  ],
  [60, 'application/x-shockwave-flash', like(/^[FCZ]WS/)],
  [49, 'application/x-ms-shortcut', starts('L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F')],
  [49, 'application/vnd.ms-pol', starts('PReg')],
  [49, 'application/vnd.ms-reg', starts('REGEDIT4', utf16('\ufeffWindows Registry Editor Version 5.00'))],
  [49, 'application/vnd.ms-regf', starts('regf')],
  [100, 'application/chrome-ext', starts('Cr24')],
  [50, 'application/x-windows-minidump', starts('MDMP')],
  [99, 'application/x-iso9660-image', starts('CD001')],
  // ---- certificates ---------------------------------------------------------------------------------------
  [71, 'application/ocsp-request', like(/^[\s\S]{11,19}\x06\x05\x2b\x0e\x03\x02\x1a/)],
  [71, 'application/ocsp-response', like(/^[\s\S]{11,19}\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01/)],
  [100, 'application/pkcs7-signature', like(/^MIME-Version:[\s\S]*protocol="application\/pkcs7-signature"/)],
  // ---- archives -------------------------------------------------------------------------------------------
  [171, 'application/x-debian-package', starts('!<arch>\ndebian')],
  [110, 'application/vnd.ms-cab-compressed', starts('MSCF\0\0\0\0')],
  [100, 'application/x-tar', like(TAR)],
  [100, 'application/x-gzip', starts('\x1f\x8b')],
  [100, 'application/x-xar', starts('xar!')],
  [
    100,
    'application/x-dmg',
    like(/^x(?:\x01s\r\x62\x62\x60|\xdac\x60\x18\x05|\x01c\x60\x18\x05|\xdas\r|[\x01\xda]\xed[\xd0-\xd9])/),
  ],
  [100, 'application/bplist', starts('bplist')],
  [90, 'application/x-xz', starts('\xfd7zXZ\0')],
  [80, 'application/x-lzh', like(/^[\s\S]{2}-(?:lh[ abcdex0-9]|lz[s2-8]|pm[s012]|pc1)-/)],
  [71, 'application/x-lzma', starts('\x5d\0\0')],
  [70, 'application/x-rar', starts('Rar!')],
  [70, 'application/x-rpm', starts('drpm', '\xed\xab\xee\xdb')],
  [70, 'application/x-archive', like(/^!?<ar(?:ch)?>/)],
  [70, 'application/x-arc', like(/^[\0-\x7f]{2}[\x02-\x0a\x14\x48]\x1a/)],
  [70, 'application/x-lz4', starts('\x02\x21\x4c\x18', '\x04\x22\x4d\x18')],
  [70, 'application/x-lzip', starts('LZIP')],
  [60, 'application/x-bzip2', starts('BZh')],
  [50, 'application/x-7z-compressed', starts("7z\xbc\xaf'\x1c")],
  [50, 'application/x-arj', starts('\x60\xea')],
  [50, 'application/x-cpio', starts('\x71\xc7', '\xc7\x71')],
  [50, 'application/x-compress', starts('\x1f\x9d')],
  [50, 'application/warc', starts('WARC/')],
  [70, 'application/vnd.tcpdump.pcap', starts('\xd4\xc3\xb2\xa1', '\xa1\xb2\xc3\xd4')],
  [100, 'application/vnd.tcpdump.pcap', like(/^\n\r\r\n[\s\S]{4}(?:\x1a\x2b\x3c\x4d|\x4d\x3c\x2b\x1a)/)],
  // ---- images and fonts -----------------------------------------------------------------------------------
  [110, 'image/png', starts('\x89PNG')],
  [110, 'image/x-xcf', starts('gimp xcf')],
  [90, 'image/vnd.dwg', starts('AC1.', 'AC2.', 'AC10')],
  [70, 'image/gif', starts('GIF8')],
  [70, 'image/webp', like(/^RIFF[\s\S]{4}WEBP/)],
  [70, 'image/tiff', like(/^(?:MM\0[*+]|II[*+]\0)/)],
  [130, 'image/x-canon-cr2', starts('II*\0\x10\0\0\0CR')],
  [70, 'image/x-icon', starts('\0\0\x01\0')],
  [70, 'image/x-cursor', starts('\0\0\x02\0')],
  [70, 'image/vnd.adobe.photoshop', starts('8BPS')],
  [70, 'image/jp2', like(/^\0\0\0\x0cjP {2}\r\n\x87\n[\s\S]{8}jp2 /)],
  [60, 'image/jp2', at(4, 'ftypjp2')],
  [50, 'image/jp2', at(4, 'jP')],
  [70, 'image/vnd.djvu', like(/^AT&TFORM[\s\S]{4}(?:DJV[MUI]|THUM)/)],
  [52, 'image/jpeg', starts('\xff\xd8')],
  [50, 'image/x-ms-bmp', like(/^BM[\s\S]{12}[\x0c\x28\x40\x6c\x7c\x80]\0/)],
  [50, 'image/x-portable-pixmap', starts('P7')],
  [80, 'application/x-font-ttf', starts('\0\x01\0\0\0')],
  [70, 'application/font-woff2', starts('wOF2')],
  [70, 'application/font-woff', starts('wOFF')],
  [70, 'application/vnd.ms-opentype', starts('OTTO')],
  [50, 'application/vnd.ms-fontobject', at(34, 'LP')],
  // ---- sound and film -------------------------------------------------------------------------------------
  [60, 'audio/mpeg', starts('ID3')],
  [20, 'audio/mpeg', like(/^\xff[\xe2\xe3\xf2\xf3\xf6\xf7\xfa\xfb\xfc\xfd]/)],
  [50, 'audio/x-hx-aac-adts', like(/^\xff[\xf0\xf1\xf8\xf9]/)],
  [70, 'audio/x-wav', like(/^RIFF[\s\S]{4}WAVE/)],
  [70, 'audio/x-flac', starts('fLaC')],
  [70, 'audio/midi', starts('MThd')],
  [70, 'audio/x-aiff', like(/^FORM[\s\S]{4}(?:AIF[FC]|8SVX)/)],
  [70, 'audio/basic', like(/^\.snd[\s\S]{8}\0\0\0[\x01-\x07]/)],
  [70, 'audio/m4a', brand('m4a')],
  [60, 'audio/mp4', brand('M4A')],
  [70, 'application/ogg', starts('OggS')],
  [100, 'application/vnd.rn-realmedia', starts('.RMF\0\0\0')],
  [110, 'video/x-matroska', like(/^\x1a\x45\xdf\xa3[\s\S]*B\x82[\s\S]matroska/)],
  [70, 'video/webm', like(/^\x1a\x45\xdf\xa3[\s\S]*B\x82[\s\S]webm/)],
  [70, 'video/mp4', brand('isom', 'mp41', 'mp42')],
  [60, 'video/mp4', brand('M4V')],
  [60, 'video/3gpp', brand('3ge', '3gg', '3gp', '3gs', '3g2', 'avc1', 'mmp4')],
  [50, 'video/quicktime', brand('qt')],
  [70, 'video/quicktime', at(4, 'mdat', 'moov')],
  [71, 'video/mpv', starts('\0\0\x01\xb3')],
  [50, 'video/mpeg', like(/^\0\0\x01[\xb0-\xbb]/)],
  [41, 'video/h264', like(/^\0\0\0\x01[\x07\x27\x47\x67\x87\xa7\xc7\xe7]/)],
  [70, 'video/x-msvideo', like(/^RIFF[\s\S]{4}AVI /)],
  [70, 'video/x-ms-asf', starts('\x30\x26\xb2\x75')],
  [60, 'video/x-flv', starts('FLV')],
]

function odf(kind: string): string {
  return `vnd\\.oasis\\.opendocument\\.${kind}`
}

function utf16(text: string): string {
  return Buffer.from(text, 'utf16le').toString('latin1')
}

/** The first that holds is the answer. */
const BY_RANK = FORMATS.toSorted(([a, left], [b, right]) => b - a || (left < right ? -1 : left > right ? 1 : 0))

export function sniffMime(start: Buffer): string | undefined {
  const bytes = start.length > MIME_BYTES ? start.subarray(0, MIME_BYTES) : start
  const text = bytes.toString('latin1')
  return BY_RANK.find(([, , test]) => test(text, bytes))?.[1]
}
