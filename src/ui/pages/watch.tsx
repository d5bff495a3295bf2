/** Watch lists: whose traffic and which indicators are looked for, and what was found. */

import { type FormEvent, useEffect, useState } from 'react'
import type { Computer, Employee, ImportAnswer, Indicator, WatchHit, WatchKind } from '../../api/contract.ts'
import { ask, messageOf } from '../lib/api.ts'
import { type Filter, searchHref } from '../lib/filter.ts'
import {
  formatBytes,
  formatCount,
  formatMoment,
  formatValue,
  isBytesColumn,
  isNumberType,
  isTimeType,
  plural,
  shortHash,
} from '../lib/format.ts'
import { useSettled, useTitle } from '../lib/hooks.ts'
import { useLive } from '../lib/live.ts'
import { hrefWith, Link, useChangeParams, useParams } from '../lib/router.tsx'
import { useAsk } from '../lib/use-ask.ts'
import {
  Badge,
  Button,
  Confirm,
  Cut,
  Dialog,
  Empty,
  Failed,
  Field,
  LinkButton,
  Meter,
  Notice,
  PageHead,
  Panel,
  Skeleton,
  TabLinks,
  Time,
} from '../parts/basics.tsx'
import { say, sayError } from '../parts/toasts.tsx'

const VIEWS = ['hits', 'report', 'employees', 'computers', 'indicators'] as const

export function WatchPage() {
  useTitle('Watch lists')
  const params = useParams()
  const view = VIEWS.find((each) => each === params.get('view')) ?? 'hits'
  const [isImporting, setImporting] = useState(false)
  const [turn, setTurn] = useState(0)
  const changed = () => setTurn((n) => n + 1)
  return (
    <>
      <PageHead
        title="Watch lists"
        about="People by their computers, and indicators. New traffic is compared with them as it is loaded."
        actions={
          <Button look="primary" icon="captures" onClick={() => setImporting(true)}>
            Import
          </Button>
        }
      />
      <RescanNotice turn={turn} />
      <Panel flush>
        <div className="panel-tools">
          <TabLinks
            label="Lists"
            current={view}
            hrefOf={(id) => hrefWith('/watch', { view: id === 'hits' ? null : id })}
            tabs={[
              { id: 'hits', label: 'Hits' },
              { id: 'report', label: 'Report' },
              { id: 'employees', label: 'Employees' },
              { id: 'computers', label: 'Computers' },
              { id: 'indicators', label: 'Indicators' },
            ]}
          />
        </div>
        {view === 'hits' && <Hits openImport={() => setImporting(true)} />}
        {view === 'report' && <Report />}
        {view === 'employees' && <Employees turn={turn} changed={changed} openImport={() => setImporting(true)} />}
        {view === 'computers' && <Computers turn={turn} changed={changed} openImport={() => setImporting(true)} />}
        {view === 'indicators' && <Indicators turn={turn} changed={changed} openImport={() => setImporting(true)} />}
      </Panel>
      {isImporting && (
        <ImportDialog
          first={view === 'computers' || view === 'indicators' ? view : 'employees'}
          onClose={() => setImporting(false)}
          onDone={changed}
        />
      )}
    </>
  )
}

/** A change is about new traffic; the past is compared when somebody says so. */
function RescanNotice({ turn }: { turn: number }) {
  const [everyMs, setEvery] = useState<number>()
  const { answer, again } = useAsk(`rescan ${turn}`, (signal) => ask('GET /api/watch/rescan', { signal }), everyMs)
  const isRunning = answer?.state === 'running'
  useEffect(() => setEvery(isRunning ? 1000 : undefined), [isRunning])
  const start = () => ask('POST /api/watch/rescan').then(again, sayError)
  if (!answer) return null
  if (isRunning) {
    return (
      <Notice>
        <p>
          What is loaded is compared with the lists: {formatCount(answer.files)} of {formatCount(answer.of)} files
        </p>
        <Meter value={answer.of === 0 ? 0 : answer.files / answer.of} label="Files compared" />
      </Notice>
    )
  }
  const last =
    answer.state === 'failed'
      ? `The last rescan failed: ${answer.error}`
      : answer.state === 'done'
        ? `Last rescan ${formatMoment(answer.finishedAt)}: ${plural(answer.rewritten, 'file')} changed.`
        : 'Changes of the lists apply to what is loaded from now on.'
  return (
    <Notice
      tone={answer.state === 'failed' ? 'bad' : 'neutral'}
      actions={
        <Button icon="again" onClick={() => void start()}>
          Rescan what is loaded
        </Button>
      }
    >
      {last}
    </Notice>
  )
}

