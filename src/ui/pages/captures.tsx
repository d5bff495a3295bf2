/** Captures: put files in, see them being worked on, find the one that failed. */

import { type ChangeEvent, type DragEvent, useEffect, useRef, useState } from 'react'
import type { Arrival, Arrivals as ArrivalList, Capture, CaptureList, CaptureState } from '../../api/contract.ts'
import { ask } from '../lib/api.ts'
import { filesOf } from '../lib/dropped-files.ts'
import { formatBytes, formatCount, formatShort, plural, shortHash } from '../lib/format.ts'
import { useIsNarrow, useSettled, useTitle } from '../lib/hooks.ts'
import { useLive } from '../lib/live.ts'
import { hrefWith, Link, useChangeParams, useParams } from '../lib/router.tsx'
import { addFiles, cancelUpload, clearEnded, isActive, repeatUpload, type Sending, useUploads } from '../lib/uploads.ts'
import { useAsk } from '../lib/use-ask.ts'
import { joined, type Pages, usePages } from '../lib/use-pages.ts'
import {
  Badge,
  Button,
  Cut,
  Empty,
  Failed,
  Meter,
  PageHead,
  Panel,
  Skeleton,
  TabLinks,
  Time,
  type Tone,
} from '../parts/basics.tsx'
import { StateBadge } from '../parts/capture-state.tsx'
import { Icon } from '../parts/icons.tsx'
import { Jobs } from '../parts/jobs.tsx'
import { ListTable, More } from '../parts/list-table.tsx'
import { StageSteps } from '../parts/stage-steps.tsx'

const VIEWS = ['captures', 'arrivals', 'failures'] as const
const LIMIT = 100

export function CapturesPage() {
  useTitle('Captures')
  const params = useParams()
  const view = VIEWS.find((each) => each === params.get('view')) ?? 'captures'
  const state = params.get('state') ?? ''
  const source = params.get('source') ?? ''
  const text = params.get('text') ?? ''
  const list = usePages<CaptureList>(
    `captures ${state} ${source} ${text}`,
    (after, signal) =>
      ask('GET /api/captures', { query: { state: state as CaptureState, source, text, limit: LIMIT, after }, signal }),
    (old, next) => ({ ...next, captures: joined(old.captures, next.captures, ({ id }) => id) }),
  )
  const failures = useAsk('jobs failed', (signal) => ask('GET /api/jobs', { query: { status: 'failed' }, signal }))
  const { change, again } = list
  useLive('capture', ({ capture }) => change((answer) => withCapture(answer, capture, { state, source, text })))
  useLive('forgotten', ({ captureId }) => {
    change((answer) => ({ ...answer, captures: answer.captures.filter(({ id }) => id !== captureId) }))
    again()
  })
  useLive('error', () => failures.again())

  const { answer } = list
  const known = answer === undefined ? 0 : Object.values(answer.states).reduce((sum, n) => sum + n, 0)
  const uploads = useUploads()
  const isFirstRun = answer !== undefined && known === 0 && answer.captures.length === 0
  const failed = failures.answer?.jobs.length
  return (
    <>
      <PageHead
        title="Captures"
        about="What was captured, how far it is, and the receipt that proves that nothing was lost."
      />
      <DropZone sources={answer?.sources ?? []} isFirstRun={isFirstRun} />
      <Uploads uploads={uploads} />
      {isFirstRun && view === 'captures' && !failed ? (
        <FirstRun />
      ) : (
        <Panel flush className="captures">
          <div className="panel-tools">
            <TabLinks
              label="Lists"
              current={view}
              hrefOf={(id) => hrefWith('/captures', { view: id === 'captures' ? null : id })}
              tabs={[
                { id: 'captures', label: 'Captures', count: answer ? known : undefined },
                { id: 'arrivals', label: 'Files that came' },
                { id: 'failures', label: 'Given up', count: failed },
              ]}
            />
            {view === 'captures' && <ListFilter list={answer} state={state} source={source} text={text} />}
          </div>
          {view === 'captures' && <List list={list} />}
          {view === 'arrivals' && <Arrivals />}
          {view === 'failures' && <Jobs jobs={failures.answer?.jobs} error={failures.error} again={failures.again} />}
        </Panel>
      )}
    </>
  )
}

