/**
 * Shares the partitions of a group out among its members. Pure.
 *
 * Each gets its even share of every topic (one more or less); of what it had it keeps as much as its share allows, so
 * that work under way stays where it is. A partition that two claim goes to neither's advantage: the first is asked.
 */

import type { TopicPartition } from './group.ts'

export interface Claim {
  member: string
  owned: readonly TopicPartition[]
}

export interface MemberShare {
  member: string
  partitions: TopicPartition[]
}

export function shareOut(partitions: readonly TopicPartition[], claims: readonly Claim[]): MemberShare[] {
  const members = [...claims].sort((a, b) => (a.member < b.member ? -1 : 1))
  const shares = members.map(({ member }): MemberShare => ({ member, partitions: [] }))
  const topics = Map.groupBy(partitions, ({ topic }) => topic)
  for (const [topic, all] of topics) {
    const free = new Set(all.map(({ partition }) => partition))
    const quota = Math.ceil(all.length / members.length)
    // So many members may have one more than the others.
    let larger = all.length - Math.floor(all.length / members.length) * members.length
    const counts = members.map(({ owned }, index) => {
      const wanted = owned.filter((each) => each.topic === topic && free.has(each.partition))
      const isLarger = larger > 0 && wanted.length >= quota
      const limit = isLarger ? quota : Math.floor(all.length / members.length)
      const kept = wanted.slice(0, limit)
      if (isLarger && kept.length === quota) larger--
      for (const { partition } of kept) free.delete(partition)
      shares[index]?.partitions.push(...kept)
      return kept.length
    })
    const rest = [...free]
    // Those with least of all topics first, so that many topics of one partition do not all go to one member.
    while (rest.length > 0) {
      const least = counts.reduce((best, count, index) => {
        const total = (i: number) => shares[i]?.partitions.length ?? 0
        const better = count < (counts[best] as number) || (count === counts[best] && total(index) < total(best))
        return better ? index : best
      }, 0)
      shares[least]?.partitions.push({ topic, partition: rest.shift() as number })
      counts[least] = (counts[least] as number) + 1
    }
  }
  return shares
}
