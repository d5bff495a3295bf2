/** One capture: its receipt first, then where it came from and what can be done with it. */

import { useState } from 'react'
import type { CaptureDetail, Receipt } from '../../api/contract.ts'
import { ask, hrefOf } from '../lib/api.ts'
import { equals, searchHref } from '../lib/filter.ts'
import { formatBytes, formatCount, formatMoment, formatSeconds, plural } from '../lib/format.ts'
import { useTitle } from '../lib/hooks.ts'
import { useLive } from '../lib/live.ts'
import { hrefWith, Link, navigate, usePath } from '../lib/router.tsx'
import { forgetAnswers, useAsk } from '../lib/use-ask.ts'
import {
  Badge,
  Button,
  Confirm,
  Cut,
  Failed,
  LinkButton,
  Notice,
  PageHead,
  Panel,
  Skeleton,
  Time,
} from '../parts/basics.tsx'
import { StateBadge } from '../parts/capture-state.tsx'
import { colourOfType } from '../parts/colours.ts'
import { Icon } from '../parts/icons.tsx'
import { Jobs } from '../parts/jobs.tsx'
import { StageSteps } from '../parts/stage-steps.tsx'
import { Dot } from '../parts/time-bars.tsx'
import { say, sayError } from '../parts/toasts.tsx'

export function CapturePage() {
  const id = usePath().split('/').at(-1) ?? ''
  const detail = useAsk(`capture ${id}`, (signal) => ask('GET /api/captures/:id', { params: { id }, signal }))
  const receipt = useAsk(`receipt ${id}`, (signal) => ask('GET /api/captures/:id/receipt', { params: { id }, signal }))
  const { answer } = detail
  useTitle(answer?.name ?? 'Capture')
  useLive('capture', ({ capture }) => {
    if (!capture.id.startsWith(id)) return
    const isNew = capture.state !== answer?.state || capture.rows !== answer?.rows
    detail.change((old) => ({ ...old, ...capture }))
    if (isNew) {
      receipt.again()
      detail.again()
    }
  })
  useLive('forgotten', ({ captureId }) => {
    if (!captureId.startsWith(id)) return
    forgetAnswers('')
    say('The capture was forgotten.')
    navigate('/captures', { replace: true })
  })

  if (detail.error) {
    return (
      <>
        <PageHead title="Capture" />
        <Failed error={detail.error} again={detail.again} />
        <p>
          <Link href="/captures">All captures</Link>
        </p>
      </>
    )
  }
  if (!answer) return <Skeleton lines={8} />
  const isWorking = answer.state === 'accepted' || answer.state === 'reprocessing' || answer.state === 'forgetting'
  return (
    <>
      <nav className="crumbs" aria-label="Way here">
        <Link href="/captures">Captures</Link>
      </nav>
      <PageHead
        title={
          <span className="title-row">
            <span className="cut" title={answer.name}>
              {answer.name}
            </span>{' '}
            <StateBadge capture={answer} />
          </span>
        }
        about={
          <span className="mono hash" title="SHA-256 of the content">
            {answer.id}
          </span>
        }
        actions={<Actions capture={answer} />}
      />
      {isWorking && answer.progress.length > 0 && (
        <Panel title="Progress">
          <StageSteps progress={answer.progress} />
        </Panel>
      )}
      {answer.warnings.length > 0 && (
        <Notice tone="warn">
          {answer.warnings.map((text) => (
            <p key={text}>{text}</p>
          ))}
        </Notice>
      )}
      {receipt.answer ? (
        <ReceiptPanel receipt={receipt.answer} isWorking={isWorking} />
      ) : receipt.error ? (
        <Failed error={receipt.error} again={receipt.again} />
      ) : (
        <Skeleton height={240} />
      )}
      {answer.failures.length > 0 && (
        <Panel title="Given up" flush>
          <Jobs jobs={answer.failures} again={detail.again} />
        </Panel>
      )}
      <div className="columns-2">
        <Facts capture={answer} />
        <ArrivalPanel capture={answer} />
      </div>
    </>
  )
}