interface ListChoice {
  state: string
  source: string
  text: string
}

/** A capture that is new comes first; one that does not fit the choice stays out, unless it is shown already. */
function withCapture(answer: CaptureList, capture: Capture, { state, source, text }: ListChoice): CaptureList {
  const at = answer.captures.findIndex(({ id }) => id === capture.id)
  if (at >= 0) {
    const captures = answer.captures.with(at, capture)
    const old = answer.captures[at]?.state
    return {
      ...answer,
      captures,
      states: old === capture.state ? answer.states : moved(answer.states, old, capture.state),
    }
  }
  const fits =
    (state === '' || capture.state === state) &&
    (source === '' || capture.source === source) &&
    (text === '' || capture.name.toLowerCase().includes(text.toLowerCase()) || capture.id.startsWith(text))
  const newest = answer.captures[0]
  if (!fits || (newest && newest.acceptedAt > capture.acceptedAt)) return answer
  return {
    ...answer,
    captures: [capture, ...answer.captures],
    total: answer.total + 1,
    states: moved(answer.states, undefined, capture.state),
  }
}

function moved(states: Record<string, number>, from: string | undefined, to: string): Record<string, number> {
  const next = { ...states, [to]: (states[to] ?? 0) + 1 }
  if (from !== undefined) next[from] = Math.max(0, (next[from] ?? 0) - 1)
  return next
}

