/**
 * The licences of everything inside, as Debian's machine-readable copyright file (DEP-5) has them:
 * https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/. It is `copyright` of the .deb and THIRD-PARTY of
 * the bundle. Texts that differ in their copyright lines alone are there once.
 */

const OWN = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: pcap-pipeline
Comment: The programs and libraries inside are those that npm packages carry,
 unchanged but for what they do not need to run.

Files: *
Copyright: the authors of pcap-pipeline
License: Apache-2.0
`
const APACHE = `License: Apache-2.0
 Licensed under the Apache License, Version 2.0; you may not use these files
 except in compliance with the License. They are distributed on an "AS IS"
 BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
 .
 On Debian systems the License is in /usr/share/common-licenses/Apache-2.0;
 elsewhere, in the file LICENSE beside this one.
`
const COPYRIGHT_LINE = /^\W*(?:copyright|\(c\)|©)\b.*$|^\W*portions copyright.*$/i
const TITLE_LINE = /^\W*(?:the )?(?:mit|isc|bsd[\w -]*)(?: license)?(?: \(mit\))?\W*$|^all rights reserved\.?$/i
const APACHE_TEXT = /Apache License\s+Version 2\.0, January 2004/

export function copyrightOf(components) {
  const licences = new Map()
  const stanzas = byPlace(components).map(({ place, members }) => {
    const names = new Set(members.flatMap((member) => namesOf(member, licences)))
    const holders = new Set(members.flatMap(holdersOf))
    return [
      `Files: ${place}`,
      `Copyright: ${[...holders].join('\n ')}`,
      `License: ${[...names].join(' and ')}`,
      `Comment: ${members.map(({ name, version }) => `${name} ${version}`).join('\n ')}`,
      '',
    ].join('\n')
  })
  const texts = [...licences.values()].map(({ name, text }) => `License: ${name}\n${indented(text)}\n`)
  return [OWN, ...stanzas, APACHE, ...texts].join('\n')
}

/** The pages are built of many packages, in files whose names do not tell them apart. */
function byPlace(components) {
  const places = new Map()
  for (const each of components) places.set(each.place, [...(places.get(each.place) ?? []), each])
  return [...places].map(([place, members]) => ({ place, members }))
}

function namesOf({ name, licence = 'unknown', texts }, licences) {
  if (texts.length === 0 && !/^Apache-2\.0$/.test(licence)) {
    texts = [`The package ${name} says that its licence is ${licence}, and has no text of it.`]
  }
  const own = texts.filter((text) => !APACHE_TEXT.test(text))
  const names = own.map((text) => nameOf(licence.replace(/[() ]+/g, '-').replace(/^-|-$/g, ''), text, licences))
  return own.length < texts.length || texts.length === 0 ? ['Apache-2.0', ...names] : names
}

function nameOf(licence, text, licences) {
  const lines = text.split('\n')
  const body = lines.filter((line) => !COPYRIGHT_LINE.test(line) && !TITLE_LINE.test(line)).join('\n')
  const key = body
    .replace(/[\s*]+/g, ' ')
    .trim()
    .toLowerCase()
  const known = licences.get(key)
  if (known) return known.name
  const alike = [...licences.values()].filter(({ base }) => base === licence).length
  const base = licence === 'Apache-2.0' ? 'notice' : licence
  const name = alike === 0 && base !== 'notice' ? base : `${base}-${alike + 1}`
  licences.set(key, { base: licence, name, text: body.trim() })
  return name
}

function holdersOf({ name, texts }) {
  const lines = texts
    .filter((text) => text.length < 20_000)
    .flatMap((text) => text.split('\n'))
    .filter((line) => COPYRIGHT_LINE.test(line) && /\d{4}|\(c\)|©/i.test(line))
    .map((line) => line.replace(/^[^\w(©]*(?:copyright\b\s*)?(?:\(c\)|©)?[\s:,]*/i, '').trim())
    .filter((line) => line !== '' && !/yyyy|\[name/i.test(line))
  return lines.length > 0 ? lines : [`the authors of ${name}`]
}

function indented(text) {
  return text
    .split('\n')
    .map((line) => (line.trim() === '' ? ' .' : ` ${line.trimEnd()}`))
    .join('\n')
}
