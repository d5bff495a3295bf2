/**
 * A list that is edited where it stands: find, add, change and remove entries, page after page.
 *
 * In: how entries are asked for, shown, written and saved. A row that is changed becomes a form in its place; Enter
 * saves, Escape leaves it as it was. What is saved is put into the list as the server has it.
 */

import { type FormEvent, type KeyboardEvent, type ReactNode, useEffect, useId, useRef, useState } from 'react'
import { messageOf } from '../lib/api.ts'
import { plural } from '../lib/format.ts'
import { useSettled } from '../lib/hooks.ts'
import { joined, usePages } from '../lib/use-pages.ts'
import { Button, Confirm, Empty, Failed, Field, Notice, Skeleton } from './basics.tsx'
import { type Head, ListTable, More } from './list-table.tsx'
import { sayError } from './toasts.tsx'

export type Draft = Readonly<Record<string, string | boolean>>

export interface Entries<Row> {
  entries: readonly Row[]
  total: number
  next: string | null
}

export interface EntryField<D extends Draft> {
  name: keyof D & string
  label: string
  kind?: 'text' | 'switch' | 'time'
  /** One of these. */
  choices?: readonly string[]
  /** Any, but these are offered. */
  suggestions?: readonly string[]
  /** It cannot be changed later. */
  isFixed?: boolean
  input?: { required?: boolean; maxLength?: number; pattern?: string; placeholder?: string }
}

interface Column<Row> extends Head {
  isName?: boolean
  className?: string
  cell(row: Row, put: (draft: Partial<Draft>) => void): ReactNode
}

export interface ListEditorProps<Row, D extends Draft> {
  /** `employee` */
  what: string
  /** What an answer is kept under; another one asks anew. */
  turn: number
  fetchPage(query: { text: string; after: string | undefined }, signal?: AbortSignal): Promise<Entries<Row>>
  columns: readonly Column<Row>[]
  fields: readonly EntryField<D>[]
  idOf(row: Row): string | number
  labelOf(row: Row): string
  draftOf(row: Row | undefined): D
  /** Undefined: a new one. Answers it as it is now. */
  save(draft: D, row: Row | undefined): Promise<Row>
  remove(row: Row): Promise<unknown>
  /** Beside the row's tools. */
  links?(row: Row): ReactNode
  /** What such a list is for, while there is none. */
  about: string
  openImport(): void
  children?: ReactNode
}

const NEW = Symbol('a new entry')

export function ListEditor<Row, D extends Draft>(props: ListEditorProps<Row, D>) {
  const { what, turn, fetchPage, columns, idOf, labelOf, draftOf, save, remove, links, children } = props
  const [text, setText] = useState('')
  const settled = useSettled(text.trim(), 250)
  const [edited, setEdited] = useState<Row | typeof NEW>()
  const [removed, setRemoved] = useState<Row>()
  const list = usePages<Entries<Row>>(
    `${what}s ${settled} ${turn}`,
    (after, signal) => fetchPage({ text: settled, after }, signal),
    (old, next) => ({ ...next, entries: joined(old.entries, next.entries, idOf) }),
  )
  const { answer, error, again, change, more } = list
  const heads: Head[] = [...columns, { text: 'Change', isHidden: true }]

  const put = async (draft: D, row: Row | undefined) => {
    const saved = await save(draft, row)
    change((old) => {
      const at = old.entries.findIndex((each) => idOf(each) === idOf(row ?? saved))
      if (at >= 0) return { ...old, entries: old.entries.with(at, saved) }
      return { ...old, entries: [saved, ...old.entries], total: old.total + 1 }
    })
    setEdited(undefined)
  }
  const takeOut = (row: Row) =>
    remove(row).then(
      () =>
        change((old) => ({
          ...old,
          entries: old.entries.filter((each) => idOf(each) !== idOf(row)),
          total: old.total - 1,
        })),
      sayError,
    )
  const form = (row: Row | undefined) => (
    <RowForm
      key={row === undefined ? 'new' : idOf(row)}
      {...props}
      row={row}
      span={heads.length}
      submit={(draft) => put(draft, row)}
      onClose={() => setEdited(undefined)}
    />
  )
  const isShown = answer !== undefined && (answer.entries.length > 0 || edited === NEW)
  return (
    <>
      <div className="panel-tools">
        <input
          type="search"
          aria-label={`Find ${what}s`}
          placeholder={`Find ${what}s`}
          data-search-field
          value={text}
          onChange={({ target }) => setText(target.value)}
        />
        {answer && <span className="faint num">{plural(answer.total, what)}</span>}
        <span className="grow" />
        <Button icon="plus" onClick={() => setEdited(NEW)}>
          Add
        </Button>
      </div>
      {children}
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={6} />}
      {answer && !isShown && <NoEntries {...props} isChosen={settled !== ''} />}
      {isShown && (
        <ListTable label={`${what[0]?.toUpperCase()}${what.slice(1)}s`} heads={heads}>
          {edited === NEW && form(undefined)}
          {answer.entries.map((row) =>
            edited !== undefined && edited !== NEW && idOf(edited) === idOf(row) ? (
              form(row)
            ) : (
              <tr key={idOf(row)}>
                {columns.map(({ text: head, isName, isNumber, className, cell }) => {
                  const shown = cell(row, (some) => void put({ ...draftOf(row), ...some }, row).catch(sayError))
                  const classes = className ?? (isNumber ? 'num' : undefined)
                  return isName ? (
                    <th key={head} scope="row" className={classes}>
                      {shown}
                    </th>
                  ) : (
                    <td key={head} className={classes}>
                      {shown}
                    </td>
                  )
                })}
                <td className="row-tools">
                  {links?.(row)}
                  <Button
                    look="quiet"
                    icon="edit"
                    aria-label={`Change ${labelOf(row)}`}
                    onClick={() => setEdited(row)}
                  />
                  <Button
                    look="quiet"
                    icon="trash"
                    aria-label={`Remove ${labelOf(row)}`}
                    onClick={() => setRemoved(row)}
                  />
                </td>
              </tr>
            ),
          )}
        </ListTable>
      )}
      <More more={more} left={(answer?.total ?? 0) - (answer?.entries.length ?? 0)} />
      {removed !== undefined && (
        <Confirm
          title={`Remove this ${what}?`}
          action="Remove"
          isDangerous
          onClose={() => setRemoved(undefined)}
          onConfirm={() => void takeOut(removed)}
        >
          <p>{labelOf(removed)} is not looked for any more. What was found stays until a rescan.</p>
        </Confirm>
      )}
    </>
  )
}

