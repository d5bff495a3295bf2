/** Pages of lists: one more than is shown is asked for, which tells whether there are more. */

export interface ListPage<T> {
  items: T[]
  /** The last of the page, behind which the next begins; undefined where this is the end. */
  next: T | undefined
}

/** For the refusal of a cursor that is none. */
export const WRONG_CURSOR = '`after` is not what an answer had as `next`'

export function pageOf<T>(limit: number, ask: (limit: number) => T[]): ListPage<T> {
  const found = ask(limit + 1)
  const items = found.slice(0, limit)
  return { items, next: found.length > limit ? items.at(-1) : undefined }
}
