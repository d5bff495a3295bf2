/** Passwords as scrypt hashes (RFC 7914): in, a password; out, `scrypt:<N>:<r>:<p>:<salt>:<hash>`, which names its own cost. */

import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { PipelineError } from '../../state/errors.ts'

/** OWASP's recommendation; 128 · N · r bytes of memory. */
const COST = { N: 2 ** 15, r: 8, p: 3 }
const BYTES = 32
const SHORTEST = 10

export async function hashPassword(password: string): Promise<string> {
  if (password.length < SHORTEST) throw new PipelineError('usage', `a password has at least ${SHORTEST} characters`)
  const salt = randomBytes(16)
  const hash = await derive(password, salt, COST)
  return ['scrypt', COST.N, COST.r, COST.p, salt.toString('base64url'), hash.toString('base64url')].join(':')
}

/** Takes as long for a user that does not exist. */
export async function checkPassword(password: string, stored: string | undefined): Promise<boolean> {
  const [, N, r, p, salt = '', hash = ''] = (stored ?? `scrypt:${COST.N}:${COST.r}:${COST.p}:AAAA:AAAA`).split(':')
  const expected = Buffer.from(hash, 'base64url')
  const found = await derive(password, Buffer.from(salt, 'base64url'), { N: Number(N), r: Number(r), p: Number(p) })
  return stored !== undefined && expected.length === found.length && timingSafeEqual(expected, found)
}

function derive(password: string, salt: Buffer, cost: ScryptOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFKC'), salt, BYTES, { ...cost, maxmem: 256 * 2 ** 20 }, (error, key) => {
      if (error) reject(error)
      else resolve(key)
    })
  })
}
