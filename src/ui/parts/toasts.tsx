/** Short words about what was done; read out to those who do not see them. */

import { useSyncExternalStore } from 'react'
import { Icon } from './icons.tsx'

interface Toast {
  key: number
  text: string
  isBad: boolean
}

const SHOWN_MS = 6000
let toasts: readonly Toast[] = []
let nextKey = 1
const watchers = new Set<() => void>()

function set(next: readonly Toast[]): void {
  toasts = next
  for (const watcher of watchers) watcher()
}

export function say(text: string, { isBad = false } = {}): void {
  const key = nextKey++
  set([...toasts.slice(-3), { key, text, isBad }])
  setTimeout(() => set(toasts.filter((toast) => toast.key !== key)), isBad ? 2 * SHOWN_MS : SHOWN_MS)
}

export function sayError(error: unknown): void {
  say(error instanceof Error ? error.message : String(error), { isBad: true })
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher)
      return () => watchers.delete(watcher)
    },
    () => toasts,
  )
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map(({ key, text, isBad }) => (
        <div key={key} className={isBad ? 'toast toast-bad' : 'toast'}>
          <Icon name={isBad ? 'warn' : 'check'} />
          <span>{text}</span>
        </div>
      ))}
    </div>
  )
}
