/** Keys that work wherever nothing is typed: `g` then a page's letter, `/` for the search, `?` for their list. */

import { useEffect } from 'react'
import { navigate } from './router.tsx'

export const PAGES = [
  { path: '/captures', label: 'Captures', key: 'c' },
  { path: '/dashboard', label: 'Dashboard', key: 'd' },
  { path: '/search', label: 'Search', key: 's' },
  { path: '/sql', label: 'SQL', key: 'q' },
  { path: '/watch', label: 'Watch lists', key: 'w' },
  { path: '/health', label: 'Health', key: 'h' },
] as const

const CHORD_MS = 1200

export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  return target.isContentEditable || target.shadowRoot !== null || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)
}

export function useShortcuts(showHelp: () => void): void {
  useEffect(() => {
    let pressedG = 0
    const listen = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return
      if (document.querySelector('dialog[open]')) return
      if (event.key === '?') return showHelp()
      if (event.key === '/') return focusSearch(event)
      const page = PAGES.find(({ key }) => key === event.key)
      if (page && performance.now() - pressedG < CHORD_MS) navigate(page.path)
      pressedG = event.key === 'g' ? performance.now() : 0
    }
    window.addEventListener('keydown', listen)
    return () => window.removeEventListener('keydown', listen)
  }, [showHelp])
}

function focusSearch(event: KeyboardEvent): void {
  event.preventDefault()
  const field = document.querySelector<HTMLElement>('[data-search-field]')
  if (field) {
    field.focus()
    return
  }
  navigate('/search')
  requestAnimationFrame(() => document.querySelector<HTMLElement>('[data-search-field]')?.focus())
}
