/**
 * What a file is by its first bytes, under the names that Zeek gives. The patterns are those of the formats'
 * own specifications. In: the file's beginning, up to 4 KiB (more is never needed). Out: a MIME type, or
 * undefined for bytes that look like nothing known; text is told last.
 */

export const MIME_BYTES = 4096

type Test = (bytes: Buffer, text: string) => boolean

const at =
  (offset: number, ...alternatives: string[]): Test =>
  (_bytes, text) =>
    alternatives.some((magic) => text.startsWith(magic, offset))

const matches =
  (pattern: RegExp): Test =>
  (_bytes, text) =>
    pattern.test(text)

/** An ISO base media file: a `ftyp` box whose major brand is one of these (ISO/IEC 14496-12). */
const brand =
  (...brands: string[]): Test =>
  (_bytes, text) =>
    text.startsWith('ftyp', 4) && brands.some((name) => text.startsWith(name, 8))

/** A zip whose first entry has a name that tells the format (ECMA-376, JAR, ODF, EPUB). */
const zipWith =
  (pattern: RegExp): Test =>
  (bytes, text) => {
    if (!text.startsWith('PK\x03\x04') || bytes.length < 30) return false
    return pattern.test(text.slice(30, 30 + bytes.readUInt16LE(26) + 64)) || pattern.test(text.slice(30))
  }

const HTML =
  /^(?:\xef\xbb\xbf)?[\s]*(?:<!--[\s\S]*?-->\s*|<\?xml[^>]*\?>\s*)*<!?(?:doctype\s+html|html|head|title|body|script|style|meta|table|h1|a\s+href)\b/i
const XML = /^(?:\xef\xbb\xbf|\s)*<\?xml\s/i
const JSON_START =
  /^\s*(?:\{\s*(?:"(?:[^"\\]|\\.)*"\s*:|\})|\[\s*(?:\{\s*"|"(?:[^"\\]|\\.)*"\s*[,\]]|-?\d+(?:\.\d+)?\s*,|\[))/
