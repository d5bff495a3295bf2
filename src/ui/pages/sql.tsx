/** SQL: a query, what it may ask of, and its result as a table, a chart, or a file. */

import { type FormEvent, useEffect, useMemo, useState } from 'react'
import type { SqlRun, SqlSchema } from '../../api/contract.ts'
import { ask, hrefOf } from '../lib/api.ts'
import { formatCount, formatMoment, formatMs, formatValue, isNumberType, isTimeType, plural } from '../lib/format.ts'
import { useIsNarrow, useTitle } from '../lib/hooks.ts'
import { useChangeParams, useParams } from '../lib/router.tsx'
import { useSchema } from '../lib/schema.ts'
import { type Running, useSqlRun } from '../lib/sql-runs.ts'
import { useAsk } from '../lib/use-ask.ts'
import {
  Badge,
  Button,
  Dialog,
  Empty,
  Failed,
  Field,
  LinkButton,
  Notice,
  PageHead,
  Skeleton,
} from '../parts/basics.tsx'
import { DataTable, type TableColumn } from '../parts/data-table.tsx'
import { Icon } from '../parts/icons.tsx'
import { ResultChart } from '../parts/result-chart.tsx'
import { SqlEditor } from '../parts/sql-editor.tsx'
import { say, sayError } from '../parts/toasts.tsx'

const SIDES = ['schema', 'examples', 'saved', 'history'] as const
type Side = (typeof SIDES)[number]
const SIDE_NAMES: Record<Side, string> = { schema: 'Schema', examples: 'Examples', saved: 'Saved', history: 'History' }
const FORMATS = ['csv', 'ndjson', 'parquet'] as const
/** Longer texts do not go into the address bar: servers and chats cut such links. */
const LINK_CHARACTERS = 6000

export function SqlPage() {
  useTitle('SQL')
  const params = useParams()
  const change = useChangeParams()
  const inLink = params.get('sql') ?? ''
  const [text, setText] = useState(inLink)
  const schema = useSchema()
  const running = useSqlRun(params.get('run'))
  const [isSaving, setSaving] = useState(false)
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    if (inLink !== '') setText(inLink)
  }, [inLink])
  const ranSql = running.run?.sql
  useEffect(() => {
    if (ranSql !== undefined && inLink === '') setText((old) => (old === '' ? ranSql : old))
  }, [ranSql, inLink])
  const view = params.get('view') === 'chart' ? 'chart' : 'table'

  const run = async () => {
    if (text.trim() === '') return
    const id = await running.start(text)
    if (id)
      change({ sql: text.length <= LINK_CHARACTERS ? text : null, run: id }, { replace: params.get('sql') === text })
    setTurn((n) => n + 1)
  }
  const use = (sql: string) => {
    setText(sql)
    change({ sql: sql.length <= LINK_CHARACTERS ? sql : null, run: null, x: null, y: null, view: null })
  }
  return (
    <>
      <PageHead title="SQL" about="One statement that reads the tables: DuckDB's SQL, times in UTC." />
      <div className="sql-page">
        <SidePanel
          schema={schema.answer}
          schemaError={schema.error}
          use={use}
          insert={(name) => setText(`${text}${/\s$|^$/.test(text) ? '' : ' '}${name}`)}
          turn={turn}
        />
        <div className="sql-main">
          <section className="panel panel-flush sql-box" aria-label="Query">
            <SqlEditor
              text={text}
              schema={schema.answer}
              error={running.run?.error ?? null}
              onChange={setText}
              onRun={() => void run()}
            />
            <div className="sql-bar">
              {running.isRunning ? (
                <Button look="danger" icon="stop" onClick={running.cancel}>
                  Stop
                </Button>
              ) : (
                <Button look="primary" icon="play" disabled={text.trim() === ''} onClick={() => void run()}>
                  Run
                </Button>
              )}
              <kbd className="only-wide">Ctrl Enter</kbd>
              <span className="grow" />
              <Button icon="save" disabled={text.trim() === ''} onClick={() => setSaving(true)}>
                Save
              </Button>
            </div>
          </section>
          <Result running={running} view={view} hasText={text.trim() !== ''} />
        </div>
      </div>
      {isSaving && (
        <SaveDialog
          sql={text}
          onClose={() => setSaving(false)}
          onSaved={() => {
            setSaving(false)
            setTurn((n) => n + 1)
          }}
        />
      )}
    </>
  )
}