function Actions({ capture }: { capture: CaptureDetail }) {
  const [asked, setAsked] = useState<'forget' | 'reprocess'>()
  const params = { id: capture.id }
  const where = [equals('capture_id', capture.id)]
  const forget = () =>
    ask('DELETE /api/captures/:id', { params }).then(() => say('The capture is being forgotten.'), sayError)
  const reprocess = () =>
    ask('POST /api/captures/:id/reprocess', { params }).then(() => say('The capture is converted again.'), sayError)
  return (
    <>
      <LinkButton href={searchHref({ conditions: where })} icon="search" look="primary">
        Events
      </LinkButton>
      <LinkButton href={hrefWith('/dashboard', { where: `capture_id = ${capture.id}` })} icon="dashboard">
        Dashboard
      </LinkButton>
      <LinkButton href={hrefOf('GET /api/captures/:id/file', { params })} icon="download" isDownload>
        Download
      </LinkButton>
      <Button icon="again" onClick={() => setAsked('reprocess')}>
        Reprocess
      </Button>
      <Button icon="trash" look="danger" onClick={() => setAsked('forget')}>
        Forget
      </Button>
      {asked === 'forget' && (
        <Confirm
          title="Forget this capture?"
          action="Forget it"
          isDangerous
          onConfirm={() => void forget()}
          onClose={() => setAsked(undefined)}
        >
          <p>
            <strong className="break">{capture.name}</strong>, its {plural(capture.rows, 'row')} and the stored file are
            removed. This cannot be undone; the same file may be uploaded again.
          </p>
        </Confirm>
      )}
      {asked === 'reprocess' && (
        <Confirm
          title="Reprocess this capture?"
          action="Reprocess it"
          onConfirm={() => void reprocess()}
          onClose={() => setAsked(undefined)}
        >
          <p>
            Its {plural(capture.rows, 'row')} are removed, and the stored file is converted again with the engine and
            the settings of today. Until it is done, its events are not found.
          </p>
        </Confirm>
      )}
    </>
  )
}

