/** Live events: one connection for the whole page, open while somebody listens. The browser connects again by itself. */

import { useEffect, useRef, useSyncExternalStore } from 'react'
import type { LiveEvent } from '../../api/contract.ts'

type Kind = LiveEvent['kind']
type Of<K extends Kind> = Extract<LiveEvent, { kind: K }>

const KINDS: readonly Kind[] = ['capture', 'forgotten', 'stages', 'error', 'log', 'hit']
const LINGER_MS = 3000

const listeners = new Map<Kind, Set<(event: never) => void>>(KINDS.map((kind) => [kind, new Set()]))
const watchers = new Set<() => void>()
let source: EventSource | undefined
let closing: ReturnType<typeof setTimeout> | undefined
let isConnected = true

function listenersThere(): boolean {
  return [...listeners.values()].some((set) => set.size > 0)
}

function setConnected(now: boolean): void {
  if (isConnected === now) return
  isConnected = now
  for (const watcher of watchers) watcher()
}

function open(): void {
  clearTimeout(closing)
  if (source && source.readyState !== EventSource.CLOSED) return
  source = new EventSource('/api/live')
  source.onopen = () => setConnected(true)
  source.onerror = () => setConnected(false)
  for (const kind of KINDS) {
    source.addEventListener(kind, ({ data }: MessageEvent<string>) => {
      const event = JSON.parse(data) as never
      for (const listener of listeners.get(kind) ?? []) listener(event)
    })
  }
}

function closeSoon(): void {
  if (listenersThere()) return
  clearTimeout(closing)
  closing = setTimeout(() => {
    if (listenersThere()) return
    source?.close()
    source = undefined
  }, LINGER_MS)
}

export function useLive<K extends Kind>(kind: K, listener: (event: Of<K>) => void): void {
  const latest = useRef(listener)
  latest.current = listener
  useEffect(() => {
    const own = (event: Of<K>) => latest.current(event)
    const set = listeners.get(kind) as Set<(event: Of<K>) => void> | undefined
    set?.add(own)
    open()
    return () => {
      set?.delete(own)
      closeSoon()
    }
  }, [kind])
}

export function useIsConnected(): boolean {
  return useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher)
      return () => watchers.delete(watcher)
    },
    () => isConnected,
  )
}