function Result({ running, view, hasText }: { running: Running; view: 'table' | 'chart'; hasText: boolean }) {
  const change = useChangeParams()
  const { run, rows, error, isGone, isRunning } = running
  if (error) return <Failed error={error} />
  if (isGone) return <Notice>The result of this link is not kept any more. Run the query again to see it.</Notice>
  if (!run) {
    if (isRunning) return <Skeleton lines={6} />
    return (
      <Empty icon="sql" title={hasText ? 'Not run yet' : 'Write a query, or begin with an example'}>
        {hasText
          ? 'Ctrl Enter runs it.'
          : 'Tables and their columns are in the schema; the editor completes their names.'}
      </Empty>
    )
  }
  if (run.state === 'failed' && run.error) return <RunFailed error={run.error} />
  if (run.state === 'cancelled') return <Notice>The query was stopped.</Notice>
  if (!run.columns) return <WaitFor run={run} />
  return (
    <section className="panel panel-flush result" aria-label="Result">
      <div className="result-bar">
        <fieldset className="segments">
          <legend className="hidden">Show as</legend>
          {(['table', 'chart'] as const).map((each) => (
            <button
              key={each}
              type="button"
              aria-pressed={view === each}
              onClick={() => change({ view: each === 'chart' ? each : null }, { replace: true })}
            >
              <Icon name={each} /> {each === 'table' ? 'Table' : 'Chart'}
            </button>
          ))}
        </fieldset>
        <p className="result-facts" role="status">
          <strong className="num">{plural(run.rows, 'row')}</strong>{' '}
          <span className="faint num">
            {run.state === 'running' ? 'so far, ' : 'in '}
            {formatMs(run.elapsedMs)}
          </span>
          {run.truncated && (
            <Badge tone="warn" title="An export has all rows">
              cut off
            </Badge>
          )}
        </p>
        <div className="result-tools">
          {FORMATS.map((format) => (
            <LinkButton
              key={format}
              icon="download"
              look="quiet"
              isDownload
              href={hrefOf('GET /api/sql/runs/:id/export', { params: { id: run.id }, query: { format } })}
            >
              {{ csv: 'CSV', ndjson: 'NDJSON', parquet: 'Parquet' }[format]}
            </LinkButton>
          ))}
        </div>
      </div>
      {run.warnings.map((text) => (
        <Notice key={text} tone="warn">
          {text}
        </Notice>
      ))}
      {view === 'table' ? (
        <ResultTable running={running} run={run} />
      ) : (
        <ResultChart columns={run.columns} rows={rows} total={run.rows} />
      )}
    </section>
  )
}

function RunFailed({ error: { message, line, column } }: { error: NonNullable<SqlRun['error']> }) {
  return (
    <Notice tone="bad">
      {line !== null && (
        <p>
          <strong>
            Line {line}
            {column !== null && `, column ${column}`}
          </strong>
        </p>
      )}
      <pre className="error-text">{message}</pre>
    </Notice>
  )
}

function WaitFor({ run }: { run: SqlRun }) {
  return (
    <section className="panel" aria-label="Result">
      <p role="status">{run.state === 'running' ? 'The query runs…' : 'It has no result.'}</p>
      {run.state === 'running' && <Skeleton lines={6} />}
    </section>
  )
}

type Row = readonly unknown[]

