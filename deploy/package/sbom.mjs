/**
 * The list of what is inside, as CycloneDX 1.5 has it: https://cyclonedx.org/docs/1.5/json/. Its serial number follows
 * from its content, so that the same package has the same list. It names packages, and no place to get them from.
 */

import { createHash } from 'node:crypto'

const ALGORITHMS = { sha512: 'SHA-512', sha256: 'SHA-256', sha1: 'SHA-1' }
const isExpression = (licence) => / (AND|OR|WITH) /.test(licence)

export function sbomOf({ version, arch, epoch }, components) {
  const itself = {
    type: 'application',
    'bom-ref': 'pcap-pipeline',
    name: 'pcap-pipeline',
    version,
    ...licences('Apache-2.0'),
  }
  const seen = new Map()
  // A package that both the program and its pages have is there once.
  for (const each of components) seen.set(`${each.name}@${each.version}`, toComponent(each, arch))
  const bom = {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: {
      timestamp: new Date(epoch * 1000).toISOString(),
      lifecycles: [{ phase: 'build' }],
      component: { ...itself, properties: [{ name: 'architecture', value: arch.deb }] },
    },
    components: [...seen.values()],
    dependencies: [{ ref: 'pcap-pipeline', dependsOn: [...seen.values()].map((each) => each['bom-ref']) }],
  }
  const { bomFormat, specVersion, ...rest } = bom
  return { bomFormat, specVersion, serialNumber: serialOf(bom), ...rest }
}

function toComponent({ name, version, licence, integrity, parts }, arch) {
  const ref = parts
    ? `pkg:generic/${name}@${version}?arch=${arch.node}`
    : `pkg:npm/${name.replace('@', '%40')}@${version}`
  const hashes = (integrity ?? '').split(' ').flatMap((text) => {
    const [algorithm, value] = text.split(/-(.*)/s)
    const alg = ALGORITHMS[algorithm]
    return alg ? [{ alg, content: Buffer.from(value, 'base64').toString('hex') }] : []
  })
  return {
    type: parts ? 'platform' : 'library',
    'bom-ref': ref,
    name,
    version,
    ...(hashes.length > 0 && { hashes }),
    ...licences(licence),
    purl: ref,
    ...(parts && {
      components: Object.entries(parts).map(([part, of]) => ({
        type: 'library',
        'bom-ref': `${ref}#${part}`,
        name: part,
        version: of,
      })),
    }),
  }
}

function licences(licence) {
  if (!licence) return {}
  return {
    licenses: [
      isExpression(licence) ? { expression: licence.replace(/^\((.*)\)$/, '$1') } : { license: { id: licence } },
    ],
  }
}

/** A UUID out of a digest: version 8, which is for such. */
function serialOf(bom) {
  const hex = createHash('sha256').update(JSON.stringify(bom)).digest('hex')
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)]
  return `urn:uuid:${parts.join('-')}`
}