function DropZone({ sources, isFirstRun }: { sources: readonly string[]; isFirstRun: boolean }) {
  const [isOver, setOver] = useState(false)
  const [source, setSource] = useState('')
  const fileInput = useRef<HTMLInputElement>(null)
  const folderInput = useRef<HTMLInputElement>(null)
  useWholePageDrop(setOver, (files) => addFiles(files, source.trim()))
  const chosen = ({ target }: ChangeEvent<HTMLInputElement>) => {
    addFiles([...(target.files ?? [])], source.trim())
    target.value = ''
  }
  return (
    <section
      className={`drop-zone ${isOver ? 'drop-zone-over' : ''} ${isFirstRun ? 'drop-zone-first' : ''}`}
      aria-label="Upload"
    >
      <span className="drop-icon">
        <Icon name="captures" />
      </span>
      <div className="drop-text">
        <p>
          <strong>{isOver ? 'Let go to upload' : 'Drop captures or whole folders anywhere on this page'}</strong>
        </p>
        <p className="hint">
          pcap and pcapng, plain or in gzip, zstd or zip. Several at once; an upload that breaks goes on where it was.
        </p>
      </div>
      <div className="drop-actions">
        <label className="source-field">
          <span>Source</span>
          <input
            list="known-sources"
            value={source}
            placeholder="optional"
            maxLength={100}
            spellCheck={false}
            autoComplete="off"
            onChange={({ target }) => setSource(target.value)}
            title="A sensor, a site, a case: a name under which what is uploaded can be found again"
          />
        </label>
        <datalist id="known-sources">
          {sources.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
        <Button look="primary" icon="file" onClick={() => fileInput.current?.click()}>
          Choose files
        </Button>
        <Button icon="folder" onClick={() => folderInput.current?.click()}>
          Folder
        </Button>
        <input ref={fileInput} type="file" multiple hidden data-upload onChange={chosen} />
        {/* `webkitdirectory` is how every browser spells it */}
        <input ref={folderInput} type="file" multiple hidden {...{ webkitdirectory: '' }} onChange={chosen} />
      </div>
    </section>
  )
}

/** A file that misses the zone would otherwise replace the page. */
function useWholePageDrop(setOver: (isOver: boolean) => void, onFiles: (files: File[]) => void): void {
  const latest = useRef(onFiles)
  latest.current = onFiles
  useEffect(() => {
    let depth = 0
    const hasFiles = (event: Event) => (event as unknown as DragEvent).dataTransfer?.types.includes('Files')
    const enter = (event: Event) => {
      if (!hasFiles(event)) return
      depth++
      setOver(true)
    }
    const leave = () => {
      depth = Math.max(0, depth - 1)
      if (depth === 0) setOver(false)
    }
    const over = (event: Event) => {
      if (hasFiles(event)) event.preventDefault()
    }
    const drop = (event: Event) => {
      if (!hasFiles(event)) return
      event.preventDefault()
      depth = 0
      setOver(false)
      void filesOf((event as unknown as { dataTransfer: DataTransfer }).dataTransfer).then((files) =>
        latest.current(files),
      )
    }
    const all = { dragenter: enter, dragleave: leave, dragover: over, drop }
    for (const [name, listener] of Object.entries(all)) window.addEventListener(name, listener)
    return () => {
      for (const [name, listener] of Object.entries(all)) window.removeEventListener(name, listener)
    }
  }, [setOver])
}

const UPLOAD_WORDS: Record<Sending['state'], [string, Tone]> = {
  waiting: ['Waits', 'neutral'],
  sending: ['Sending', 'info'],
  checking: ['Being looked at', 'info'],
  accepted: ['Accepted', 'good'],
  duplicate: ['Known already', 'neutral'],
  empty: ['Without packets', 'warn'],
  refused: ['Refused', 'bad'],
  failed: ['Failed', 'bad'],
}

function Uploads({ uploads }: { uploads: readonly Sending[] }) {
  if (uploads.length === 0) return null
  const active = uploads.filter(isActive)
  const bytes = active.reduce((sum, each) => sum + each.bytes, 0)
  const sent = active.reduce((sum, each) => sum + each.sent, 0)
  return (
    <Panel
      title="Uploads"
      note={
        active.length > 0
          ? `${plural(active.length, 'file')}, ${formatBytes(sent)} of ${formatBytes(bytes)}`
          : 'All done'
      }
      actions={
        active.length < uploads.length && (
          <Button look="quiet" onClick={clearEnded}>
            Clear ended
          </Button>
        )
      }
      flush
    >
      <ul className="uploads">
        {uploads.map((each) => (
          <UploadLine key={each.key} upload={each} />
        ))}
      </ul>
    </Panel>
  )
}

function UploadLine({ upload }: { upload: Sending }) {
  const { key, name, bytes, sent, rate, state, reason, captures } = upload
  const [word, tone] = UPLOAD_WORDS[state]
  const isSending = state === 'sending'
  return (
    <li className="upload">
      <Icon name="file" />
      <div className="upload-name">
        <Cut text={name} />
        {reason && <p className="upload-reason">{reason}</p>}
      </div>
      <span className="upload-bytes num">
        {isSending
          ? `${formatBytes(sent)} of ${formatBytes(bytes)}${rate > 0 ? `, ${formatBytes(rate)}/s` : ''}`
          : formatBytes(bytes)}
      </span>
      <span className="upload-state">
        {isSending ? (
          <Meter value={bytes === 0 ? 1 : sent / bytes} label={`${name}: bytes sent`} />
        ) : (
          <Badge tone={tone}>{word}</Badge>
        )}
      </span>
      <span className="upload-actions">
        {captures.length === 1 && <Link href={`/captures/${captures[0]}`}>Receipt</Link>}
        {captures.length > 1 && <span>{plural(captures.length, 'capture')}</span>}
        {(state === 'failed' || state === 'refused') && (
          <Button look="quiet" icon="again" aria-label={`Send ${name} again`} onClick={() => repeatUpload(key)} />
        )}
        {isActive(upload) && state !== 'checking' && (
          <Button look="quiet" icon="close" aria-label={`Stop ${name}`} onClick={() => cancelUpload(key)} />
        )}
      </span>
    </li>
  )
}

function FirstRun() {
  return (
    <ol className="first-run">
      <li>
        <h3>Put a capture in</h3>
        <p>
          Drop a file above, or copy it into the <code>inbox</code> folder of the data directory: a subfolder there
          becomes the capture's source.
        </p>
      </li>
      <li>
        <h3>See it being worked on</h3>
        <p>
          It is converted, split and loaded; its receipt then tells that every packet and every record is accounted for.
        </p>
      </li>
      <li>
        <h3>Investigate</h3>
        <p>The dashboard sums it up, the search finds events and their packets, and SQL answers everything else.</p>
      </li>
    </ol>
  )
}

function ListFilter({ list, state, source, text }: ListChoice & { list: CaptureList | undefined }) {
  const change = useChangeParams()
  const [typed, setTyped] = useState(text)
  const settled = useSettled(typed, 250)
  useEffect(() => change({ text: settled.trim() }, { replace: true }), [settled, change])
  const sources = list?.sources ?? (source ? [source] : [])
  return (
    <div className="list-filter">
      <input
        type="search"
        aria-label="Name or hash"
        placeholder="Name or hash"
        data-search-field
        value={typed}
        onChange={({ target }) => setTyped(target.value)}
      />
      <select aria-label="State" value={state} onChange={({ target }) => change({ state: target.value })}>
        <option value="">All states</option>
        {['accepted', 'done', 'unbalanced', 'empty', 'failed'].map((name) => (
          <option key={name} value={name}>
            {name} {list?.states[name] ? `(${list.states[name]})` : ''}
          </option>
        ))}
      </select>
      {sources.length > 1 && (
        <select aria-label="Source" value={source} onChange={({ target }) => change({ source: target.value })}>
          <option value="">All sources</option>
          {sources.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      )}
    </div>
  )
}

function List({ list: { answer, error, again, more } }: { list: Pages<CaptureList> }) {
  const isNarrow = useIsNarrow()
  const params = useParams()
  if (error && !answer) return <Failed error={error} again={again} />
  if (!answer) return <Skeleton lines={6} />
  if (answer.captures.length === 0) {
    return (
      <Empty icon="captures" title="No capture fits">
        {params.size > 0 ? 'Choose another state, source or name.' : 'They were all forgotten.'}
      </Empty>
    )
  }
  return (
    <>
      {isNarrow ? (
        <ul className="cards">
          {answer.captures.map((capture) => (
            <CaptureCard key={capture.id} capture={capture} />
          ))}
        </ul>
      ) : (
        <CaptureTable captures={answer.captures} />
      )}
      <More more={more} left={answer.total - answer.captures.length} />
    </>
  )
}

function CaptureTable({ captures }: { captures: readonly Capture[] }) {
  return (
    <table className="table capture-table">
      <caption className="hidden">Captures, newest first</caption>
      <thead>
        <tr>
          <th scope="col">Capture</th>
          <th scope="col">Source</th>
          <th scope="col" className="num">
            Size
          </th>
          <th scope="col" className="num">
            Packets
          </th>
          <th scope="col" className="num">
            Rows
          </th>
          <th scope="col">State</th>
          <th scope="col">Accepted</th>
        </tr>
      </thead>
      <tbody>
        {captures.map((capture) => (
          <tr key={capture.id}>
            <th scope="row" className="capture-name">
              <Link href={`/captures/${capture.id}`} title={capture.name}>
                <span className="cut">{capture.name}</span>
              </Link>
              <span className="sub mono" title={capture.id}>
                {shortHash(capture.id)}
              </span>
              {capture.duplicates > 0 && (
                <Badge title="The same content came more than once; it was loaded once">
                  came {capture.duplicates + 1}×
                </Badge>
              )}
            </th>
            <td>
              <Cut text={capture.source} />
            </td>
            <td className="num">{formatBytes(capture.bytes)}</td>
            <td className="num">
              {capture.packets ? formatCount(capture.packets.inFile) : <span className="faint">–</span>}
            </td>
            <td className="num">{formatCount(capture.rows)}</td>
            <td className="capture-state">
              <Progress capture={capture} />
            </td>
            <td>
              <Time iso={capture.acceptedAt} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

function CaptureCard({ capture }: { capture: Capture }) {
  return (
    <li className="card">
      <div className="card-head">
        <Link href={`/captures/${capture.id}`} title={capture.name}>
          <span className="cut">{capture.name}</span>
        </Link>
        {capture.progress.length === 0 || !isWorking(capture) ? <StateBadge capture={capture} /> : null}
      </div>
      {isWorking(capture) && <Progress capture={capture} />}
      <p className="card-facts">
        <span className="num">{formatBytes(capture.bytes)}</span>
        {capture.packets && <span className="num">{formatShort(capture.packets.inFile)} packets</span>}
        <span className="num">{formatShort(capture.rows)} rows</span>
        <span>{capture.source}</span>
      </p>
      <p className="card-facts">
        <Time iso={capture.acceptedAt} />
      </p>
      {capture.error && <p className="card-error">{capture.error}</p>}
    </li>
  )
}

function isWorking({ state }: Capture): boolean {
  return state === 'accepted' || state === 'reprocessing' || state === 'forgetting'
}

function Progress({ capture }: { capture: Capture }) {
  if (isWorking(capture) && capture.error === null && capture.progress.length > 0)
    return <StageSteps progress={capture.progress} />
  return (
    <>
      <StateBadge capture={capture} />
      {capture.error && <Cut text={capture.error} className="sub" />}
    </>
  )
}

const OUTCOMES: Record<Arrival['outcome'], Tone> = {
  accepted: 'good',
  duplicate: 'neutral',
  empty: 'warn',
  quarantined: 'bad',
}

function Arrivals() {
  const params = useParams()
  const outcome = params.get('outcome') ?? ''
  const { answer, error, again, more } = usePages<ArrivalList>(
    `arrivals ${outcome}`,
    (after, signal) =>
      ask('GET /api/arrivals', { query: { outcome: outcome as Arrival['outcome'], limit: LIMIT, after }, signal }),
    (old, next) => ({ ...next, arrivals: [...old.arrivals, ...next.arrivals] }),
  )
  const change = useChangeParams()
  useLive('capture', again)
  return (
    <>
      <div className="panel-tools">
        <select aria-label="Outcome" value={outcome} onChange={({ target }) => change({ outcome: target.value })}>
          <option value="">All outcomes</option>
          {Object.keys(OUTCOMES).map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </div>
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={5} />}
      {answer?.arrivals.length === 0 && <Empty icon="file" title="No file came yet" />}
      {answer && answer.arrivals.length > 0 && (
        <ListTable
          label="Files that came, newest first"
          heads={[
            { text: 'File' },
            { text: 'Source' },
            { text: 'Size', isNumber: true },
            { text: 'Outcome' },
            { text: 'Came' },
          ]}
        >
          {answer.arrivals.map((each) => (
            <tr key={`${each.arrivedAt} ${each.name} ${each.member}`}>
              <th scope="row" className="capture-name">
                {each.captureId ? (
                  <Link href={`/captures/${each.captureId}`}>
                    <Cut text={each.name} />
                  </Link>
                ) : (
                  <Cut text={each.name} />
                )}
                {each.member && <Cut text={`${each.member} in ${each.container}`} className="sub" />}
              </th>
              <td>
                <Cut text={each.source} />
              </td>
              <td className="num">{formatBytes(each.bytes)}</td>
              <td>
                <Badge tone={OUTCOMES[each.outcome]}>{each.outcome}</Badge>
                {each.reason && <Cut text={each.reason} className="sub" />}
              </td>
              <td>
                <Time iso={each.arrivedAt} />
              </td>
            </tr>
          ))}
        </ListTable>
      )}
      <More more={more} />
    </>
  )
}