function ResultTable({ running, run }: { running: Running; run: SqlRun }) {
  const isNarrow = useIsNarrow()
  const { rows, more } = running
  const { columns } = run
  // biome-ignore lint/correctness/useExhaustiveDependencies: widths follow from the first rows, and must not jump later
  const table = useMemo(
    () =>
      (columns ?? []).map(({ name, type }, i): TableColumn<Row> => {
        const numeric = isNumberType(type) && !type.endsWith('[]')
        const sample = rows.slice(0, 40).reduce((most, row) => Math.max(most, formatValue(row[i]).length), name.length)
        return {
          id: `${i} ${name}`,
          title: <span title={type}>{name}</span>,
          width: Math.min(isNarrow ? 240 : 320, Math.max(80, sample * 8 + 32)),
          grows: !numeric && i === (columns?.length ?? 0) - 1,
          numeric,
          cell: (row) => cellOf(row[i], type),
          text: (row) => (isTimeType(type) && row[i] ? `${formatValue(row[i])} UTC` : formatValue(row[i])),
        }
      }),
    [columns, rows.length > 0, isNarrow],
  )
  if (run.rows === 0 && run.state === 'done')
    return (
      <Empty icon="table" title="No rows">
        The query was right, and found nothing.
      </Empty>
    )
  const foot =
    rows.length < run.rows ? (
      <>
        {formatCount(rows.length)} of {formatCount(run.rows)} fetched; scroll for more
      </>
    ) : undefined
  return (
    <DataTable
      label="Result"
      columns={table}
      rows={rows}
      keyOf={(_, i) => String(i)}
      rowHeight={30}
      maxHeight={560}
      onEnd={more}
      foot={foot}
    />
  )
}

function cellOf(value: unknown, type: string) {
  if (value === null || value === undefined) return <span className="faint">NULL</span>
  if (typeof value === 'number' && isNumberType(type))
    return Number.isInteger(value)
      ? String(value)
      : value.toLocaleString('en-US', { maximumSignificantDigits: 6, useGrouping: false })
  return formatValue(value)
}

interface SidePanelProps {
  schema: SqlSchema | undefined
  schemaError: string | undefined
  use(sql: string): void
  insert(name: string): void
  turn: number
}

function SidePanel({ schema, schemaError, use, insert, turn }: SidePanelProps) {
  const params = useParams()
  const change = useChangeParams()
  const isNarrow = useIsNarrow()
  const side = SIDES.find((each) => each === params.get('side')) ?? (isNarrow ? undefined : 'schema')
  return (
    <section className="sql-side panel panel-flush" aria-label="Help for the query">
      <fieldset className="segments segments-wide">
        <legend className="hidden">Show</legend>
        {SIDES.map((each) => (
          <button
            key={each}
            type="button"
            aria-pressed={side === each}
            onClick={() => change({ side: each === side && isNarrow ? null : each }, { replace: true })}
          >
            {SIDE_NAMES[each]}
          </button>
        ))}
      </fieldset>
      {side && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard
        <section className="side-list" tabIndex={0} aria-label={SIDE_NAMES[side]}>
          {side === 'schema' &&
            (schemaError ? <Failed error={schemaError} /> : <SchemaTree schema={schema} insert={insert} use={use} />)}
          {side === 'examples' && <Examples use={use} />}
          {side === 'saved' && <Saved use={use} turn={turn} />}
          {side === 'history' && <History use={use} turn={turn} />}
        </section>
      )}
    </section>
  )
}

function SchemaTree({
  schema,
  insert,
  use,
}: {
  schema: SqlSchema | undefined
  insert(name: string): void
  use(sql: string): void
}) {
  if (!schema) return <Skeleton lines={8} />
  return (
    <ul className="schema">
      {schema.tables.map(({ name, rows, columns }) => (
        <li key={name}>
          <details>
            <summary>
              <span className="mono">{name}</span>
              {rows !== null && <span className="faint num">{formatCount(rows)}</span>}
            </summary>
            <div className="schema-tools">
              <button type="button" className="text-button" onClick={() => use(`SELECT *\nFROM ${name}\nLIMIT 100`)}>
                first 100 rows
              </button>
            </div>
            <ul>
              {columns.map((column) => (
                <li key={column.name}>
                  <button
                    type="button"
                    className="schema-column"
                    title={column.meaning ?? `Put ${column.name} into the query`}
                    onClick={() => insert(column.name)}
                  >
                    <span className="mono cut">{column.name}</span>{' '}
                    <span className="faint">{column.type.toLowerCase()}</span>
                  </button>
                </li>
              ))}
            </ul>
          </details>
        </li>
      ))}
    </ul>
  )
}