function NoEntries<Row, D extends Draft>({
  what,
  about,
  isChosen,
  openImport,
}: ListEditorProps<Row, D> & { isChosen: boolean }) {
  if (isChosen) return <Empty icon="watch" title={`No such ${what}`} />
  return (
    <Empty
      icon="watch"
      title={`There are no ${what}s yet`}
      actions={
        <Button look="primary" onClick={openImport}>
          Import a file
        </Button>
      }
    >
      {about}
    </Empty>
  )
}

interface RowFormProps<Row, D extends Draft> extends Pick<ListEditorProps<Row, D>, 'what' | 'fields' | 'labelOf'> {
  draftOf(row: Row | undefined): D
  row: Row | undefined
  span: number
  submit(draft: D): Promise<void>
  onClose(): void
}

function RowForm<Row, D extends Draft>({
  what,
  fields,
  labelOf,
  draftOf,
  row,
  span,
  submit,
  onClose,
}: RowFormProps<Row, D>) {
  const [draft, setDraft] = useState<D>(() => draftOf(row))
  const [error, setError] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const form = useRef<HTMLFormElement>(null)
  useEffect(() => form.current?.querySelector<HTMLElement>('input:not(:disabled), select')?.focus(), [])
  const send = (event: FormEvent) => {
    event.preventDefault()
    // Not disabled meanwhile: a button that is loses the focus, and with it the keys.
    if (isBusy) return
    setBusy(true)
    setError(undefined)
    submit(draft).catch((reason: unknown) => {
      setError(messageOf(reason))
      setBusy(false)
    })
  }
  const press = (event: KeyboardEvent) => {
    if (event.key !== 'Escape') return
    event.stopPropagation()
    onClose()
  }
  return (
    <tr className="row-edited">
      <td colSpan={span}>
        <form
          ref={form}
          className="row-form"
          aria-label={row === undefined ? `Add an entry: ${what}` : `Change ${labelOf(row)}`}
          onSubmit={send}
          onKeyDown={press}
        >
          <div className="row-fields">
            {fields.map((field) => (
              <EntryInput
                key={field.name}
                field={field}
                isNew={row === undefined}
                value={draft[field.name] ?? ''}
                put={(value) => setDraft({ ...draft, [field.name]: value })}
              />
            ))}
          </div>
          {error && <Notice tone="bad">{error}</Notice>}
          <div className="row-actions">
            <Button look="primary" type="submit" aria-disabled={isBusy}>
              Save
            </Button>
            <Button onClick={onClose}>Cancel</Button>
          </div>
        </form>
      </td>
    </tr>
  )
}

function EntryInput<D extends Draft>({
  field: { label, kind = 'text', choices, suggestions, isFixed = false, input },
  isNew,
  value,
  put,
}: {
  field: EntryField<D>
  isNew: boolean
  value: string | boolean
  put(value: string | boolean): void
}) {
  const listId = useId()
  if (kind === 'switch')
    return (
      <label className="switch">
        <input
          type="checkbox"
          role="switch"
          checked={value === true}
          aria-checked={value === true}
          onChange={({ target }) => put(target.checked)}
        />
        <span>{label}</span>
      </label>
    )
  return (
    <Field label={label}>
      {(id) =>
        choices ? (
          <select id={id} value={String(value)} onChange={({ target }) => put(target.value)}>
            {choices.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        ) : (
          <>
            <input
              id={id}
              {...input}
              {...(kind === 'time' && { type: 'datetime-local', step: 1 })}
              {...(suggestions && { list: listId })}
              spellCheck={false}
              autoComplete="off"
              disabled={isFixed && !isNew}
              value={String(value)}
              onChange={({ target }) => put(target.value)}
            />
            {suggestions && (
              <datalist id={listId}>
                {suggestions.map((each) => (
                  <option key={each} value={each} />
                ))}
              </datalist>
            )}
          </>
        )
      }
    </Field>
  )
}
