/** A button with a panel below it: it closes with Escape, with a click elsewhere, and when the focus leaves it. */

import { type FocusEvent, type KeyboardEvent, type ReactNode, useEffect, useId, useRef, useState } from 'react'
import { Icon, type IconName } from './icons.tsx'

interface PopoverProps {
  label: ReactNode
  icon?: IconName
  /** The button shows that something is set. */
  isSet?: boolean
  align?: 'start' | 'end'
  name?: string
  children(close: () => void): ReactNode
}

export function Popover({ label, icon, isSet = false, align = 'start', name, children }: PopoverProps) {
  const [isOpen, setOpen] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const button = useRef<HTMLButtonElement>(null)
  const id = useId()
  const close = () => {
    setOpen(false)
    button.current?.focus()
  }
  useEffect(() => {
    if (!isOpen) return
    const listen = (event: PointerEvent) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false)
    }
    document.addEventListener('pointerdown', listen)
    return () => document.removeEventListener('pointerdown', listen)
  }, [isOpen])
  const leave = ({ relatedTarget }: FocusEvent) => {
    if (relatedTarget instanceof Node && !root.current?.contains(relatedTarget)) setOpen(false)
  }
  const press = (event: KeyboardEvent) => {
    if (event.key !== 'Escape' || !isOpen) return
    event.stopPropagation()
    close()
  }
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Escape is heard wherever the focus is inside
    <div className="popover-root" ref={root} onBlur={leave} onKeyDown={press}>
      <button
        ref={button}
        type="button"
        className={`button button-plain ${isSet ? 'button-set' : ''}`}
        aria-expanded={isOpen}
        aria-controls={isOpen ? id : undefined}
        aria-label={name}
        onClick={() => setOpen(!isOpen)}
      >
        {icon && <Icon name={icon} />}
        <span>{label}</span>
        <Icon name="down" />
      </button>
      {isOpen && (
        <div className={`popover popover-${align}`} id={id}>
          {children(close)}
        </div>
      )}
    </div>
  )
}