function hitHref(hit: WatchHit): string {
  const filter: Partial<Filter> = {
    types: [hit.logType],
    conditions: [
      hit.employee === null
        ? { column: 'watch_list', op: 'contains', value: hit.list }
        : { column: 'watch_employee', op: 'contains', value: hit.employee },
      ...(hit.captureId ? [{ column: 'capture_id', op: '=' as const, value: hit.captureId }] : []),
    ],
  }
  return searchHref(filter)
}

function Hits({ openImport }: { openImport(): void }) {
  const params = useParams()
  const change = useChangeParams()
  const employee = params.get('employee') ?? ''
  const list = params.get('list') ?? ''
  const asked = useAsk(`hits ${employee} ${list}`, (signal) =>
    ask('GET /api/watch/hits', { query: { employee, list, limit: 500 }, signal }),
  )
  const { answer, error, again } = asked
  useLive('hit', ({ hit }) => {
    if ((employee && hit.employee !== employee) || (list && hit.list !== list)) return
    asked.change((old) => ({ hits: [hit, ...old.hits.filter(({ id }) => id !== hit.id)] }))
  })
  if (error) return <Failed error={error} again={again} />
  if (!answer) return <Skeleton lines={8} />
  const isChosen = employee !== '' || list !== ''
  if (answer.hits.length === 0) {
    return (
      <Empty
        icon="watch"
        title={isChosen ? 'No such hit' : 'Nothing was found yet'}
        actions={
          isChosen ? (
            <Button onClick={() => change({ employee: null, list: null })}>All hits</Button>
          ) : (
            <Button look="primary" onClick={openImport}>
              Import a list
            </Button>
          )
        }
      >
        {isChosen
          ? undefined
          : 'Import employees and their computers, or indicators. What is loaded from then on is compared with them; a rescan compares what is loaded already.'}
      </Empty>
    )
  }
  return (
    <>
      {isChosen && (
        <ul className="chips">
          {employee && (
            <li className="chip">
              <span>Employee {employee}</span>
              <button type="button" aria-label="All employees" onClick={() => change({ employee: null })}>
                ×
              </button>
            </li>
          )}
          {list && (
            <li className="chip">
              <span>List {list}</span>
              <button type="button" aria-label="All lists" onClick={() => change({ list: null })}>
                ×
              </button>
            </li>
          )}
        </ul>
      )}
      <ScrollTable label="Hits, newest first">
        <thead>
          <tr>
            <th scope="col">Found</th>
            <th scope="col">Who or which list</th>
            <th scope="col">Why</th>
            <th scope="col">Log type</th>
            <th scope="col" className="num">
              Rows
            </th>
            <th scope="col">Traffic of</th>
            <th scope="col">Capture</th>
          </tr>
        </thead>
        <tbody>
          {answer.hits.map((hit) => (
            <tr key={hit.id}>
              <td>
                <Time iso={hit.at} />
              </td>
              <th scope="row">
                {hit.employee === null ? (
                  <button type="button" className="text-button" onClick={() => change({ list: hit.list })}>
                    {hit.list}
                  </button>
                ) : (
                  <button type="button" className="text-button" onClick={() => change({ employee: hit.employee })}>
                    {hit.employeeName || hit.employee}
                  </button>
                )}
              </th>
              <td>
                <Cut text={hit.reason} />
              </td>
              <td>
                <Link href={hitHref(hit)}>{hit.logType}</Link>
              </td>
              <td className="num">{formatCount(hit.rows)}</td>
              <td>
                <Time iso={hit.firstTime} />
              </td>
              <td>
                {hit.captureId ? (
                  <Link href={`/captures/${hit.captureId}`} className="mono">
                    {shortHash(hit.captureId)}
                  </Link>
                ) : (
                  <span className="faint">–</span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </ScrollTable>
    </>
  )
}

const BY = { employee: 'By person', day: 'By day', protocol: 'By protocol', host: 'By host', list: 'By list' } as const
type By = keyof typeof BY

function Report() {
  const params = useParams()
  const change = useChangeParams()
  const by = (Object.keys(BY) as By[]).find((each) => each === params.get('by')) ?? 'employee'
  const { answer, error, again } = useAsk(`report ${by}`, (signal) =>
    ask('GET /api/watch/report', { query: { by }, signal }),
  )
  return (
    <>
      <div className="panel-tools">
        <fieldset className="segments">
          <legend className="hidden">Sum up</legend>
          {(Object.keys(BY) as By[]).map((each) => (
            <button
              key={each}
              type="button"
              aria-pressed={each === by}
              onClick={() => change({ by: each === 'employee' ? null : each })}
            >
              {BY[each]}
            </button>
          ))}
        </fieldset>
        <LinkButton icon="sql" href={hrefWith('/sql', { sql: 'SELECT *\nFROM watched_traffic\nLIMIT 100' })}>
          As SQL
        </LinkButton>
      </div>
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={6} />}
      {answer?.rows.length === 0 && (
        <Empty icon="watch" title="No watched traffic">
          Nothing that is loaded fits an employee who is watched, or an indicator.
        </Empty>
      )}
      {answer && answer.rows.length > 0 && (
        <ScrollTable label={`Watched traffic, ${BY[by].toLowerCase()}`}>
          <thead>
            <tr>
              {answer.columns.map(({ name, type }) => (
                <th key={name} scope="col" className={isNumberType(type) ? 'num' : undefined}>
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {answer.rows.map((row, i) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: groups of a report have no other name
              <tr key={i}>
                {answer.columns.map(({ name, type }, c) => (
                  <td key={name} className={isNumberType(type) ? 'num' : undefined}>
                    {reportCell(name, type, row[c])}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </ScrollTable>
      )}
    </>
  )
}

function reportCell(name: string, type: string, value: unknown) {
  if (value === null || value === undefined) return <span className="faint">–</span>
  if (isTimeType(type)) return type === 'DATE' ? String(value) : <Time iso={String(value)} />
  if (typeof value === 'number') return isBytesColumn(name) ? formatBytes(value) : formatCount(value)
  return <Cut text={formatValue(value)} />
}

interface ListProps {
  turn: number
  changed(): void
  openImport(): void
}

function Employees({ turn, changed, openImport }: ListProps) {
  const [text, setText] = useState('')
  const settled = useSettled(text, 250)
  const [edited, setEdited] = useState<Employee | 'new'>()
  const [removed, setRemoved] = useState<Employee>()
  const { answer, error, again } = useAsk(`employees ${settled} ${turn}`, (signal) =>
    ask('GET /api/watch/employees', { query: { text: settled, limit: 1000 }, signal }),
  )
  const put = (body: Employee) =>
    ask('PUT /api/watch/employees', { body }).then(() => {
      setEdited(undefined)
      changed()
    })
  return (
    <>
      <Tools text={text} setText={setText} total={answer?.total} what="employee" add={() => setEdited('new')} />
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={6} />}
      {answer?.employees.length === 0 && (
        <NoEntries isChosen={settled !== ''} openImport={openImport} what="employees">
          A key and a name each; only those who are watched are looked for.
        </NoEntries>
      )}
      {answer && answer.employees.length > 0 && (
        <ScrollTable label="Employees">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Key</th>
              <th scope="col">Watched</th>
              <th scope="col" className="num">
                Computers
              </th>
              <th scope="col">
                <span className="hidden">Change</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {answer.employees.map((each) => (
              <tr key={each.key}>
                <th scope="row">
                  <Cut text={each.name || each.key} />
                </th>
                <td className="mono">{each.key}</td>
                <td>
                  <label className="switch">
                    <input
                      type="checkbox"
                      role="switch"
                      checked={each.watched}
                      aria-checked={each.watched}
                      aria-label={`${each.name || each.key} is watched`}
                      onChange={() =>
                        void put({ key: each.key, name: each.name, watched: !each.watched }).catch(sayError)
                      }
                    />
                    <span>{each.watched ? 'yes' : 'no'}</span>
                  </label>
                </td>
                <td className="num">
                  {each.computers === 0 ? <span className="faint">0</span> : formatCount(each.computers)}
                </td>
                <td className="row-tools">
                  <Link href={hrefWith('/watch', { employee: each.key })}>Hits</Link>
                  <Button
                    look="quiet"
                    icon="edit"
                    aria-label={`Change ${each.name || each.key}`}
                    onClick={() => setEdited(each)}
                  />
                  <Button
                    look="quiet"
                    icon="trash"
                    aria-label={`Remove ${each.name || each.key}`}
                    onClick={() => setRemoved(each)}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </ScrollTable>
      )}
      {edited && (
        <EmployeeDialog
          employee={edited === 'new' ? undefined : edited}
          put={put}
          onClose={() => setEdited(undefined)}
        />
      )}
      {removed && (
        <Confirm
          title="Remove this employee?"
          action="Remove"
          isDangerous
          onClose={() => setRemoved(undefined)}
          onConfirm={() =>
            void ask('DELETE /api/watch/employees/:key', { params: { key: removed.key } }).then(changed, sayError)
          }
        >
          <p>{removed.name || removed.key} is not looked for any more. What was found stays until a rescan.</p>
        </Confirm>
      )}
    </>
  )
}

function Computers({ turn, changed, openImport }: ListProps) {
  const [text, setText] = useState('')
  const settled = useSettled(text, 250)
  const [isAdding, setAdding] = useState(false)
  const { answer, error, again } = useAsk(`computers ${settled} ${turn}`, (signal) =>
    ask('GET /api/watch/computers', { query: { text: settled, limit: 1000 }, signal }),
  )
  const remove = (id: number) => ask('DELETE /api/watch/computers/:id', { params: { id } }).then(changed, sayError)
  return (
    <>
      <Tools text={text} setText={setText} total={answer?.total} what="computer" add={() => setAdding(true)} />
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={6} />}
      {answer?.computers.length === 0 && (
        <NoEntries isChosen={settled !== ''} openImport={openImport} what="computers">
          Whose a computer is, by MAC, address or host name, and from when until when.
        </NoEntries>
      )}
      {answer && answer.computers.length > 0 && (
        <ScrollTable label="Computers">
          <thead>
            <tr>
              <th scope="col">Computer</th>
              <th scope="col">Employee</th>
              <th scope="col">MAC</th>
              <th scope="col">Address</th>
              <th scope="col">Host name</th>
              <th scope="col">Valid</th>
              <th scope="col">
                <span className="hidden">Change</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {answer.computers.map((each) => (
              <tr key={each.id}>
                <th scope="row" className="mono">
                  {each.compId}
                </th>
                <td>
                  <Link href={hrefWith('/watch', { employee: each.employee })}>{each.employee}</Link>
                </td>
                <td className="mono">{each.mac ?? <span className="faint">–</span>}</td>
                <td className="mono">{each.ip ?? <span className="faint">–</span>}</td>
                <td>
                  <Cut text={each.hostname ?? '–'} />
                </td>
                <td>
                  {each.validFrom || each.validTo ? (
                    <>
                      <Time iso={each.validFrom} /> until <Time iso={each.validTo} />
                    </>
                  ) : (
                    <span className="faint">always</span>
                  )}
                </td>
                <td className="row-tools">
                  <Button
                    look="quiet"
                    icon="trash"
                    aria-label={`Remove ${each.compId} of ${each.employee}`}
                    onClick={() => void remove(each.id)}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </ScrollTable>
      )}
      {isAdding && (
        <ComputerDialog
          onClose={() => setAdding(false)}
          put={(body) =>
            ask('PUT /api/watch/computers', { body }).then(() => {
              setAdding(false)
              changed()
            })
          }
        />
      )}
    </>
  )
}

function Indicators({ turn, changed, openImport }: ListProps) {
  const [text, setText] = useState('')
  const settled = useSettled(text, 250)
  const [isAdding, setAdding] = useState(false)
  const { answer, error, again } = useAsk(`indicators ${settled} ${turn}`, (signal) =>
    ask('GET /api/watch/indicators', { query: { text: settled, limit: 1000 }, signal }),
  )
  const remove = (id: number) => ask('DELETE /api/watch/indicators/:id', { params: { id } }).then(changed, sayError)
  return (
    <>
      <Tools text={text} setText={setText} total={answer?.total} what="indicator" add={() => setAdding(true)} />
      {answer && answer.lists.length > 1 && (
        <ul className="chips">
          {answer.lists.map(({ list, indicators }) => (
            <li key={list} className="chip">
              <Link href={hrefWith('/watch', { list })}>
                {list} <span className="faint num">{formatCount(indicators)}</span>
              </Link>
            </li>
          ))}
        </ul>
      )}
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={6} />}
      {answer?.indicators.length === 0 && (
        <NoEntries isChosen={settled !== ''} openImport={openImport} what="indicators">
          Addresses, networks, domains, hashes, JA3 and JA4 fingerprints, in as many lists as you like.
        </NoEntries>
      )}
      {answer && answer.indicators.length > 0 && (
        <ScrollTable label="Indicators">
          <thead>
            <tr>
              <th scope="col">Value</th>
              <th scope="col">Kind</th>
              <th scope="col">List</th>
              <th scope="col">Note</th>
              <th scope="col">
                <span className="hidden">Change</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {answer.indicators.map((each) => (
              <tr key={each.id}>
                <th scope="row">
                  <Cut text={each.value} mono />
                </th>
                <td>
                  <Badge>{each.kind}</Badge>
                </td>
                <td>
                  <Link href={hrefWith('/watch', { list: each.list })}>{each.list}</Link>
                </td>
                <td>
                  <Cut text={each.note} />
                </td>
                <td className="row-tools">
                  <Button
                    look="quiet"
                    icon="trash"
                    aria-label={`Remove ${each.value}`}
                    onClick={() => void remove(each.id)}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </ScrollTable>
      )}
      {isAdding && (
        <IndicatorDialog
          lists={(answer?.lists ?? []).map(({ list }) => list)}
          onClose={() => setAdding(false)}
          put={(body) =>
            ask('PUT /api/watch/indicators', { body }).then(() => {
              setAdding(false)
              changed()
            })
          }
        />
      )}
    </>
  )
}

function ScrollTable({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard
    <section className="table-wrap" tabIndex={0} aria-label={label}>
      <table className="table">
        <caption className="hidden">{label}</caption>
        {children}
      </table>
    </section>
  )
}

interface ToolsProps {
  text: string
  setText(text: string): void
  total: number | undefined
  what: string
  add(): void
}

function Tools({ text, setText, total, what, add }: ToolsProps) {
  return (
    <div className="panel-tools">
      <input
        type="search"
        aria-label={`Find ${what}s`}
        placeholder={`Find ${what}s`}
        data-search-field
        value={text}
        onChange={({ target }) => setText(target.value)}
      />
      {total !== undefined && <span className="faint num">{plural(total, what)}</span>}
      <span className="grow" />
      <Button icon="plus" onClick={add}>
        Add
      </Button>
    </div>
  )
}

function NoEntries({
  isChosen,
  openImport,
  what,
  children,
}: {
  isChosen: boolean
  openImport(): void
  what: string
  children: string
}) {
  if (isChosen) return <Empty icon="watch" title={`No such ${what}`} />
  return (
    <Empty
      icon="watch"
      title={`There are no ${what} yet`}
      actions={
        <Button look="primary" onClick={openImport}>
          Import a file
        </Button>
      }
    >
      {children}
    </Empty>
  )
}

interface FormProps {
  title: string
  onClose(): void
  submit(): Promise<unknown>
  children: React.ReactNode
}

function FormDialog({ title, onClose, submit, children }: FormProps) {
  const [error, setError] = useState<string>()
  const send = (event: FormEvent) => {
    event.preventDefault()
    submit().catch((reason: unknown) => setError(messageOf(reason)))
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <form className="stack" onSubmit={send}>
        {children}
        {error && <Notice tone="bad">{error}</Notice>}
        <div className="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button look="primary" type="submit">
            Save
          </Button>
        </div>
      </form>
    </Dialog>
  )
}

function EmployeeDialog({
  employee,
  put,
  onClose,
}: {
  employee: Employee | undefined
  put(body: Employee): Promise<unknown>
  onClose(): void
}) {
  const [key, setKey] = useState(employee?.key ?? '')
  const [name, setName] = useState(employee?.name ?? '')
  const [watched, setWatched] = useState(employee?.watched ?? true)
  return (
    <FormDialog
      title={employee ? `Change ${employee.name || employee.key}` : 'Add an employee'}
      onClose={onClose}
      submit={() => put({ key: key.trim(), name: name.trim(), watched })}
    >
      <Field label="Key">
        {(id) => (
          <input
            id={id}
            required
            maxLength={256}
            disabled={employee !== undefined}
            value={key}
            onChange={({ target }) => setKey(target.value)}
          />
        )}
      </Field>
      <Field label="Name">
        {(id) => <input id={id} maxLength={512} value={name} onChange={({ target }) => setName(target.value)} />}
      </Field>
      <label className="switch">
        <input
          type="checkbox"
          role="switch"
          checked={watched}
          aria-checked={watched}
          onChange={({ target }) => setWatched(target.checked)}
        />
        <span>Watched</span>
      </label>
    </FormDialog>
  )
}

function ComputerDialog({
  put,
  onClose,
}: {
  put(body: Partial<Computer> & Pick<Computer, 'compId' | 'employee'>): Promise<unknown>
  onClose(): void
}) {
  const [fields, setFields] = useState({
    compId: '',
    employee: '',
    mac: '',
    ip: '',
    hostname: '',
    validFrom: '',
    validTo: '',
  })
  const field = (name: keyof typeof fields, label: string, more: React.ComponentProps<'input'> = {}) => (
    <Field label={label}>
      {(id) => (
        <input
          id={id}
          value={fields[name]}
          spellCheck={false}
          onChange={({ target }) => setFields({ ...fields, [name]: target.value })}
          {...more}
        />
      )}
    </Field>
  )
  const orNull = (text: string) => (text.trim() === '' ? null : text.trim())
  const time = (text: string) => (text === '' ? null : new Date(`${text}Z`).toISOString())
  const submit = () =>
    put({
      compId: fields.compId.trim(),
      employee: fields.employee.trim(),
      mac: orNull(fields.mac),
      ip: orNull(fields.ip),
      hostname: orNull(fields.hostname),
      validFrom: time(fields.validFrom),
      validTo: time(fields.validTo),
    })
  return (
    <FormDialog title="Add a computer" onClose={onClose} submit={submit}>
      <div className="form-grid">
        {field('compId', 'Computer', { required: true })}
        {field('employee', "Employee's key", { required: true })}
        {field('mac', 'MAC', { placeholder: 'e0:a1:d7:00:00:00', pattern: '[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}' })}
        {field('ip', 'Address')}
        {field('hostname', 'Host name')}
        <span />
        {field('validFrom', 'Valid from (UTC)', { type: 'datetime-local' })}
        {field('validTo', 'Valid until (UTC)', { type: 'datetime-local' })}
      </div>
    </FormDialog>
  )
}

const KINDS = ['ip', 'cidr', 'domain', 'hash', 'ja3', 'ja4', 'mac'] as const

function IndicatorDialog({
  lists,
  put,
  onClose,
}: {
  lists: readonly string[]
  put(body: Indicator): Promise<unknown>
  onClose(): void
}) {
  const [list, setList] = useState(lists[0] ?? 'default')
  const [kind, setKind] = useState<Indicator['kind']>('domain')
  const [value, setValue] = useState('')
  const [note, setNote] = useState('')
  return (
    <FormDialog
      title="Add an indicator"
      onClose={onClose}
      submit={() => put({ list: list.trim(), kind, value: value.trim(), note: note.trim() })}
    >
      <Field label="Kind">
        {(id) => (
          <select id={id} value={kind} onChange={({ target }) => setKind(target.value as Indicator['kind'])}>
            {KINDS.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        )}
      </Field>
      <Field label="Value">
        {(id) => (
          <input
            id={id}
            required
            maxLength={512}
            spellCheck={false}
            value={value}
            onChange={({ target }) => setValue(target.value)}
          />
        )}
      </Field>
      <Field label="List">
        {(id) => (
          <>
            <input
              id={id}
              list={`${id}-lists`}
              required
              maxLength={128}
              value={list}
              onChange={({ target }) => setList(target.value)}
            />
            <datalist id={`${id}-lists`}>
              {lists.map((each) => (
                <option key={each} value={each} />
              ))}
            </datalist>
          </>
        )}
      </Field>
      <Field label="Note">
        {(id) => <input id={id} maxLength={1024} value={note} onChange={({ target }) => setNote(target.value)} />}
      </Field>
    </FormDialog>
  )
}

const SHOWN_PROBLEMS = 20

function ImportDialog({ first, onClose, onDone }: { first: WatchKind; onClose(): void; onDone(): void }) {
  const [kind, setKind] = useState<WatchKind>(first)
  const [file, setFile] = useState<File>()
  const [isReplacing, setReplacing] = useState(false)
  const [list, setList] = useState('default')
  const [isBusy, setBusy] = useState(false)
  const [answer, setAnswer] = useState<ImportAnswer>()
  const [error, setError] = useState<string>()
  const submit = async (event: FormEvent) => {
    event.preventDefault()
    if (!file) return
    setBusy(true)
    setError(undefined)
    setAnswer(undefined)
    try {
      const query = {
        kind,
        replace: isReplacing ? ('true' as const) : ('false' as const),
        ...(kind === 'indicators' && { list }),
      }
      setAnswer(await ask('POST /api/watch/import', { query, bytes: file }))
      onDone()
      say('The list was imported.')
    } catch (reason) {
      setError(messageOf(reason))
    }
    setBusy(false)
  }
  return (
    <Dialog title="Import a list" onClose={onClose}>
      <form className="stack" onSubmit={(event) => void submit(event)}>
        <Field label="What it holds">
          {(id) => (
            <select id={id} value={kind} onChange={({ target }) => setKind(target.value as WatchKind)}>
              <option value="employees">Employees: key, name, watch_flag</option>
              <option value="computers">Computers: comp_id, empkey, macaddr, ip, hostname, valid_from, valid_to</option>
              <option value="indicators">Indicators: kind, value, list, note</option>
            </select>
          )}
        </Field>
        <Field label="File" hint="CSV with a header, JSON lines, a JSON array, or key:{json} lines.">
          {(id) => (
            <input
              id={id}
              type="file"
              required
              accept=".csv,.json,.jsonl,.ndjson,.txt,text/*,application/json"
              onChange={({ target }) => setFile(target.files?.[0])}
            />
          )}
        </Field>
        {kind === 'indicators' && (
          <Field label="List, where the file names none">
            {(id) => (
              <input id={id} required maxLength={128} value={list} onChange={({ target }) => setList(target.value)} />
            )}
          </Field>
        )}
        <label className="check">
          <input type="checkbox" checked={isReplacing} onChange={({ target }) => setReplacing(target.checked)} />
          <span>Remove what the file does not name</span>
        </label>
        {error && <Notice tone="bad">{error}</Notice>}
        {answer && (
          <Notice tone={answer.problems.length > 0 ? 'warn' : 'good'}>
            <p>
              {formatCount(answer.added)} added, {formatCount(answer.changed)} changed, {formatCount(answer.unchanged)}{' '}
              unchanged, {formatCount(answer.removed)} removed.
            </p>
            {answer.problems.slice(0, SHOWN_PROBLEMS).map(({ line, reason }) => (
              <p key={line}>
                Line {line} was left out: {reason}
              </p>
            ))}
            {answer.problems.length > SHOWN_PROBLEMS && (
              <p>{plural(answer.problems.length - SHOWN_PROBLEMS, 'more line')} were left out.</p>
            )}
          </Notice>
        )}
        <div className="dialog-actions">
          <Button onClick={onClose}>{answer ? 'Close' : 'Cancel'}</Button>
          <Button look="primary" type="submit" disabled={isBusy || !file}>
            {isBusy ? 'One moment…' : 'Import'}
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