function ReceiptPanel({ receipt, isWorking }: { receipt: Receipt; isWorking: boolean }) {
  const { packets, total, balanced, problems, logs } = receipt
  const skipped = packets ? Object.entries(packets.skipped).filter(([, n]) => n > 0) : []
  const skippedSum = skipped.reduce((sum, [, n]) => sum + n, 0)
  return (
    <Panel
      title="Receipt"
      className="receipt"
      actions={
        <Badge tone={balanced ? 'good' : isWorking ? 'info' : 'bad'}>
          {balanced ? 'It balances' : isWorking ? 'Not yet whole' : 'It does not balance'}
        </Badge>
      }
    >
      <div className="sums">
        {packets && (
          <Sum
            whole={[packets.inFile, 'packets in the file']}
            parts={[
              [packets.decoded, 'decoded'],
              [skippedSum, 'skipped'],
            ]}
          />
        )}
        <Sum
          whole={[total.records, 'records made of them']}
          parts={[
            [total.rows, 'rows in the tables'],
            [total.quarantined, 'quarantined'],
            ...(total.removed > 0 ? [[total.removed, 'removed by retention'] as [number, string]] : []),
          ]}
        />
      </div>
      {problems.length > 0 && !isWorking && (
        <Notice tone="bad">
          {problems.map((text) => (
            <p key={text}>{text}</p>
          ))}
        </Notice>
      )}
      {receipt.fileRemovedAt && (
        <Notice tone="info">
          Retention removed the stored file on {formatMoment(receipt.fileRemovedAt)}. It is stored again when it comes
          again.
        </Notice>
      )}
      {packets?.salvaged && (
        <Notice tone="warn">
          Salvaged: {packets.salvaged}.
          {packets.lostBytes > 0 && ` ${formatBytes(packets.lostBytes)} at its end could not be read.`}
        </Notice>
      )}
      {skipped.length > 0 && (
        <dl className="facts">
          {skipped.map(([reason, n]) => (
            <div key={reason}>
              <dt>Skipped: {reason}</dt>
              <dd className="num">{formatCount(n)}</dd>
            </div>
          ))}
        </dl>
      )}
      {logs.length > 0 && (
        <div className="table-wrap">
          <table className="table receipt-table">
            <caption className="hidden">Records and rows of each log type</caption>
            <thead>
              <tr>
                <th scope="col">Log type</th>
                <th scope="col" className="num">
                  Records
                </th>
                <th scope="col" className="num">
                  Rows
                </th>
                <th scope="col" className="num">
                  Quarantined
                </th>
                <th scope="col">Balance</th>
              </tr>
            </thead>
            <tbody>
              {logs.map((log) => (
                <tr key={log.logType}>
                  <th scope="row">
                    <Dot colour={colourOfType(log.logType)} />{' '}
                    <Link
                      href={searchHref({ types: [log.logType], conditions: [equals('capture_id', receipt.captureId)] })}
                    >
                      {log.logType}
                    </Link>
                  </th>
                  <td className="num">{formatCount(log.records)}</td>
                  <td className="num">{formatCount(log.rows)}</td>
                  <td className="num">{formatCount(log.quarantined)}</td>
                  <td>
                    {log.balanced ? (
                      <span className="balanced">
                        <Icon name="check" /> <span>even</span>
                      </span>
                    ) : (
                      <Badge tone={isWorking ? 'info' : 'bad'}>
                        {isWorking
                          ? 'in work'
                          : `${formatCount(Math.abs(log.records - log.rows - log.quarantined - log.removed))} off`}
                      </Badge>
                    )}
                    {log.removed > 0 && <span className="sub">{formatCount(log.removed)} removed by retention</span>}
                    {Object.entries(log.reasons).map(([reason, n]) => (
                      <Cut key={reason} className="sub" text={`${formatCount(n)} × ${reason}`} />
                    ))}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  )
}

interface SumProps {
  whole: [number, string]
  parts: [number, string][]
}

/** `36,592 packets in the file = 36,500 decoded + 92 skipped` */
function Sum({ whole: [n, name], parts }: SumProps) {
  const isEven = n === parts.reduce((sum, [part]) => sum + part, 0)
  return (
    <p className="sum">
      <span className="sum-part">
        <strong className="num">{formatCount(n)}</strong> <span>{name}</span>
      </span>
      <span className={isEven ? 'sum-sign' : 'sum-sign sum-odd'}>{isEven ? '=' : '≠'}</span>
      {parts.map(([part, what], i) => (
        <span key={what} className="sum-group">
          {i > 0 && <span className="sum-sign">+</span>}
          <span className="sum-part">
            <strong className="num">{formatCount(part)}</strong> <span>{what}</span>
          </span>
        </span>
      ))}
    </p>
  )
}

function Facts({ capture }: { capture: CaptureDetail }) {
  const { packets } = capture
  const seconds =
    packets?.firstTime && packets.lastTime
      ? (Date.parse(packets.lastTime) - Date.parse(packets.firstTime)) / 1000
      : undefined
  return (
    <Panel title="Facts">
      <dl className="facts">
        <div>
          <dt>Source</dt>
          <dd>{capture.source}</dd>
        </div>
        <div>
          <dt>Format</dt>
          <dd>
            {capture.format}, {formatBytes(capture.bytes)}
          </dd>
        </div>
        <div>
          <dt>First packet</dt>
          <dd>
            <Time iso={packets?.firstTime} />
          </dd>
        </div>
        <div>
          <dt>Last packet</dt>
          <dd>
            <Time iso={packets?.lastTime} />
          </dd>
        </div>
        {seconds !== undefined && (
          <div>
            <dt>Span</dt>
            <dd className="num">{formatSeconds(seconds)}</dd>
          </div>
        )}
        {capture.clockOffsetSeconds !== 0 && (
          <div>
            <dt>Clock</dt>
            <dd className="num" title="Added to the time of every packet (CLOCK_OFFSETS)">
              corrected by {capture.clockOffsetSeconds > 0 ? '+' : ''}
              {capture.clockOffsetSeconds} s
            </dd>
          </div>
        )}
        {capture.tls && (
          <div>
            <dt>TLS</dt>
            <dd className="num" title={`Keys of ${capture.tls.keys} sessions came with the capture`}>
              {capture.tls.decrypted} of {capture.tls.sessions} sessions decrypted
            </dd>
          </div>
        )}
        <div>
          <dt>Engine</dt>
          <dd>{capture.engine ? `${capture.engine} ${capture.engineVersion ?? ''}` : '–'}</dd>
        </div>
        <div>
          <dt>Accepted</dt>
          <dd>
            <Time iso={capture.acceptedAt} />
          </dd>
        </div>
        <div>
          <dt>Finished</dt>
          <dd>
            <Time iso={capture.finishedAt} />
          </dd>
        </div>
      </dl>
    </Panel>
  )
}

function ArrivalPanel({ capture }: { capture: CaptureDetail }) {
  return (
    <Panel
      title="How it came"
      note={
        capture.duplicates > 0 ? `the same content came ${capture.duplicates + 1} times and was loaded once` : undefined
      }
    >
      <ul className="arrivals">
        {capture.arrivals.map((each) => (
          <li key={`${each.arrivedAt} ${each.name} ${each.member}`}>
            <div className="arrival-name">
              <Cut text={each.name} />
              <Badge tone={each.outcome === 'accepted' ? 'good' : 'neutral'}>{each.outcome}</Badge>
            </div>
            <p className="sub">
              {each.container !== 'none' && each.container !== each.name && `${each.container}, `}
              {each.source}, {formatBytes(each.bytes)}, <Time iso={each.arrivedAt} />
            </p>
          </li>
        ))}
      </ul>
    </Panel>
  )
}
