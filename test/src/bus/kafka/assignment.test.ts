import { describe, expect, it } from 'vitest'
import { type Claim, shareOut } from '../../../../src/bus/kafka/assignment.ts'
import { keyOf, type TopicPartition } from '../../../../src/bus/kafka/group.ts'
import { randomFrom } from '../../../support/mutate.ts'

const partitionsOf = (topic: string, count: number): TopicPartition[] =>
  Array.from({ length: count }, (_, partition) => ({ topic, partition }))
const claim = (member: string, owned: TopicPartition[] = []): Claim => ({ member, owned })
const sizes = (shares: ReturnType<typeof shareOut>) => shares.map(({ partitions }) => partitions.length)

describe('sharing partitions out', () => {
  it('gives each member its even share, one more or less', () => {
    expect(sizes(shareOut(partitionsOf('t', 12), [claim('a'), claim('b'), claim('c')]))).toEqual([4, 4, 4])
    expect(sizes(shareOut(partitionsOf('t', 5), [claim('a'), claim('b')])).sort()).toEqual([2, 3])
    expect(sizes(shareOut(partitionsOf('t', 1), [claim('a'), claim('b')])).sort()).toEqual([0, 1])
  })

  it('leaves everything where it is when nobody came or went', () => {
    const all = partitionsOf('t', 7)
    const first = shareOut(all, [claim('a'), claim('b'), claim('c')])
    const again = shareOut(
      all,
      first.map(({ member, partitions }) => claim(member, partitions)),
    )
    expect(again).toEqual(first)
  })

  it('takes from those who were there only what a newcomer is due', () => {
    const all = partitionsOf('t', 12)
    const [a, b] = [all.slice(0, 6), all.slice(6)]
    const shares = shareOut(all, [claim('a', a), claim('b', b), claim('c')])
    expect(sizes(shares)).toEqual([4, 4, 4])
    expect(shares[0]?.partitions).toEqual(a.slice(0, 4))
    expect(shares[1]?.partitions).toEqual(b.slice(0, 4))
  })

  it('gives what one has left to the others, who keep what they have', () => {
    const all = partitionsOf('t', 6)
    const [share] = shareOut(all, [claim('b', all.slice(3))])
    expect(new Set(share?.partitions)).toEqual(new Set(all))
  })

  it('gives what two claim to one of them', () => {
    const all = partitionsOf('t', 2)
    const shares = shareOut(all, [claim('a', all), claim('b', all)])
    expect(sizes(shares)).toEqual([1, 1])
  })

  it('spreads many topics of one partition over all members', () => {
    const all = ['a', 'b', 'c', 'd'].flatMap((topic) => partitionsOf(topic, 1))
    expect(sizes(shareOut(all, [claim('x'), claim('y')]))).toEqual([2, 2])
  })

  it('whatever is claimed: each partition once, even shares, and what is moved had to be', () => {
    const random = randomFrom(4711)
    for (let round = 0; round < 500; round++) {
      const topics = ['s', 't', 'u'].slice(0, 1 + random(3))
      const all = topics.flatMap((topic) => partitionsOf(topic, 1 + random(9)))
      // Claims to partitions that are not there, or of topics that are not read, come from members of another age.
      const claimable = [...all, { topic: 'gone', partition: 0 }, { topic: 's', partition: 99 }]
      const claims = Array.from({ length: 1 + random(6) }, (_, index) =>
        claim(
          `m${index}`,
          claimable.filter(() => random(3) === 0),
        ),
      )
      const shares = shareOut(all, claims)
      const given = shares.flatMap(({ partitions }) => partitions.map(keyOf))
      expect([...given].sort()).toEqual(all.map(keyOf).sort())
      for (const topic of topics) {
        const counts = shares.map(({ partitions }) => partitions.filter((each) => each.topic === topic).length)
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
      }
      const sole = (key: string, member: string) =>
        claims.every(({ member: other, owned }) => (other === member) === owned.map(keyOf).includes(key))
      for (const { member, partitions } of shares)
        for (const topic of topics) {
          const own = partitions.filter((each) => each.topic === topic).map(keyOf)
          const claimed = all.filter((each) => each.topic === topic && sole(keyOf(each), member)).map(keyOf)
          const lost = claimed.filter((key) => !own.includes(key))
          // Whoever lost something to another has nothing new, and its full share.
          if (lost.length > 0)
            expect(
              own.every((key) =>
                claims
                  .find((c) => c.member === member)
                  ?.owned.map(keyOf)
                  .includes(key),
              ),
            ).toBe(true)
        }
    }
  })
})
