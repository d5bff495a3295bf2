/** Which events: words, log types, time, capture, source, conditions. In and out: the address bar. */

import { type FormEvent, useEffect, useMemo, useState } from 'react'
import type { Condition, Operator } from '../../api/contract.ts'
import { ask } from '../lib/api.ts'
import {
  describeCondition,
  type Filter,
  filterParams,
  isOperator,
  OPERATORS,
  readList,
  takesValue,
  writeCondition,
} from '../lib/filter.ts'
import { formatCount, formatTime, formatValue, shortHash } from '../lib/format.ts'
import { useSettled } from '../lib/hooks.ts'
import { useChangeParams } from '../lib/router.tsx'
import { useColumns, useTables } from '../lib/schema.ts'
import { useAsk } from '../lib/use-ask.ts'
import { Button, Field } from './basics.tsx'
import { colourOfType } from './colours.ts'
import { Icon } from './icons.tsx'
import { Popover } from './popover.tsx'
import { Dot } from './time-bars.tsx'

interface FilterBarProps {
  filter: Filter
  /** Parameters that a change of the filter ends, such as an open event. */
  resets?: readonly string[]
}

export function FilterBar({ filter, resets = [] }: FilterBarProps) {
  const change = useChangeParams()
  const apply = (next: Partial<Filter>) => {
    const ended = Object.fromEntries(resets.map((name) => [name, null]))
    change({
      ...filterParams({
        ...filter,
        from: undefined,
        to: undefined,
        text: undefined,
        ...keep(filter),
        ...next,
      } as Filter),
      ...ended,
    })
  }
  const without = (condition: Condition) =>
    apply({ conditions: filter.conditions.filter((each) => each !== condition) })
  const isEmpty = filter.types.length + filter.conditions.length === 0 && !filter.from && !filter.to && !filter.text
  return (
    <search className="filter-bar">
      <div className="filter-row">
        <TextField text={filter.text ?? ''} apply={(text) => apply({ text })} />
        <TypePicker chosen={filter.types} apply={(types) => apply({ types })} />
        <TimePicker filter={filter} apply={apply} />
        <CapturePicker filter={filter} apply={apply} />
        <ConditionPicker
          filter={filter}
          add={(condition) => apply({ conditions: [...filter.conditions, condition] })}
        />
        {!isEmpty && (
          <Button look="quiet" onClick={() => apply({ types: [], from: '', to: '', text: '', conditions: [] })}>
            Clear
          </Button>
        )}
      </div>
      {filter.conditions.length > 0 && (
        <ul className="chips" aria-label="Conditions">
          {filter.conditions.map((condition) => (
            <li key={writeCondition(condition)} className="chip">
              <ConditionText condition={condition} />
              <button
                type="button"
                aria-label={`Remove ${describeCondition(condition)}`}
                onClick={() => without(condition)}
              >
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
    </search>
  )
}

function keep({ from, to, text }: Filter): Partial<Filter> {
  return { ...(from && { from }), ...(to && { to }), ...(text && { text }) }
}

/** Hashes of captures are told by the capture's name. */
function ConditionText({ condition }: { condition: Condition }) {
  const { column, op, value } = condition
  const captures = useCaptureNames(column === 'capture_id')
  const text = describeCondition(condition)
  if (column !== 'capture_id' || op !== '=')
    return (
      <span className="cut" title={text}>
        {text}
      </span>
    )
  const name = captures?.get(String(value)) ?? shortHash(String(value))
  return (
    <span className="cut" title={`${name}, ${String(value)}`}>
      capture is {name}
    </span>
  )
}

function useCaptureNames(isWanted: boolean): Map<string, string> | undefined {
  const { answer } = useCaptureChoices(isWanted)
  return useMemo(() => answer && new Map(answer.captures.map(({ id, name }) => [id, name])), [answer])
}

function useCaptureChoices(isWanted: boolean) {
  return useAsk(isWanted ? 'captures choices' : undefined, (signal) =>
    ask('GET /api/captures', { query: { limit: 500 }, signal }),
  )
}

function TextField({ text, apply }: { text: string; apply(text: string): void }) {
  const [typed, setTyped] = useState(text)
  useEffect(() => setTyped(text), [text])
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (typed.trim() !== text) apply(typed.trim())
  }
  return (
    <form className="filter-text" onSubmit={submit}>
      <Icon name="search" />
      <input
        type="search"
        value={typed}
        data-search-field
        aria-label="Words, addresses, numbers"
        placeholder="Words, an address, a network…"
        onChange={({ target }) => {
          setTyped(target.value)
          // the field's own cross
          if (target.value === '' && text !== '') apply('')
        }}
        maxLength={512}
        spellCheck={false}
        autoComplete="off"
        enterKeyHint="search"
      />
      <kbd>/</kbd>
    </form>
  )
}

function TypePicker({ chosen, apply }: { chosen: readonly string[]; apply(types: string[]): void }) {
  const { answer } = useTables()
  const tables = answer?.tables ?? []
  const missing = chosen.filter((type) => !tables.some(({ name }) => name === type))
  const label =
    chosen.length === 0 ? 'All log types' : chosen.length < 3 ? chosen.join(', ') : `${chosen.length} log types`
  const toggle = (type: string) =>
    apply(chosen.includes(type) ? chosen.filter((each) => each !== type) : [...chosen, type])
  return (
    <Popover label={label} isSet={chosen.length > 0} name={`Log types: ${label}`}>
      {() => (
        <fieldset className="choices">
          <legend className="hidden">Log types</legend>
          {[...missing.map((name) => ({ name, rows: 0 })), ...tables].map(({ name, rows }) => (
            <label key={name} className="choice">
              <input type="checkbox" checked={chosen.includes(name)} onChange={() => toggle(name)} />
              <Dot colour={colourOfType(name)} />
              <span className="choice-name">{name}</span>
              <span className="choice-count num">{formatCount(rows)}</span>
            </label>
          ))}
          {tables.length === 0 && <p className="hint">Nothing is loaded yet.</p>}
        </fieldset>
      )}
    </Popover>
  )
}

/** `datetime-local` knows no zone: what is typed is taken as UTC. */
function TimePicker({ filter, apply }: { filter: Filter; apply(next: Partial<Filter>): void }) {
  const { from, to } = filter
  const label =
    from || to ? `${from ? formatTime(from, 0) : 'Start'} – ${to ? endLabel(from, to) : 'end'} UTC` : 'Any time'
  return (
    <Popover label={<span className="num">{label}</span>} isSet={Boolean(from || to)} name={`Time: ${label}`}>
      {(close) => <TimeForm filter={filter} apply={apply} close={close} />}
    </Popover>
  )
}

function endLabel(from: string | undefined, to: string): string {
  const text = formatTime(to, 0)
  return from && from.slice(0, 10) === to.slice(0, 10) ? text.slice(11) : text
}

function TimeForm({ filter, apply, close }: { filter: Filter; apply(next: Partial<Filter>): void; close(): void }) {
  const [from, setFrom] = useState(localOf(filter.from))
  const [to, setTo] = useState(localOf(filter.to))
  const { answer } = useTables()
  const ends = (answer?.tables ?? []).flatMap(({ lastTime }) => lastTime ?? []).sort()
  const newest = ends.at(-1)
  const submit = (event: FormEvent) => {
    event.preventDefault()
    apply({ from: isoOf(from), to: isoOf(to) })
    close()
  }
  const last = (hours: number) => {
    if (!newest) return
    const end = Math.floor(Date.parse(newest) / 1000) * 1000 + 1000
    apply({ from: new Date(end - hours * 3_600_000).toISOString(), to: new Date(end).toISOString() })
    close()
  }
  return (
    <form className="time-form" onSubmit={submit}>
      <Field label="From (UTC)">
        {(id) => (
          <input id={id} type="datetime-local" step="1" value={from} onChange={({ target }) => setFrom(target.value)} />
        )}
      </Field>
      <Field label="To (UTC, not included)">
        {(id) => (
          <input id={id} type="datetime-local" step="1" value={to} onChange={({ target }) => setTo(target.value)} />
        )}
      </Field>
      {newest && (
        <div className="presets">
          <span className="hint">Before the newest event</span>
          {[1, 24, 168].map((hours) => (
            <Button key={hours} look="quiet" onClick={() => last(hours)}>
              {{ 1: '1 hour', 24: '1 day', 168: '7 days' }[hours]}
            </Button>
          ))}
        </div>
      )}
      <div className="form-actions">
        <Button
          onClick={() => {
            apply({ from: '', to: '' })
            close()
          }}
        >
          Any time
        </Button>
        <Button look="primary" type="submit">
          Apply
        </Button>
      </div>
    </form>
  )
}

function localOf(iso: string | undefined): string {
  return iso && !Number.isNaN(Date.parse(iso)) ? new Date(iso).toISOString().slice(0, 19) : ''
}

function isoOf(local: string): string {
  const date = new Date(`${local}Z`)
  return Number.isNaN(date.getTime()) ? '' : date.toISOString()
}

function CapturePicker({ filter, apply }: { filter: Filter; apply(next: Partial<Filter>): void }) {
  const equalTo = (column: string) =>
    String(filter.conditions.find((each) => each.column === column && each.op === '=')?.value ?? '')
  const capture = equalTo('capture_id')
  const source = equalTo('source')
  const set = (column: string, value: string) => {
    const others = filter.conditions.filter((each) => !(each.column === column && each.op === '='))
    apply({ conditions: value === '' ? others : [...others, { column, op: '=', value }] })
  }
  return (
    <Popover label="Capture" isSet={capture !== '' || source !== ''} name="Capture and source">
      {() => <CaptureForm capture={capture} source={source} set={set} />}
    </Popover>
  )
}

interface CaptureFormProps {
  capture: string
  source: string
  set(column: string, value: string): void
}

function CaptureForm({ capture, source, set }: CaptureFormProps) {
  const { answer } = useCaptureChoices(true)
  const captures = answer?.captures ?? []
  return (
    <div className="time-form">
      <Field label="Capture">
        {(id) => (
          <select id={id} value={capture} onChange={({ target }) => set('capture_id', target.value)}>
            <option value="">All captures</option>
            {capture !== '' && !captures.some((each) => each.id === capture) && (
              <option value={capture}>{shortHash(capture)}</option>
            )}
            {captures.map(({ id: key, name, acceptedAt }) => (
              <option key={key} value={key}>
                {name} ({formatTime(acceptedAt, 0)})
              </option>
            ))}
          </select>
        )}
      </Field>
      <Field label="Source">
        {(id) => (
          <select id={id} value={source} onChange={({ target }) => set('source', target.value)}>
            <option value="">All sources</option>
            {(answer?.sources ?? (source ? [source] : [])).map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        )}
      </Field>
    </div>
  )
}

function ConditionPicker({ filter, add }: { filter: Filter; add(condition: Condition): void }) {
  return (
    <Popover label="Condition" icon="plus" name="Add a condition">
      {(close) => (
        <ConditionForm
          filter={filter}
          add={(condition) => {
            add(condition)
            close()
          }}
        />
      )}
    </Popover>
  )
}

function ConditionForm({ filter, add }: { filter: Filter; add(condition: Condition): void }) {
  const columns = useColumns(filter.types)
  const [column, setColumn] = useState('')
  const [op, setOp] = useState<Operator>('=')
  const [value, setValue] = useState('')
  const isKnown = columns.some(({ name }) => name === column)
  const suggestions = useSuggestions(useSettled(isKnown ? column : '', 200), filter)
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (column === '' || (takesValue(op) && value === '')) return
    if (!takesValue(op)) return add({ column, op })
    add({ column, op, value: op === 'in' ? readList(value) : value })
  }
  return (
    <form className="time-form" onSubmit={submit}>
      <Field
        label="Column"
        hint={column !== '' && !isKnown ? 'No log type that is chosen has this column.' : undefined}
      >
        {(id) => (
          <>
            <input
              id={id}
              list={`${id}-columns`}
              value={column}
              onChange={({ target }) => setColumn(target.value.trim())}
              spellCheck={false}
              autoComplete="off"
              required
            />
            <datalist id={`${id}-columns`}>
              {columns.map(({ name, type }) => (
                <option key={name} value={name}>
                  {type}
                </option>
              ))}
            </datalist>
          </>
        )}
      </Field>
      <Field label="Operator">
        {(id) => (
          <select id={id} value={op} onChange={({ target }) => isOperator(target.value) && setOp(target.value)}>
            {Object.entries(OPERATORS).map(([key, text]) => (
              <option key={key} value={key}>
                {text}
              </option>
            ))}
          </select>
        )}
      </Field>
      {takesValue(op) && (
        <Field label="Value" hint={HINTS[op]}>
          {(id) => (
            <>
              <input
                id={id}
                list={`${id}-values`}
                value={value}
                onChange={({ target }) => setValue(target.value)}
                spellCheck={false}
                autoComplete="off"
                required
              />
              <datalist id={`${id}-values`}>
                {suggestions.map((each) => (
                  <option key={each} value={each} />
                ))}
              </datalist>
            </>
          )}
        </Field>
      )}
      <div className="form-actions">
        <Button look="primary" type="submit">
          Add
        </Button>
      </div>
    </form>
  )
}

const HINTS: Partial<Record<Operator, string>> = {
  in: 'Values between commas.',
  cidr: 'Such as 10.0.0.0/8 or 2001:db8::/32.',
}

/** The column's most frequent values among what the filter finds. */
function useSuggestions(column: string, { types, from, to }: Filter): string[] {
  const key = column === '' ? undefined : `suggestions ${column} ${types.join()} ${from ?? ''} ${to ?? ''}`
  const { answer } = useAsk(key, async (signal) => {
    const body = { types, facets: [{ column, limit: 30 }], ...(from && { from }), ...(to && { to }) }
    const { facets } = await ask('POST /api/search/facets', { body, signal })
    return (facets[0]?.values ?? []).map(({ value }) => (typeof value === 'string' ? value : formatValue(value)))
  })
  return column === '' ? [] : (answer ?? [])
}
