/** A certificate authority of the tests' own, with a broker's and a client's certificate, all made by openssl. */

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Certificates {
  /** PEM files. The broker's certificate holds for localhost and 127.0.0.1 alone. */
  ca: string
  brokerCert: string
  brokerKey: string
  clientCert: string
  clientKey: string
}

export function makeCertificates(dir: string): Certificates {
  const at = (name: string) => join(dir, `${name}.pem`)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const ca = ['-subj', '/CN=The CA of the tests', '-addext', 'keyUsage=critical,keyCertSign']
  openssl('req', '-x509', ...key, '-days', '2', ...ca, '-keyout', at('ca-key'), '-out', at('ca'))
  for (const [name, subject, extensions] of [
    ['broker', '/CN=localhost', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ['client', '/CN=pipeline', 'extendedKeyUsage=clientAuth'],
  ] as const) {
    openssl('req', ...key, '-subj', subject, '-keyout', at(`${name}-key`), '-out', at(`${name}-request`))
    writeFileSync(at(`${name}-extensions`), `${extensions}\n`)
    const signer = ['-CA', at('ca'), '-CAkey', at('ca-key'), '-CAcreateserial', '-days', '2']
    openssl(
      'x509',
      '-req',
      '-in',
      at(`${name}-request`),
      ...signer,
      '-extfile',
      at(`${name}-extensions`),
      '-out',
      at(name),
    )
  }
  return {
    ca: at('ca'),
    brokerCert: at('broker'),
    brokerKey: at('broker-key'),
    clientCert: at('client'),
    clientKey: at('client-key'),
  }
}

/** The broker's settings for these certificates: PEM inside the properties, no keystore files. */
export function tlsProperties({ ca, brokerCert, brokerKey }: Certificates): Record<string, string> {
  const pem = (path: string) => readFileSync(path, 'utf8').trim().replaceAll('\n', '\\n')
  return {
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.certificate.chain': pem(brokerCert),
    'ssl.keystore.key': pem(brokerKey),
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.certificates': pem(ca),
    'ssl.client.auth': 'requested',
  }
}
