/** Health: what the pipeline does now, what it cannot do, and why. */

import { useEffect, useRef, useState } from 'react'
import type { Health, StageHealth } from '../../api/contract.ts'
import { ask } from '../lib/api.ts'
import { formatAgo, formatBytes, formatCount, formatMoment, formatSeconds, plural } from '../lib/format.ts'
import { useNow, useTitle } from '../lib/hooks.ts'
import { useLive } from '../lib/live.ts'
import { hrefWith, Link } from '../lib/router.tsx'
import { useAsk } from '../lib/use-ask.ts'
import { Badge, Button, Failed, Meter, Notice, PageHead, Panel, Skeleton, type Tone } from '../parts/basics.tsx'

const EVERY_MS = 5000
const TONES: Record<Health['state'], Tone> = { ok: 'good', degraded: 'warn', failing: 'bad' }
const WORDS: Record<Health['state'], string> = { ok: 'All is well', degraded: 'Degraded', failing: 'Failing' }

export function HealthPage() {
  useTitle('Health')
  const { answer, error, again, change } = useAsk('health', (signal) => ask('GET /api/health', { signal }), EVERY_MS)
  useLive('stages', ({ stages }) => change((old) => ({ ...old, stages })))
  return (
    <>
      <PageHead
        title={
          <span className="title-row">
            Health {answer && <Badge tone={TONES[answer.state]}>{WORDS[answer.state]}</Badge>}
          </span>
        }
        about={answer && `Version ${answer.version}, up since ${formatMoment(answer.startedAt)}`}
      />
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={10} />}
      {answer && (
        <>
          {answer.problems.map((text) => (
            <Notice key={text} tone={answer.state === 'failing' ? 'bad' : 'warn'}>
              {text}
            </Notice>
          ))}
          <Stages stages={answer.stages} />
          <div className="columns-3">
            <Disk disk={answer.disk} />
            <Memory memory={answer.memory} />
            <Parts health={answer} />
          </div>
        </>
      )}
      <LogLines />
      {answer && (
        <div className="columns-2">
          <Versions health={answer} />
          <Settings />
        </div>
      )}
    </>
  )
}

