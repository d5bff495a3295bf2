/**
 * A Map that gives up its oldest entries when there are too many of them, or too much in them. In: keys, values,
 * each value's weight (say characters). Memory: `maxCount` entries and `maxWeight`.
 */

export interface BoundedMap<K, V> {
  get(key: K): V | undefined
  has(key: K): boolean
  set(key: K, value: V): void
  delete(key: K): void
  entries(): [K, V][]
}

export interface BoundedMapOptions<K, V> {
  maxCount: number
  maxWeight: number
  weigh: (value: V) => number
  onEvict?: (key: K, value: V) => void
}

export function createBoundedMap<K, V>({
  maxCount,
  maxWeight,
  weigh,
  onEvict,
}: BoundedMapOptions<K, V>): BoundedMap<K, V> {
  const map = new Map<K, { value: V; weight: number }>()
  let total = 0

  function remove(key: K): V | undefined {
    const found = map.get(key)
    if (found === undefined) return undefined
    map.delete(key)
    total -= found.weight
    return found.value
  }

  function evict(): void {
    for (const [key, { value }] of map) {
      if (map.size <= maxCount && (total <= maxWeight || map.size === 1)) return
      remove(key)
      onEvict?.(key, value)
    }
  }

  return {
    get: (key) => map.get(key)?.value,
    has: (key) => map.has(key),
    set(key, value) {
      remove(key)
      const weight = weigh(value)
      map.set(key, { value, weight })
      total += weight
      evict()
    },
    delete: (key) => void remove(key),
    entries: () => Array.from(map, ([key, { value }]) => [key, value]),
  }
}
