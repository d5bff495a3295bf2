/** The small parts that all pages are made of. */

import { type ComponentProps, type ReactNode, useEffect, useId, useRef } from 'react'
import { formatMoment, formatTime } from '../lib/format.ts'
import { Link } from '../lib/router.tsx'
import { Icon, type IconName } from './icons.tsx'

type Look = 'plain' | 'primary' | 'danger' | 'quiet'

interface ButtonProps extends Omit<ComponentProps<'button'>, 'children'> {
  look?: Look
  icon?: IconName
  children?: ReactNode
}

/** Without children, `aria-label` names it. */
export function Button({ look = 'plain', icon, children, className = '', type = 'button', ...rest }: ButtonProps) {
  const only = children === undefined ? ' button-icon' : ''
  return (
    <button type={type} className={`button button-${look}${only} ${className}`} title={rest['aria-label']} {...rest}>
      {icon && <Icon name={icon} />}
      {children !== undefined && <span>{children}</span>}
    </button>
  )
}

interface LinkButtonProps extends ComponentProps<'a'> {
  href: string
  look?: Look
  icon?: IconName
  /** A file rather than a place of the page. */
  isDownload?: boolean
}

export function LinkButton({ look = 'plain', icon, children, isDownload = false, ...rest }: LinkButtonProps) {
  const className = `button button-${look}`
  const content = (
    <>
      {icon && <Icon name={icon} />}
      <span>{children}</span>
    </>
  )
  if (!isDownload)
    return (
      <Link {...rest} className={className}>
        {content}
      </Link>
    )
  return (
    <a {...rest} className={className} download>
      {content}
    </a>
  )
}

export type Tone = 'neutral' | 'good' | 'warn' | 'bad' | 'info'

export function Badge({ tone = 'neutral', children, title }: { tone?: Tone; children: ReactNode; title?: string }) {
  return (
    <span className={`badge badge-${tone}`} title={title}>
      {children}
    </span>
  )
}

export function Notice({
  tone = 'info',
  children,
  actions,
}: {
  tone?: Tone
  children: ReactNode
  actions?: ReactNode
}) {
  const icon = tone === 'good' ? 'check' : tone === 'info' || tone === 'neutral' ? 'info' : 'warn'
  return (
    <div className={`notice notice-${tone}`} role={tone === 'bad' ? 'alert' : undefined}>
      <Icon name={icon} />
      <div className="notice-text">{children}</div>
      {actions && <div className="notice-actions">{actions}</div>}
    </div>
  )
}

/** An error with what can be done about it. */
export function Failed({ error, again }: { error: string; again?: (() => void) | undefined }) {
  return (
    <Notice tone="bad" actions={again && <Button onClick={again}>Try again</Button>}>
      {error}
    </Notice>
  )
}

interface PageHeadProps {
  title: ReactNode
  about?: ReactNode
  actions?: ReactNode
}

export function PageHead({ title, about, actions }: PageHeadProps) {
  return (
    <header className="page-head">
      <div className="page-head-text">
        <h1>{title}</h1>
        {about && <p className="about">{about}</p>}
      </div>
      {actions && <div className="page-actions">{actions}</div>}
    </header>
  )
}

interface PanelProps {
  title?: ReactNode
  note?: ReactNode
  actions?: ReactNode
  children: ReactNode
  className?: string
  /** Content up to the border: tables. */
  flush?: boolean
}

export function Panel({ title, note, actions, children, className = '', flush = false }: PanelProps) {
  const id = useId()
  return (
    <section className={`panel ${flush ? 'panel-flush' : ''} ${className}`} aria-labelledby={title ? id : undefined}>
      {(title || actions) && (
        <div className="panel-head">
          {title && <h2 id={id}>{title}</h2>}
          {note && <span className="panel-note">{note}</span>}
          {actions && <div className="panel-actions">{actions}</div>}
        </div>
      )}
      {children}
    </section>
  )
}

interface EmptyProps {
  icon: IconName
  title: string
  children?: ReactNode
  actions?: ReactNode
}

