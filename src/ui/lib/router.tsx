/** The address bar is the state: in, a path and its parameters; out, links and changes of it that the browser's history knows. */

import { type ComponentProps, type MouseEvent, useCallback, useMemo, useSyncExternalStore } from 'react'

const MOVED = 'pcap-pipeline:moved'

function subscribe(listener: () => void): () => void {
  window.addEventListener('popstate', listener)
  window.addEventListener(MOVED, listener)
  return () => {
    window.removeEventListener('popstate', listener)
    window.removeEventListener(MOVED, listener)
  }
}

export function usePath(): string {
  return useSyncExternalStore(subscribe, () => location.pathname)
}

/** The parameters change as a whole: two with the same text are the same object. */
export function useParams(): URLSearchParams {
  const text = useSyncExternalStore(subscribe, () => location.search)
  return useMemo(() => new URLSearchParams(text), [text])
}

export function navigate(href: string, { replace = false } = {}): void {
  const target = new URL(href, location.href)
  const isOtherPage = target.pathname !== location.pathname
  if (target.href === location.href) return
  if (replace) history.replaceState(null, '', target)
  else history.pushState(null, '', target)
  window.dispatchEvent(new Event(MOVED))
  if (isOtherPage) window.scrollTo(0, 0)
}

export type Changes = Record<string, string | readonly string[] | number | null | undefined>

/** `null`, `undefined` and the empty text remove a parameter. */
export function withParams(params: URLSearchParams, changes: Changes): URLSearchParams {
  const next = new URLSearchParams(params)
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name)
    const values = value === null || value === undefined || value === '' ? [] : Array.isArray(value) ? value : [value]
    for (const each of values) next.append(name, String(each))
  }
  return next
}

export function hrefWith(path: string, params: URLSearchParams | Changes): string {
  const search = params instanceof URLSearchParams ? params : withParams(new URLSearchParams(), params)
  return search.size === 0 ? path : `${path}?${search}`
}

/** Changes parameters of the place where the page is. */
export function useChangeParams(): (changes: Changes, options?: { replace?: boolean }) => void {
  return useCallback((changes, options) => {
    const next = withParams(new URLSearchParams(location.search), changes)
    navigate(hrefWith(location.pathname, next), options)
  }, [])
}

export function Link({ href, onClick, ...rest }: ComponentProps<'a'> & { href: string }) {
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event)
    if (event.defaultPrevented || event.button !== 0) return
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    event.preventDefault()
    navigate(href)
  }
  return <a href={href} onClick={follow} {...rest} />
}