function Stages({ stages }: { stages: readonly StageHealth[] }) {
  const now = useNow()
  return (
    <Panel title="Stages" note="in pipeline order" flush>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard */}
      <section className="table-wrap" tabIndex={0} aria-label="Table of the stages">
        <table className="table stage-table">
          <caption className="hidden">Stages</caption>
          <thead>
            <tr>
              <th scope="col">Stage</th>
              <th scope="col" className="num">
                Waiting
              </th>
              <th scope="col" className="num">
                Running
              </th>
              <th scope="col" className="num">
                Handed on
              </th>
              <th scope="col" className="num">
                Given up
              </th>
              <th scope="col" className="num">
                Oldest waits
              </th>
              <th scope="col" className="num">
                Jobs/min
              </th>
              <th scope="col" className="num">
                Events/min
              </th>
              <th scope="col">Last error</th>
            </tr>
          </thead>
          <tbody>
            {stages.map((each) => (
              <tr key={each.stage}>
                <th scope="row">
                  {each.stage}{' '}
                  {!each.here && (
                    <span className="sub" title="Another process may run it">
                      not in this process
                    </span>
                  )}
                </th>
                <Figure n={each.waiting} />
                <Figure n={each.running} />
                <Figure n={each.sent} />
                <td className="num">
                  {each.failed > 0 ? (
                    <Link href={hrefWith('/captures', { view: 'failures' })} className="bad">
                      {formatCount(each.failed)}
                    </Link>
                  ) : (
                    <span className="faint">0</span>
                  )}
                </td>
                <td className="num">
                  {each.oldestSeconds === null ? <span className="faint">–</span> : formatSeconds(each.oldestSeconds)}
                </td>
                <Figure n={each.doneLastMinute} />
                <Figure n={each.eventsLastMinute} />
                <td className="stage-error">
                  {each.lastError ? (
                    <span className="cut" title={`${each.lastError.message}\n${each.lastError.key}`}>
                      <span className="faint">{formatAgo(each.lastError.at, now)}</span> {each.lastError.message}
                    </span>
                  ) : (
                    <span className="faint">none</span>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </Panel>
  )
}

function Figure({ n }: { n: number }) {
  return <td className={n === 0 ? 'num faint' : 'num'}>{formatCount(n)}</td>
}

function Disk({ disk }: { disk: Health['disk'] }) {
  const { freeBytes, totalBytes, floorBytes, capturesBytes, datasetBytes, usedBytes, budgetBytes, waits } = disk
  const used = 1 - freeBytes / Math.max(1, totalBytes)
  const tone = freeBytes < floorBytes ? 'bad' : freeBytes < 2 * floorBytes ? 'warn' : 'info'
  return (
    <Panel title="Disk" note={`${formatBytes(freeBytes)} free`}>
      <Meter value={used} label="Disk in use" tone={tone} />
      {waits.map((text) => (
        <Notice key={text} tone="warn">
          {text}
        </Notice>
      ))}
      <dl className="facts">
        <div>
          <dt>In use</dt>
          <dd className="num">
            {formatBytes(totalBytes - freeBytes)} of {formatBytes(totalBytes)}
          </dd>
        </div>
        <div>
          <dt>Intake pauses below</dt>
          <dd className="num">{formatBytes(floorBytes)} free</dd>
        </div>
        <div>
          <dt>Of the pipeline</dt>
          <dd className="num">
            {formatBytes(usedBytes)}
            {budgetBytes > 0 ? ` of a budget of ${formatBytes(budgetBytes)}` : ', no budget'}
          </dd>
        </div>
        <div>
          <dt>Stored captures</dt>
          <dd className="num">{formatBytes(capturesBytes)}</dd>
        </div>
        <div>
          <dt>Tables</dt>
          <dd className="num">{formatBytes(datasetBytes)}</dd>
        </div>
      </dl>
    </Panel>
  )
}

function Memory({ memory }: { memory: Health['memory'] }) {
  const { rssBytes, heapBytes, systemFreeBytes, systemTotalBytes } = memory
  return (
    <Panel title="Memory" note={`${formatBytes(rssBytes)} of this process`}>
      <Meter value={rssBytes / Math.max(1, systemTotalBytes)} label="Memory of this process" />
      <dl className="facts">
        <div>
          <dt>This process</dt>
          <dd className="num">{formatBytes(rssBytes)}</dd>
        </div>
        <div>
          <dt>Of it JavaScript's heap</dt>
          <dd className="num">{formatBytes(heapBytes)}</dd>
        </div>
        <div>
          <dt>Free on this machine</dt>
          <dd className="num">
            {formatBytes(systemFreeBytes)} of {formatBytes(systemTotalBytes)}
          </dd>
        </div>
      </dl>
    </Panel>
  )
}

function Parts({ health: { sinks, bus, captures } }: { health: Health }) {
  const counters = Object.entries(bus.counters)
  return (
    <Panel title="Sinks and bus">
      <ul className="sinks">
        {sinks.map(({ name, state, detail, rows }) => (
          <li key={name}>
            <span className="sink-head">
              <strong>{name}</strong>{' '}
              <Badge tone={state === 'ok' ? 'good' : state === 'off' ? 'neutral' : 'bad'}>{state}</Badge>
            </span>
            <span className="sub break">
              {rows === null || detail.includes(String(rows)) ? detail : `${plural(rows, 'row')}; ${detail}`}
            </span>
          </li>
        ))}
        <li>
          <span className="sink-head">
            <strong>bus</strong> <Badge>{bus.kind}</Badge>
          </span>
          {counters.map(([name, n]) => (
            <span key={name} className="sub">
              {name} <span className="num">{formatCount(n)}</span>
            </span>
          ))}
        </li>
      </ul>
      <dl className="facts">
        {Object.entries(captures).map(([state, n]) => (
          <div key={state}>
            <dt>Captures {state}</dt>
            <dd className="num">
              <Link href={hrefWith('/captures', { state })}>{formatCount(n)}</Link>
            </dd>
          </div>
        ))}
      </dl>
    </Panel>
  )
}

const KEPT_LINES = 500
const LEVEL = /\| *(ERROR|WARN|INFO|DEBUG) *\|/i

function LogLines() {
  const { answer, error, again, change } = useAsk('log', (signal) =>
    ask('GET /api/log', { query: { lines: 200 }, signal }),
  )
  const [isFollowing, setFollowing] = useState(true)
  const [level, setLevel] = useState('')
  const box = useRef<HTMLElement>(null)
  useLive('log', ({ line }) => change((old) => ({ lines: [...old.lines.slice(-KEPT_LINES), line] })))
  const lines = (answer?.lines ?? []).filter(
    (line) => level === '' || levelOf(line) === level || (level === 'warn' && levelOf(line) === 'error'),
  )
  // biome-ignore lint/correctness/useExhaustiveDependencies: scrolls when lines have come
  useEffect(() => {
    if (isFollowing && box.current) box.current.scrollTop = box.current.scrollHeight
  }, [lines.length, answer, isFollowing])
  return (
    <Panel
      title="Log"
      note="the last lines, live"
      flush
      actions={
        <>
          <select aria-label="Level" value={level} onChange={({ target }) => setLevel(target.value)}>
            <option value="">All levels</option>
            <option value="warn">Warnings and errors</option>
            <option value="error">Errors</option>
          </select>
          <Button
            look="quiet"
            aria-pressed={isFollowing}
            icon={isFollowing ? 'stop' : 'play'}
            onClick={() => setFollowing(!isFollowing)}
          >
            {isFollowing ? 'Hold' : 'Follow'}
          </Button>
        </>
      }
    >
      {error && <Failed error={error} again={again} />}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard */}
      <section className="log" ref={box} tabIndex={0} aria-label="Log lines">
        {answer && lines.length === 0 && <p className="none">No lines{level && ' of this level'}.</p>}
        {lines.map((line, i) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: lines are not told apart
          <p key={i} className={`log-line log-${levelOf(line)}`}>
            {line}
          </p>
        ))}
      </section>
    </Panel>
  )
}

function levelOf(line: string): string {
  return LEVEL.exec(line)?.[1]?.toLowerCase() ?? ''
}

function Versions({ health: { versions, engine } }: { health: Health }) {
  return (
    <Panel title="Versions">
      <dl className="facts">
        <div>
          <dt>Engine: {engine.name}</dt>
          <dd className="num">{engine.version ?? 'unknown'}</dd>
        </div>
        {Object.entries(versions).map(([name, version]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd className="num">{version}</dd>
          </div>
        ))}
      </dl>
    </Panel>
  )
}

function Settings() {
  const { answer, error, again } = useAsk('settings', (signal) => ask('GET /api/settings', { signal }))
  return (
    <Panel title="Settings" note="secrets masked">
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={4} />}
      {answer && (
        <details>
          <summary>{plural(answer.settings.length, 'setting')}</summary>
          <dl className="facts settings">
            {answer.settings.map(({ name, value, source, unit }) => (
              <div key={name}>
                <dt className="mono break">{name}</dt>
                <dd className="break">
                  {value || <span className="faint">empty</span>} {value && unit}{' '}
                  <span className="faint">{source}</span>
                </dd>
              </div>
            ))}
          </dl>
        </details>
      )}
    </Panel>
  )
}