function Examples({ use }: { use(sql: string): void }) {
  const { answer, error } = useAsk('examples', (signal) => ask('GET /api/sql/examples', { signal }))
  if (error) return <Failed error={error} />
  if (!answer) return <Skeleton lines={6} />
  return (
    <ul className="queries">
      {answer.examples.map(({ name, about, sql }) => (
        <li key={name}>
          <button type="button" className="query" onClick={() => use(sql)}>
            <strong>{name}</strong>
            <span className="sub">{about}</span>
          </button>
        </li>
      ))}
    </ul>
  )
}

function Saved({ use, turn }: { use(sql: string): void; turn: number }) {
  const { answer, error, again } = useAsk(`saved ${turn}`, (signal) => ask('GET /api/sql/saved', { signal }))
  const remove = (id: number) => ask('DELETE /api/sql/saved/:id', { params: { id } }).then(again, sayError)
  if (error) return <Failed error={error} />
  if (!answer) return <Skeleton lines={4} />
  if (answer.queries.length === 0)
    return <p className="none">None yet. Save under the editor keeps a query here, for everybody.</p>
  return (
    <ul className="queries">
      {answer.queries.map(({ id, name, about, sql, user }) => (
        <li key={id} className="query-row">
          <button type="button" className="query" onClick={() => use(sql)}>
            <strong>{name}</strong>
            <span className="sub">{[about, user && `by ${user}`].filter(Boolean).join(', ') || sql}</span>
          </button>
          <Button look="quiet" icon="trash" aria-label={`Remove ${name}`} onClick={() => void remove(id)} />
        </li>
      ))}
    </ul>
  )
}

function History({ use, turn }: { use(sql: string): void; turn: number }) {
  const { answer, error } = useAsk(`history ${turn}`, (signal) => ask('GET /api/sql/history', { signal }))
  if (error) return <Failed error={error} />
  if (!answer) return <Skeleton lines={6} />
  if (answer.entries.length === 0) return <p className="none">Nothing was run yet.</p>
  return (
    <ul className="queries">
      {answer.entries.map(({ id, sql, at, outcome, rows, elapsedMs }) => (
        <li key={id}>
          <button type="button" className="query" onClick={() => use(sql)} title={sql}>
            <span className="mono query-text">{sql}</span>
            <span className="sub">
              {outcome === 'done' ? `${plural(rows ?? 0, 'row')} in ${formatMs(elapsedMs ?? 0)}` : outcome},{' '}
              {formatMoment(at)}
            </span>
          </button>
        </li>
      ))}
    </ul>
  )
}

function SaveDialog({ sql, onClose, onSaved }: { sql: string; onClose(): void; onSaved(): void }) {
  const [name, setName] = useState('')
  const [about, setAbout] = useState('')
  const submit = (event: FormEvent) => {
    event.preventDefault()
    ask('POST /api/sql/saved', { body: { name: name.trim(), about: about.trim(), sql } }).then(() => {
      say('The query was saved.')
      onSaved()
    }, sayError)
  }
  return (
    <Dialog title="Save this query" onClose={onClose}>
      <form onSubmit={submit} className="stack">
        <Field label="Name" hint="One of the same name is replaced.">
          {(id) => (
            <input
              id={id}
              required
              maxLength={200}
              value={name}
              onChange={({ target }) => setName(target.value)}
              autoFocus
            />
          )}
        </Field>
        <Field label="What it tells">
          {(id) => <input id={id} maxLength={2000} value={about} onChange={({ target }) => setAbout(target.value)} />}
        </Field>
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
