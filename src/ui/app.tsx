/** The frame: who is asking, where the page is, and the way to everywhere else. */

import { type ComponentType, lazy, Suspense, useCallback, useEffect, useState } from 'react'
import type { Session } from '../api/contract.ts'
import { ask, onLoggedOut } from './lib/api.ts'
import { useIsConnected } from './lib/live.ts'
import { Link, navigate, usePath } from './lib/router.tsx'
import { PAGES, useShortcuts } from './lib/shortcuts.ts'
import { applyTheme, type Theme, useTheme } from './lib/theme.ts'
import { Button, Dialog, Empty, Failed, LinkButton, Skeleton } from './parts/basics.tsx'
import { Boundary } from './parts/boundary.tsx'
import { Icon, type IconName } from './parts/icons.tsx'
import { Toasts } from './parts/toasts.tsx'

/** Each page comes with what it needs when it is first opened. */
const page = <N extends string>(load: () => Promise<Record<N, ComponentType>>, name: N) =>
  lazy(async () => ({ default: (await load())[name] }))

const PLACES: readonly [RegExp, ComponentType][] = [
  [/^\/captures$/, page(() => import('./pages/captures.tsx'), 'CapturesPage')],
  [/^\/captures\/[0-9a-f]+$/, page(() => import('./pages/capture.tsx'), 'CapturePage')],
  [/^\/dashboard$/, page(() => import('./pages/dashboard.tsx'), 'DashboardPage')],
  [/^\/search$/, page(() => import('./pages/search.tsx'), 'SearchPage')],
  [/^\/flow$/, page(() => import('./pages/flow.tsx'), 'FlowPage')],
  [/^\/sql$/, page(() => import('./pages/sql.tsx'), 'SqlPage')],
  [/^\/watch$/, page(() => import('./pages/watch.tsx'), 'WatchPage')],
  [/^\/health$/, page(() => import('./pages/health.tsx'), 'HealthPage')],
]
const LogInPage = lazy(async () => ({ default: (await import('./pages/log-in.tsx')).LogInPage }))

const ICONS: Record<string, IconName> = {
  '/captures': 'captures',
  '/dashboard': 'dashboard',
  '/search': 'search',
  '/sql': 'sql',
  '/watch': 'watch',
  '/health': 'health',
}

export function App() {
  const [session, setSession] = useState<Session>()
  const [error, setError] = useState<string>()
  const load = useCallback(() => {
    setError(undefined)
    ask('GET /api/session').then(setSession, (reason: Error) => setError(reason.message))
  }, [])
  useEffect(load, [load])
  useEffect(() => onLoggedOut(() => setSession((old) => old && { ...old, user: null })), [])

  if (error) {
    return (
      <main className="alone">
        <Failed error={error} again={load} />
      </main>
    )
  }
  if (!session) return <main className="alone" aria-busy="true" />
  if (session.auth !== 'none' && session.user === null) {
    return (
      <Suspense>
        <LogInPage session={session} onLogIn={setSession} />
      </Suspense>
    )
  }
  return <Frame session={session} onLogOut={setSession} />
}

interface FrameProps {
  session: Session
  onLogOut(session: Session): void
}

function Frame({ session, onLogOut }: FrameProps) {
  const [isHelpOpen, setHelpOpen] = useState(false)
  const showHelp = useCallback(() => setHelpOpen(true), [])
  useShortcuts(showHelp)
  return (
    <div className="frame">
      <a className="skip" href="#content">
        Skip to the content
      </a>
      <Sidebar session={session} onLogOut={onLogOut} showHelp={showHelp} />
      <main id="content" tabIndex={-1}>
        <Place />
      </main>
      <Toasts />
      {isHelpOpen && <Help onClose={() => setHelpOpen(false)} />}
    </div>
  )
}

function Place() {
  const path = usePath()
  const isStart = path === '/'
  useEffect(() => {
    if (isStart) navigate('/captures', { replace: true })
  }, [isStart])
  if (isStart) return null
  const Found = PLACES.find(([pattern]) => pattern.test(path))?.[1]
  if (!Found) {
    return (
      <Empty icon="search" title="There is no such page" actions={<LinkButton href="/captures">Captures</LinkButton>}>
        <p>Nothing is at {path}.</p>
      </Empty>
    )
  }
  return (
    <Boundary key={path}>
      <Suspense fallback={<Skeleton lines={5} />}>
        <Found />
      </Suspense>
    </Boundary>
  )
}

interface SidebarProps extends FrameProps {
  showHelp(): void
}

function Sidebar({ session, onLogOut, showHelp }: SidebarProps) {
  const path = usePath()
  const isConnected = useIsConnected()
  const isHere = (place: string) =>
    path === place || path.startsWith(`${place}/`) || (place === '/search' && path === '/flow')
  const logOut = () => ask('DELETE /api/session').then(onLogOut, () => undefined)
  return (
    <header className="sidebar">
      <Link href="/captures" className="brand">
        <img src={new URL('./icon.svg', import.meta.url).href} alt="" width="24" height="24" />
        <span>pcap-pipeline</span>
      </Link>
      <nav className="main-nav" aria-label="Pages">
        {PAGES.map(({ path: place, label, key }) => (
          <Link
            key={place}
            href={place}
            className="nav-link"
            aria-current={isHere(place) ? 'page' : undefined}
            title={`${label} (g ${key})`}
          >
            <Icon name={ICONS[place] ?? 'info'} />
            <span>{label}</span>
          </Link>
        ))}
      </nav>
      <div className="sidebar-foot">
        {!isConnected && (
          <p className="disconnected" role="status">
            <Icon name="warn" /> <span>Not connected</span>
          </p>
        )}
        <div className="foot-row">
          <ThemeSwitch />
          <Button look="quiet" aria-label="Keyboard shortcuts" className="only-wide" onClick={showHelp}>
            ?
          </Button>
          {session.user !== null && session.auth !== 'none' && (
            <Button look="quiet" icon="out" aria-label={`Log out ${session.user}`} onClick={() => void logOut()} />
          )}
        </div>
        <p className="version">
          {session.user !== null && session.auth === 'accounts' && <span className="cut">{session.user}, </span>}
          {session.version} · <a href="/help/">Help</a> · <a href="/api/docs">API</a>
        </p>
      </div>
    </header>
  )
}

const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' }
const THEME_ICONS: Record<Theme, IconName> = { system: 'system', light: 'sun', dark: 'moon' }
const THEME_NAMES: Record<Theme, string> = { system: 'as the system', light: 'light', dark: 'dark' }

function ThemeSwitch() {
  const theme = useTheme()
  const label = `Colours: ${THEME_NAMES[theme]}. Change to ${THEME_NAMES[NEXT[theme]]}`
  return <Button look="quiet" icon={THEME_ICONS[theme]} aria-label={label} onClick={() => applyTheme(NEXT[theme])} />
}

const KEYS: readonly [string, string][] = [
  ['/', 'Search field'],
  ['j k ↑ ↓', 'Next and previous row'],
  ['Enter', 'Open the row'],
  ['Esc', 'Close what is open'],
  ['Ctrl Enter', 'Run the query (SQL)'],
  ['?', 'This list'],
]

function Help({ onClose }: { onClose(): void }) {
  return (
    <Dialog title="Keyboard shortcuts" onClose={onClose}>
      <dl className="keys">
        {[...PAGES.map(({ key, label }): [string, string] => [`g ${key}`, label]), ...KEYS].map(([keys, what]) => (
          <div key={keys}>
            <dt>
              {keys.split(' ').map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  )
}
