/** Work that was given up: the reason, and the way to try again. */

import { useState } from 'react'
import type { Job } from '../../api/contract.ts'
import { ask } from '../lib/api.ts'
import { plural, shortHash } from '../lib/format.ts'
import { Link } from '../lib/router.tsx'
import { forgetAnswers } from '../lib/use-ask.ts'
import { Badge, Button, Empty, Failed, Skeleton, Time } from './basics.tsx'
import { say, sayError } from './toasts.tsx'

interface JobsProps {
  jobs: readonly Job[] | undefined
  error?: string | undefined
  again(): void
}

export function Jobs({ jobs, error, again }: JobsProps) {
  const [isBusy, setBusy] = useState(false)
  const retry = async (body: { all: true } | { stage: string; key: string }) => {
    setBusy(true)
    try {
      const { retried } = await ask('POST /api/jobs/retry', { body })
      say(retried === 0 ? 'There was nothing to try again.' : `${plural(retried, 'job')} put back into the queue.`)
      forgetAnswers('jobs')
    } catch (reason) {
      sayError(reason)
    }
    setBusy(false)
    again()
  }
  if (error) return <Failed error={error} again={again} />
  if (!jobs) return <Skeleton lines={3} />
  if (jobs.length === 0)
    return (
      <Empty icon="check" title="Nothing was given up">
        What fails is tried again by itself; what fails again and again would be listed here.
      </Empty>
    )
  return (
    <>
      {jobs.length > 1 && (
        <div className="panel-tools">
          <Button icon="again" disabled={isBusy} onClick={() => void retry({ all: true })}>
            Try all again
          </Button>
        </div>
      )}
      <ul className="jobs">
        {jobs.map((job) => (
          <li key={`${job.stage} ${job.key}`} className="job">
            <div className="job-head">
              <Badge tone="bad">{job.stage}</Badge>
              {job.captureId && (
                <Link href={`/captures/${job.captureId}`} className="mono">
                  {shortHash(job.captureId)}
                </Link>
              )}
              <span className="faint">{plural(job.attempts, 'attempt')}</span>
              <Time iso={job.updatedAt} />
              <Button icon="again" disabled={isBusy} onClick={() => void retry({ stage: job.stage, key: job.key })}>
                Try again
              </Button>
            </div>
            <p className="job-error">{job.error ?? 'No reason was recorded.'}</p>
            <p className="sub mono job-key">{job.key}</p>
          </li>
        ))}
      </ul>
    </>
  )
}