const JAVASCRIPT_START = /^\s*(?:[!;]?\(?function\s*\(|document\.write)/
const TEXT_START = /^[\t\n\f\r\x20-\x7e]{10}/

// The order is the rank: the first that holds is the answer.
const SIGNATURES: [mime: string, test: Test][] = [
  ['application/x-dosexec', (bytes, text) => text.startsWith('MZ') && bytes.length >= 4],
  ['application/x-executable', at(0, '\x7fELF')],
  [
    'application/x-mach-o-executable',
    at(0, '\xce\xfa\xed\xfe', '\xcf\xfa\xed\xfe', '\xfe\xed\xfa\xce', '\xfe\xed\xfa\xcf'),
  ],
  [
    'application/x-java-applet',
    (bytes, text) => text.startsWith('\xca\xfe\xba\xbe') && bytes.length >= 8 && bytes.readUInt16BE(6) >= 45,
  ],
  ['application/pdf', matches(/^(?:\xef\xbb\xbf)?%PDF-/)],
  ['application/postscript', matches(/^\x04?%!PS/)],
  ['text/rtf', at(0, '{\\rtf')],
  [
    'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
    zipWith(/(?:^|PK\x03\x04[\s\S]{26})word\//),
  ],
  ['application/vnd.openxmlformats-officedocument.spreadsheetml.sheet', zipWith(/(?:^|PK\x03\x04[\s\S]{26})xl\//)],
  [
    'application/vnd.openxmlformats-officedocument.presentationml.presentation',
    zipWith(/(?:^|PK\x03\x04[\s\S]{26})ppt\//),
  ],
  ['application/vnd.openxmlformats-officedocument', zipWith(/^\[Content_Types\]\.xml|^_rels\/\.rels|^docProps/)],
  ['application/java-archive', zipWith(/^META-INF\//)],
  ['application/vnd.android.package-archive', zipWith(/^(?:AndroidManifest\.xml|classes\.dex)/)],
  ['application/epub+zip', zipWith(/^mimetypeapplication\/epub\+zip/)],
  ['application/vnd.oasis.opendocument.text', zipWith(/^mimetypeapplication\/vnd\.oasis\.opendocument\.text/)],
  [
    'application/vnd.oasis.opendocument.spreadsheet',
    zipWith(/^mimetypeapplication\/vnd\.oasis\.opendocument\.spreadsheet/),
  ],
  [
    'application/vnd.oasis.opendocument.presentation',
    zipWith(/^mimetypeapplication\/vnd\.oasis\.opendocument\.presentation/),
  ],
  ['application/zip', at(0, 'PK\x03\x04')],
  ['application/msword', at(0, '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1')],
  ['application/x-rar', at(0, 'Rar!\x1a\x07')],
  ['application/x-7z-compressed', at(0, "7z\xbc\xaf'\x1c")],
  ['application/x-gzip', at(0, '\x1f\x8b')],
  ['application/x-bzip2', matches(/^BZh[1-9]/)],
  ['application/x-xz', at(0, '\xfd7zXZ\0')],
  ['application/x-lzma', at(0, '\x5d\0\0')],
  ['application/x-compress', at(0, '\x1f\x9d')],
  ['application/vnd.ms-cab-compressed', at(0, 'MSCF\0\0\0\0')],
  ['application/x-installshield', at(0, 'ISc(')],
  ['application/x-tar', at(257, 'ustar')],
  ['application/x-cpio', at(0, '070707', '070701', '070702', '\xc7\x71')],
  ['application/x-archive', at(0, '!<arch>\n')],
  ['application/x-rpm', at(0, '\xed\xab\xee\xdb')],
  [
    'application/vnd.tcpdump.pcap',
    at(0, '\xd4\xc3\xb2\xa1', '\xa1\xb2\xc3\xd4', '\x4d\x3c\xb2\xa1', '\xa1\xb2\x3c\x4d', '\x0a\x0d\x0d\x0a'),
  ],
  ['application/x-shockwave-flash', matches(/^[FCZ]WS[\x01-\x40]/)],
  ['application/x-sqlite3', at(0, 'SQLite format 3\0')],
  ['application/x-ms-shortcut', at(0, 'L\0\0\0\x01\x14\x02\0')],
  ['application/vnd.ms-tnef', at(0, '\x78\x9f\x3e\x22')],
  ['application/chm', at(0, 'ITSF\x03\0\0\0')],
  ['application/x-dmg', at(0, 'koly')],
  ['application/pgp-keys', at(0, '-----BEGIN PGP PUBLIC KEY')],
  ['application/pgp-signature', at(0, '-----BEGIN PGP SIGNATURE')],
  ['application/pgp', at(0, '-----BEGIN PGP MESSAGE')],
  ['application/x-bittorrent', matches(/^d8:announce|^d13:announce-list/)],
  ['application/font-woff', at(0, 'wOFF', 'wOF2')],
  ['application/vnd.ms-opentype', at(0, 'OTTO\0')],
  ['application/x-font-ttf', at(0, '\0\x01\0\0\0', 'true\0')],
  ['application/vnd.ms-fontobject', at(34, 'LP')],
  ['image/gif', at(0, 'GIF87a', 'GIF89a')],
  ['image/jpeg', at(0, '\xff\xd8\xff')],
  ['image/png', at(0, '\x89PNG\r\n\x1a\n', '\x89PNG')],
  ['image/webp', (_bytes, text) => text.startsWith('RIFF') && text.startsWith('WEBP', 8)],
  ['image/tiff', at(0, 'II*\0', 'MM\0*')],
  [
    'image/x-ms-bmp',
    (bytes, text) =>
      text.startsWith('BM') &&
      bytes.length >= 18 &&
      text.startsWith('\0\0\0\0', 6) &&
      [12, 40, 56, 64, 108, 124].includes(bytes.readUInt32LE(14)),
  ],
  ['image/x-icon', matches(/^\0\0\x01\0[\x01-\x20]\0/)],
  ['image/vnd.adobe.photoshop', at(0, '8BPS')],
  ['image/jp2', at(0, '\0\0\0\x0cjP  \r\n\x87\n')],
  ['image/x-xcf', at(0, 'gimp xcf')],
  ['audio/x-wav', (_bytes, text) => text.startsWith('RIFF') && text.startsWith('WAVE', 8)],
  ['video/x-msvideo', (_bytes, text) => text.startsWith('RIFF') && text.startsWith('AVI ', 8)],
  ['audio/mpeg', matches(/^ID3[\x02-\x04]|^\xff[\xfa\xfb\xf2\xf3][\x10-\xeb]/)],
  ['audio/x-flac', at(0, 'fLaC')],
  ['audio/midi', at(0, 'MThd')],
  ['audio/basic', at(0, '.snd')],
  ['application/ogg', at(0, 'OggS')],
  ['audio/mp4', brand('M4A', 'M4B')],
  ['video/x-m4v', brand('M4V')],
  ['video/quicktime', brand('qt  ')],
  ['video/3gpp', brand('3gp', '3gr', '3gs')],
  ['video/mp4', brand('')],
  ['video/quicktime', at(4, 'moov', 'mdat', 'wide', 'free')],
  ['video/x-flv', at(0, 'FLV\x01')],
  ['video/webm', (_bytes, text) => text.startsWith('\x1a\x45\xdf\xa3') && text.includes('webm')],
  ['video/x-matroska', (_bytes, text) => text.startsWith('\x1a\x45\xdf\xa3') && text.includes('matroska')],
  ['video/mpeg', at(0, '\0\0\x01\xba', '\0\0\x01\xb3')],
  ['video/MP2T', (bytes, _text) => bytes[0] === 0x47 && bytes[188] === 0x47 && bytes[376] === 0x47],
  ['video/x-ms-asf', at(0, '\x30\x26\xb2\x75\x8e\x66\xcf\x11')],
  ['application/ocsp-response', ocspResponse],
  ['application/ocsp-request', ocspRequest],
  ['application/x-x509-ca-cert', at(0, '-----BEGIN CERTIFICATE')],
  ['text/x-shellscript', matches(/^#!\s*\/(?:usr\/)?(?:local\/)?bin\/(?:env\s+)?(?:ba|z|k|c|tc|da|a)?sh\b/)],
  ['text/x-perl', matches(/^#!\s*\/(?:usr\/)?(?:local\/)?bin\/(?:env\s+)?perl\b/)],
  ['text/x-python', matches(/^#!\s*\/(?:usr\/)?(?:local\/)?bin\/(?:env\s+)?python/)],
  ['text/x-ruby', matches(/^#!\s*\/(?:usr\/)?(?:local\/)?bin\/(?:env\s+)?ruby\b/)],
  ['text/x-php', matches(/^\s*<\?php/i)],
  ['text/html', matches(HTML)],
  ['application/xml', matches(XML)],
  ['text/ini', matches(/^\s*\["[^\r\n]*\][ \t]*[\r\n]/)],
  ['text/json', matches(JSON_START)],
  ['application/javascript', matches(JAVASCRIPT_START)],
  ['text/x-bash', at(0, '#!/bin/bash')],
  ['application/vnd.apple.mpegurl', at(0, '#EXTM3U')],
  ['text/vcard', matches(/^BEGIN:VCARD\r?\n/)],
  ['text/calendar', matches(/^BEGIN:VCALENDAR\r?\n/)],
  ['text/ini', matches(/^(?:[\s]*[;#][^\n]*\n)*\s*\[[A-Za-z][\w .:-]*\]\r?\n/)],
  ['text/plain', matches(/^(?:\xff\xfe|\xfe\xff)/)],
  ['text/plain', matches(/^\xef\xbb\xbf[\t\n\f\r\x20-\xff]{7}/)],
  ['text/plain', matches(TEXT_START)],
]

/** OCSPResponse: a status, then an id-pkix-ocsp-basic body (RFC 6960, 4.2.1). */
function ocspResponse(bytes: Buffer, text: string): boolean {
  return (
    bytes[0] === 0x30 &&
    /\x0a\x01[\0-\x06]/.test(text.slice(2, 10)) &&
    text.slice(0, 64).includes('\x2b\x06\x01\x05\x05\x07\x30\x01\x01')
  )
}

/** OCSPRequest: four sequences down to a CertID that starts with a hash algorithm (RFC 6960, 4.1.1). */
function ocspRequest(bytes: Buffer, text: string): boolean {
  return bytes[0] === 0x30 && /^(?:\x30[\s\S]{1,2}){4,6}\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a/.test(text.slice(0, 48))
}

export function sniffMime(start: Buffer): string | undefined {
  const bytes = start.length > MIME_BYTES ? start.subarray(0, MIME_BYTES) : start
  const text = bytes.toString('latin1')
  return SIGNATURES.find(([, test]) => test(bytes, text))?.[0]
}
