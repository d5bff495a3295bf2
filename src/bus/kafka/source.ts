/** Where work came from on Kafka, and how it is acknowledged. */

import type { Job, StageName } from '../../../state/job.ts'
import type { Position } from './fetch.ts'
import type { Membership } from './group.ts'

export interface Source {
  readonly stage: StageName
  /** Work that is due. Never waits. */
  claim(leaseMs: number): Job[]
  /** Of work that this source handed out and that is still its own. */
  find(lease: string): Taken | undefined
  close(): Promise<void>
}

export interface Taken {
  /** Where to go on when it is done, and where not to be moved from while it is not. */
  after: Position[]
  before: Position[]
  /**
   * Of the generation that it is still ours in, other than one that was `refused`; waits while the group is being formed.
   * Throws `lease_lost`.
   */
  member(signal: AbortSignal, refused?: Membership): Promise<Membership>
  /** It is acknowledged. */
  finished(): void
}