export function Empty({ icon, title, children, actions }: EmptyProps) {
  return (
    <div className="empty">
      <span className="empty-icon">
        <Icon name={icon} />
      </span>
      <h3>{title}</h3>
      {children && <div className="empty-text">{children}</div>}
      {actions && <div className="empty-actions">{actions}</div>}
    </div>
  )
}

/** Grey lines where text will be. */
export function Skeleton({ lines = 3, height }: { lines?: number; height?: number }) {
  if (height !== undefined) return <div className="skeleton" style={{ height }} aria-hidden="true" />
  return (
    <div className="skeleton-lines" aria-hidden="true">
      {Array.from({ length: lines }, (_, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the lines are all alike
        <div key={i} className="skeleton" style={{ width: `${[92, 78, 85, 64, 88][i % 5]}%` }} />
      ))}
    </div>
  )
}

/** One line; what does not fit is in the title. */
export function Cut({ text, mono = false, className = '' }: { text: string; mono?: boolean; className?: string }) {
  return (
    <span className={`cut ${mono ? 'mono' : ''} ${className}`} title={text}>
      {text}
    </span>
  )
}

export function Time({ iso, digits = 0 }: { iso: string | null | undefined; digits?: number }) {
  if (!iso) return <span className="faint">–</span>
  return (
    <time dateTime={iso} className="time" title={`${formatTime(iso, 6)} UTC`}>
      {digits === 0 ? formatMoment(iso) : formatTime(iso, digits)}
    </time>
  )
}

export function Meter({ value, label, tone = 'info' }: { value: number; label: string; tone?: Tone }) {
  const percent = Math.max(0, Math.min(100, Math.round(100 * value)))
  return (
    <div
      className={`meter meter-${tone}`}
      role="progressbar"
      aria-valuenow={percent}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-label={label}
    >
      <div className="meter-bar" style={{ width: `${percent}%` }} />
    </div>
  )
}

export function Field({
  label,
  children,
  hint,
}: {
  label: string
  children: (id: string) => ReactNode
  hint?: ReactNode
}) {
  const id = useId()
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children(id)}
      {hint && <p className="hint">{hint}</p>}
    </div>
  )
}

export interface Tab<T extends string> {
  id: T
  label: string
  count?: number | undefined
}

interface TabsProps<T extends string> {
  label: string
  tabs: readonly Tab<T>[]
  current: T
  hrefOf(id: T): string
}

/** Places rather than panels: each tab is a link. */
export function TabLinks<T extends string>({ label, tabs, current, hrefOf }: TabsProps<T>) {
  return (
    <nav className="tabs" aria-label={label}>
      {tabs.map(({ id, label: name, count }) => (
        <Link key={id} href={hrefOf(id)} className="tab" aria-current={id === current ? 'page' : undefined}>
          {name}
          {count !== undefined && <span className="tab-count">{count}</span>}
        </Link>
      ))}
    </nav>
  )
}

interface DialogProps {
  title: string
  children: ReactNode
  onClose(): void
  wide?: boolean
}

/** The browser's own: it keeps the focus inside and gives it back, and ends with Escape. */
export function Dialog({ title, children, onClose, wide = false }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const { current } = ref
    if (current && !current.open) current.showModal()
    return () => current?.close()
  }, [])
  return (
    <dialog ref={ref} className={wide ? 'dialog dialog-wide' : 'dialog'} aria-labelledby={id} onCancel={onClose}>
      <div className="dialog-head">
        <h2 id={id}>{title}</h2>
        <Button look="quiet" icon="close" aria-label="Close" onClick={onClose} />
      </div>
      <div className="dialog-body">{children}</div>
    </dialog>
  )
}

interface ConfirmProps {
  title: string
  children: ReactNode
  action: string
  isDangerous?: boolean
  onConfirm(): void
  onClose(): void
}

export function Confirm({ title, children, action, isDangerous = false, onConfirm, onClose }: ConfirmProps) {
  const confirm = () => {
    onConfirm()
    onClose()
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <div className="prose">{children}</div>
      <div className="dialog-actions">
        <Button onClick={onClose} autoFocus>
          Cancel
        </Button>
        <Button look={isDangerous ? 'danger' : 'primary'} onClick={confirm}>
          {action}
        </Button>
      </div>
    </Dialog>
  )
}
