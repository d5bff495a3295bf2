/** Addresses as records name them, over and over: what is known of each is worked out once and kept, within a bound. */

import { type Address, isIn, networkAddress, parseAddress, parseNetwork } from '../../../stages/upload/rules/address.ts'
import { communityId } from '../../../stages/upload/rules/community-id.ts'

export interface KnownAddress {
  address: Address
  isLocal: boolean
}

export interface AddressBook {
  /** Undefined for a text that is no address. */
  find(text: string): KnownAddress | undefined
  communityId(src: string, dst: string, protocol: number, srcPort?: number, dstPort?: number): string | undefined
}

const LIMIT = 50_000

export function openAddressBook(localNetworks: readonly string[]): AddressBook {
  const networks = localNetworks.map(parseNetwork)
  const book = bounded<KnownAddress | undefined>()
  const ids = bounded<string | undefined>()

  function find(text: string): KnownAddress | undefined {
    return book(text, () => {
      const address = parseAddress(text)
      return address && { address, isLocal: isIn(networkAddress(address), networks) }
    })
  }

  return {
    find,
    communityId(src, dst, protocol, srcPort, dstPort) {
      return ids(`${src} ${dst} ${protocol} ${srcPort} ${dstPort}`, () => {
        const [from, to] = [find(src)?.address, find(dst)?.address]
        return from && to && communityId({ src: from, dst: to, protocol, srcPort, dstPort })
      })
    },
  }
}

function bounded<T>() {
  const known = new Map<string, T>()
  return (key: string, make: () => T): T => {
    const before = known.get(key)
    if (before !== undefined || known.has(key)) return before as T
    const made = make()
    if (known.size >= LIMIT) known.clear()
    known.set(key, made)
    return made
  }
}
