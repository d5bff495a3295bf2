/**
 * Answers for components: kept by key, shown again at once while they are asked for anew.
 *
 * A new key keeps the old answer on the screen (`isOld`) until the new one is there, so that nothing jumps; what is
 * not wanted any more is aborted.
 */

import { useCallback, useEffect, useRef, useState } from 'react'
import { messageOf } from './api.ts'

export interface Asked<T> {
  answer: T | undefined
  error: string | undefined
  /** On the way. */
  isAsking: boolean
  /** `answer` is that of an earlier key. */
  isOld: boolean
  again(): void
  /** Puts in what is known without asking. */
  change(change: (answer: T) => T): void
}

const KEPT = 60
const kept = new Map<string, unknown>()

function keep(key: string, answer: unknown): void {
  kept.delete(key)
  kept.set(key, answer)
  const [oldest] = kept.keys()
  if (kept.size > KEPT && oldest !== undefined) kept.delete(oldest)
}

/** Of what has changed on the server. */
export function forgetAnswers(prefix: string): void {
  for (const key of kept.keys()) if (key.startsWith(prefix)) kept.delete(key)
}

interface State<T> {
  key: string
  answer: T | undefined
  error: string | undefined
  isAsking: boolean
}

/** `undefined` as key asks nothing. `everyMs` asks again and again while the page is seen. */
export function useAsk<T>(
  key: string | undefined,
  fetcher: (signal: AbortSignal) => Promise<T>,
  everyMs?: number,
): Asked<T> {
  const [state, setState] = useState<State<T>>(() => start(key))
  const [turn, setTurn] = useState(0)
  const latest = useRef(fetcher)
  latest.current = fetcher

  // biome-ignore lint/correctness/useExhaustiveDependencies: `turn` asks again; the fetcher follows from the key
  useEffect(() => {
    if (key === undefined) return
    const controller = new AbortController()
    const known = kept.get(key) as T | undefined
    setState((old) => ({
      key: known === undefined ? old.key : key,
      answer: known ?? old.answer,
      error: undefined,
      isAsking: true,
    }))
    latest.current(controller.signal).then(
      (answer) => {
        if (controller.signal.aborted) return
        keep(key, answer)
        setState({ key, answer, error: undefined, isAsking: false })
      },
      (error: unknown) => {
        if (controller.signal.aborted) return
        setState((old) => ({ ...old, key, error: messageOf(error), isAsking: false }))
      },
    )
    return () => controller.abort()
  }, [key, turn])

  const again = useCallback(() => setTurn((n) => n + 1), [])
  useEffect(() => {
    if (everyMs === undefined) return
    const timer = setInterval(() => {
      if (!document.hidden) again()
    }, everyMs)
    return () => clearInterval(timer)
  }, [everyMs, again])

  const change = useCallback(
    (how: (answer: T) => T) =>
      setState((old) => (old.answer === undefined ? old : { ...old, answer: how(old.answer) })),
    [],
  )
  const isOld = state.key !== key && state.answer !== undefined
  return { answer: state.answer, error: state.error, isAsking: state.isAsking, isOld, again, change }
}

function start<T>(key: string | undefined): State<T> {
  const answer = key === undefined ? undefined : (kept.get(key) as T | undefined)
  return { key: key ?? '', answer, error: undefined, isAsking: key !== undefined }
}
