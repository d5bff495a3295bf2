/** Watch lists: whose traffic and which indicators are looked for, and what was found. */

import { type FormEvent, useEffect, useState } from 'react'
import type {
  Hits,
  ImportAnswer,
  ListedComputer,
  ListedEmployee,
  ListedIndicator,
  WatchHit,
  WatchKind,
} from '../../api/contract.ts'
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
import { useTitle } from '../lib/hooks.ts'
import { useLive } from '../lib/live.ts'
import { hrefWith, Link, useChangeParams, useParams } from '../lib/router.tsx'
import { useAsk } from '../lib/use-ask.ts'
import { joined, usePages } from '../lib/use-pages.ts'
import {
  Badge,
  Button,
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
import { ListEditor } from '../parts/list-editor.tsx'
import { ListTable, More } from '../parts/list-table.tsx'
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
        {view === 'hits' && <HitList openImport={() => setImporting(true)} />}
        {view === 'report' && <Report />}
        {view === 'employees' && <Employees turn={turn} openImport={() => setImporting(true)} />}
        {view === 'computers' && <Computers turn={turn} openImport={() => setImporting(true)} />}
        {view === 'indicators' && <Indicators turn={turn} openImport={() => setImporting(true)} />}
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

const HITS = 200

function HitList({ openImport }: { openImport(): void }) {
  const params = useParams()
  const change = useChangeParams()
  const employee = params.get('employee') ?? ''
  const list = params.get('list') ?? ''
  const asked = usePages<Hits & { next: number | null }>(
    `hits ${employee} ${list}`,
    async (before, signal) => {
      const { hits } = await ask('GET /api/watch/hits', { query: { employee, list, limit: HITS, before }, signal })
      return { hits, next: hits.length === HITS ? (hits.at(-1)?.id ?? null) : null }
    },
    (old, next) => ({ ...next, hits: joined(old.hits, next.hits, ({ id }) => id) }),
  )
  const { answer, error, again } = asked
  useLive('hit', ({ hit }) => {
    if ((employee && hit.employee !== employee) || (list && hit.list !== list)) return
    asked.change((old) => ({ ...old, hits: [hit, ...old.hits.filter(({ id }) => id !== hit.id)] }))
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
      <ListTable
        label="Hits, newest first"
        heads={[
          { text: 'Found' },
          { text: 'Who or which list' },
          { text: 'Why' },
          { text: 'Log type' },
          { text: 'Rows', isNumber: true },
          { text: 'Traffic of' },
          { text: 'Capture' },
        ]}
      >
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
      </ListTable>
      <More more={asked.more} />
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
        <ListTable
          label={`Watched traffic, ${BY[by].toLowerCase()}`}
          heads={answer.columns.map(({ name, type }) => ({ text: name, isNumber: isNumberType(type) }))}
        >
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
        </ListTable>
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
  openImport(): void
}

const PAGE = 200

function Employees(props: ListProps) {
  return (
    <ListEditor<ListedEmployee, { key: string; name: string; watched: boolean }>
      {...props}
      what="employee"
      about="A key and a name each; only those who are watched are looked for."
      fetchPage={async (query, signal) => {
        const { employees, ...rest } = await ask('GET /api/watch/employees', {
          query: { ...query, limit: PAGE },
          signal,
        })
        return { entries: employees, ...rest }
      }}
      idOf={({ key }) => key}
      labelOf={nameOf}
      columns={[
        { text: 'Name', isName: true, cell: (each) => <Cut text={nameOf(each)} /> },
        { text: 'Key', className: 'mono', cell: ({ key }) => key },
        {
          text: 'Watched',
          cell: (each, put) => (
            <label className="switch">
              <input
                type="checkbox"
                role="switch"
                checked={each.watched}
                aria-checked={each.watched}
                aria-label={`${nameOf(each)} is watched`}
                onChange={() => put({ watched: !each.watched })}
              />
              <span>{each.watched ? 'yes' : 'no'}</span>
            </label>
          ),
        },
        {
          text: 'Computers',
          isNumber: true,
          cell: ({ computers }) => (computers === 0 ? <span className="faint">0</span> : formatCount(computers)),
        },
      ]}
      links={({ key }) => <Link href={hrefWith('/watch', { employee: key })}>Hits</Link>}
      fields={[
        { name: 'key', label: 'Key', isFixed: true, input: { required: true, maxLength: 256 } },
        { name: 'name', label: 'Name', input: { maxLength: 512 } },
        { name: 'watched', label: 'Watched', kind: 'switch' },
      ]}
      draftOf={(row) => ({ key: row?.key ?? '', name: row?.name ?? '', watched: row?.watched ?? true })}
      save={({ key, name, watched }) =>
        ask('PUT /api/watch/employees', { body: { key: key.trim(), name: name.trim(), watched } })
      }
      remove={({ key }) => ask('DELETE /api/watch/employees/:key', { params: { key } })}
    />
  )
}

function nameOf({ name, key }: { name: string; key: string }): string {
  return name || key
}

function Computers(props: ListProps) {
  const none = <span className="faint">–</span>
  return (
    <ListEditor<ListedComputer, Record<keyof typeof NO_COMPUTER, string>>
      {...props}
      what="computer"
      about="Whose a computer is, by MAC, address or host name, and from when until when."
      fetchPage={async (query, signal) => {
        const { computers, ...rest } = await ask('GET /api/watch/computers', {
          query: { ...query, limit: PAGE },
          signal,
        })
        return { entries: computers, ...rest }
      }}
      idOf={({ id }) => id}
      labelOf={({ compId, employee }) => `${compId} of ${employee}`}
      columns={[
        { text: 'Computer', isName: true, className: 'mono', cell: ({ compId }) => compId },
        {
          text: 'Employee',
          cell: ({ employee }) => <Link href={hrefWith('/watch', { employee })}>{employee}</Link>,
        },
        { text: 'MAC', className: 'mono', cell: ({ mac }) => mac ?? none },
        { text: 'Address', className: 'mono', cell: ({ ip }) => ip ?? none },
        { text: 'Host name', cell: ({ hostname }) => (hostname ? <Cut text={hostname} /> : none) },
        {
          text: 'Valid',
          cell: ({ validFrom, validTo }) =>
            validFrom || validTo ? (
              <>
                <Time iso={validFrom} /> until <Time iso={validTo} />
              </>
            ) : (
              <span className="faint">always</span>
            ),
        },
      ]}
      fields={[
        { name: 'compId', label: 'Computer', input: { required: true, maxLength: 256 } },
        { name: 'employee', label: "Employee's key", input: { required: true, maxLength: 256 } },
        {
          name: 'mac',
          label: 'MAC',
          input: { placeholder: 'e0:a1:d7:00:00:00', pattern: '[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}' },
        },
        { name: 'ip', label: 'Address', input: { maxLength: 64 } },
        { name: 'hostname', label: 'Host name', input: { maxLength: 255 } },
        { name: 'validFrom', label: 'Valid from (UTC)', kind: 'time' },
        { name: 'validTo', label: 'Valid until (UTC)', kind: 'time' },
      ]}
      draftOf={(row) =>
        row
          ? {
              ...{ compId: row.compId, employee: row.employee, mac: row.mac ?? '', ip: row.ip ?? '' },
              ...{ hostname: row.hostname ?? '', validFrom: fieldOf(row.validFrom), validTo: fieldOf(row.validTo) },
            }
          : NO_COMPUTER
      }
      save={(draft, row) => {
        const orNull = (text: string) => (text.trim() === '' ? null : text.trim())
        const body = {
          ...{ compId: draft.compId.trim(), employee: draft.employee.trim() },
          ...{ mac: orNull(draft.mac), ip: orNull(draft.ip), hostname: orNull(draft.hostname) },
          validFrom: timeIn(draft.validFrom, row?.validFrom),
          validTo: timeIn(draft.validTo, row?.validTo),
        }
        return row === undefined
          ? ask('PUT /api/watch/computers', { body })
          : ask('PUT /api/watch/computers/:id', { params: { id: row.id }, body })
      }}
      remove={({ id }) => ask('DELETE /api/watch/computers/:id', { params: { id } })}
    />
  )
}

const NO_COMPUTER = { compId: '', employee: '', mac: '', ip: '', hostname: '', validFrom: '', validTo: '' }

/** As the browser's own field has times: without a zone, to the second. */
function fieldOf(iso: string | null): string {
  return iso === null ? '' : new Date(iso).toISOString().slice(0, 19)
}

/** What was not touched keeps its fractions of a second. */
function timeIn(text: string, before: string | null | undefined): string | null {
  if (text === '') return null
  return before && fieldOf(before) === text ? before : new Date(`${text}Z`).toISOString()
}

const KINDS = ['ip', 'cidr', 'domain', 'hash', 'ja3', 'ja4', 'mac'] as const

function Indicators(props: ListProps) {
  const [lists, setLists] = useState<readonly { list: string; indicators: number }[]>([])
  return (
    <ListEditor<ListedIndicator, Record<'kind' | 'value' | 'list' | 'note', string>>
      {...props}
      what="indicator"
      about="Addresses, networks, domains, hashes, JA3 and JA4 fingerprints, in as many lists as you like."
      fetchPage={async (query, signal) => {
        const {
          indicators,
          lists: known,
          ...rest
        } = await ask('GET /api/watch/indicators', {
          query: { ...query, limit: PAGE },
          signal,
        })
        setLists(known)
        return { entries: indicators, ...rest }
      }}
      idOf={({ id }) => id}
      labelOf={({ value }) => value}
      columns={[
        { text: 'Value', isName: true, cell: ({ value }) => <Cut text={value} mono /> },
        { text: 'Kind', cell: ({ kind }) => <Badge>{kind}</Badge> },
        { text: 'List', cell: ({ list }) => <Link href={hrefWith('/watch', { list })}>{list}</Link> },
        { text: 'Note', cell: ({ note }) => <Cut text={note} /> },
      ]}
      fields={[
        { name: 'value', label: 'Value', input: { required: true, maxLength: 512 } },
        { name: 'kind', label: 'Kind', choices: KINDS },
        {
          name: 'list',
          label: 'List',
          suggestions: lists.map(({ list }) => list),
          input: { required: true, maxLength: 128 },
        },
        { name: 'note', label: 'Note', input: { maxLength: 1024 } },
      ]}
      draftOf={(row) => ({
        ...{ value: row?.value ?? '', kind: row?.kind ?? 'domain' },
        ...{ list: row?.list ?? lists[0]?.list ?? 'default', note: row?.note ?? '' },
      })}
      save={({ list, kind, value, note }, row) => {
        const body = {
          ...{ list: list.trim(), kind: kind as ListedIndicator['kind'] },
          ...{ value: value.trim(), note: note.trim() },
        }
        return row === undefined
          ? ask('PUT /api/watch/indicators', { body })
          : ask('PUT /api/watch/indicators/:id', { params: { id: row.id }, body })
      }}
      remove={({ id }) => ask('DELETE /api/watch/indicators/:id', { params: { id } })}
    >
      {lists.length > 1 && (
        <ul className="chips">
          {lists.map(({ list, indicators }) => (
            <li key={list} className="chip">
              <Link href={hrefWith('/watch', { list })}>
                {list} <span className="faint num">{formatCount(indicators)}</span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </ListEditor>
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
