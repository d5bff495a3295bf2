/** The process that searches (process.ts): opened by the first message, answers those that follow, ends with its parent. */

import PQueue from 'p-queue'
import { loadRules } from '../../stages/upload/rules.ts'
import { PipelineError } from '../../state/errors.ts'
import { openLedger } from '../../state/ledger.ts'
import { openDataset } from '../query/dataset.ts'
import { createSearchEngine, type SearchEngine } from './engine.ts'
import type { Failure, FromChild, SearchProcessOptions, ToChild } from './process.ts'

/** Statements side by side share DuckDB's threads: a few keep short ones from waiting behind a long one. */
const AT_ONCE = 4

const queue = new PQueue({ concurrency: AT_ONCE })
const running = new Map<number, AbortController>()
let engine: Promise<{ search: SearchEngine; close(): Promise<void> }> | undefined

process.once('disconnect', () => void end())
// The terminal's Ctrl-C reaches this process too; its parent decides when it ends.
process.on('SIGINT', () => {})
process.on('message', (message: ToChild) => {
  if ('open' in message) engine = open(message.open)
  else if ('cancel' in message) running.get(message.cancel)?.abort()
  else void answer(message)
})

async function open({ dataset: options, layout, rules, timeoutMs }: SearchProcessOptions) {
  const dataset = await openDataset(options)
  const ledger = openLedger(layout.ledger)
  const search = createSearchEngine({ dataset, ledger, layout, rules: await loadRules(rules), timeoutMs })
  return {
    search,
    async close() {
      await dataset.close()
      ledger.close()
    },
  }
}

async function answer({ id, name, request }: Extract<ToChild, { name: unknown }>): Promise<void> {
  const cancelled = new AbortController()
  running.set(id, cancelled)
  try {
    const opened = await engine
    if (opened === undefined) throw new PipelineError('query_failed', 'the search was not opened')
    const result = await queue.add(() => opened.search.answer(name, request as never, cancelled.signal))
    reply({ id, answer: result })
  } catch (error) {
    reply({ id, failure: failureOf(error) })
  } finally {
    running.delete(id)
  }
}

function reply(message: FromChild): void {
  if (process.connected) process.send?.(message)
}

function failureOf(error: unknown): Failure {
  const known = error instanceof PipelineError ? error : new PipelineError('query_failed', String(error))
  const { code, message, retryable, details } = known
  return { code, message, retryable, details }
}

/** Not before DuckDB has let go, else not at all gracefully: a function that does not obey must not keep it. */
async function end(): Promise<void> {
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), 1500).unref()
  for (const controller of running.values()) controller.abort()
  await (await engine?.catch(() => undefined))?.close()
  process.exit(0)
}
