/** Long lists: the first page by `useAsk`, each further one behind it when somebody asks for more. */

import { useState } from 'react'
import { sayError } from '../parts/toasts.tsx'
import { type Asked, useAsk } from './use-ask.ts'

interface Page {
  /** Where the next one begins. */
  next: string | number | null
}

export interface Pages<A> extends Asked<A> {
  /** Absent at the end of the list. */
  more: (() => void) | undefined
}

/** `join` puts a page behind those that are there; `joined` does it for lists whose entries have a name. */
export function usePages<A extends Page>(
  key: string,
  fetchPage: (after: NonNullable<A['next']> | undefined, signal?: AbortSignal) => Promise<A>,
  join: (old: A, next: A) => A,
): Pages<A> {
  const asked = useAsk(key, (signal) => fetchPage(undefined, signal))
  const [isAsking, setAsking] = useState(false)
  const after = asked.answer?.next
  const more = async () => {
    if (after === null || after === undefined || isAsking) return
    setAsking(true)
    try {
      const next = await fetchPage(after)
      // The list may have become another one meanwhile.
      asked.change((old) => (old.next === after ? join(old, next) : old))
    } catch (error) {
      sayError(error)
    }
    setAsking(false)
  }
  return { ...asked, more: after === null || after === undefined ? undefined : () => void more() }
}

/** Entries that came by another way meanwhile stay where they are. */
export function joined<T>(old: readonly T[], next: readonly T[], nameOf: (entry: T) => string | number): T[] {
  const known = new Set(old.map(nameOf))
  return [...old, ...next.filter((each) => !known.has(nameOf(each)))]
}
