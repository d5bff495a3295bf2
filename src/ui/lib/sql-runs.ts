/** A query on the server: started, followed while it runs, its rows fetched as they are wanted. */

import { useCallback, useEffect, useRef, useState } from 'react'
import type { SqlRun } from '../../api/contract.ts'
import { ApiError, ask, messageOf } from './api.ts'

export interface Running {
  run: SqlRun | undefined
  rows: readonly (readonly unknown[])[]
  /** It could not be started, or is not kept any more. */
  error: string | undefined
  isGone: boolean
  isRunning: boolean
  start(sql: string): Promise<string | undefined>
  cancel(): void
  more(): void
}

const PAGE = 500
const MOST_ROWS = 100_000
const WAIT_MS = 2000
const LOOK_MS = 600

/** `id` of the address bar: an earlier run, which may be gone. */
export function useSqlRun(id: string | null): Running {
  const [run, setRun] = useState<SqlRun>()
  const [rows, setRows] = useState<unknown[][]>([])
  const [error, setError] = useState<string>()
  const [isGone, setGone] = useState(false)
  const [isStarting, setStarting] = useState(false)
  const current = useRef<string | null>(null)
  const isFetching = useRef(false)

  const fetchRows = useCallback(async (own: string, offset: number, waitMs: number) => {
    const answer = await ask('GET /api/sql/runs/:id/rows', {
      params: { id: own },
      query: { offset, limit: PAGE, waitMs },
    })
    if (current.current !== own) return undefined
    setRun(answer.run)
    setRows((old) => (old.length === offset ? [...old, ...answer.rows] : old))
    return answer
  }, [])

  /** Until it has ended; once its first page is there, only how it goes on is asked for. */
  const follow = useCallback(
    async (own: string) => {
      let known = 0
      try {
        for (;;) {
          if (known >= PAGE) await pause(LOOK_MS)
          const run = known >= PAGE ? await lookAt(own) : await firstRows()
          if (run?.state !== 'running') return
        }
      } catch (reason) {
        if (current.current !== own) return
        if (reason instanceof ApiError && reason.status === 404) setGone(true)
        else setError(messageOf(reason))
      }

      async function firstRows(): Promise<SqlRun | undefined> {
        const answer = await fetchRows(own, known, WAIT_MS)
        known += answer?.rows.length ?? 0
        return answer?.run
      }

      async function lookAt(id: string): Promise<SqlRun | undefined> {
        const next = await ask('GET /api/sql/runs/:id', { params: { id } })
        if (current.current !== id) return undefined
        setRun(next)
        return next
      }
    },
    [fetchRows],
  )

  useEffect(() => {
    if (id === current.current) return
    current.current = id
    setRun(undefined)
    setRows([])
    setError(undefined)
    setGone(false)
    if (id !== null) void follow(id)
  }, [id, follow])

  const start = async (sql: string): Promise<string | undefined> => {
    setStarting(true)
    setError(undefined)
    setGone(false)
    try {
      const begun = await ask('POST /api/sql/runs', { body: { sql } })
      const before = run
      if (before?.state === 'running')
        void ask('DELETE /api/sql/runs/:id', { params: { id: before.id } }).catch(() => undefined)
      current.current = begun.id
      setRun(begun)
      setRows([])
      void follow(begun.id)
      return begun.id
    } catch (reason) {
      setError(messageOf(reason))
      return undefined
    } finally {
      setStarting(false)
    }
  }

  const cancel = () => {
    if (!run) return
    current.current = null
    setRun({ ...run, state: 'cancelled' })
    void ask('DELETE /api/sql/runs/:id', { params: { id: run.id } }).catch(() => undefined)
  }

  const more = () => {
    if (!run || isFetching.current || rows.length >= Math.min(run.rows, MOST_ROWS) || current.current !== run.id) return
    isFetching.current = true
    void fetchRows(run.id, rows.length, 0)
      .catch((reason: unknown) => setError(messageOf(reason)))
      .finally(() => {
        isFetching.current = false
      })
  }

  return { run, rows, error, isGone, isRunning: isStarting || run?.state === 'running', start, cancel, more }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
