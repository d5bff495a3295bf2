/** The entry: runs one command, says in one line what went wrong, and ends with a code that tells how. */

import { messageOf, PipelineError } from '../state/errors.ts'
import { EXIT } from './cli/exit-codes.ts'
import { runProgram } from './cli/program.ts'
import { printable } from './cli/text.ts'
import { serviceEnvironment } from './config.ts'
import { isJournal, prioritized } from './log/journal.ts'

function exitCodeOf(error: unknown): number {
  if (!(error instanceof PipelineError)) return EXIT.failed
  if (error.code === 'usage' || error.code === 'config_invalid' || error.code === 'rules_invalid') return EXIT.usage
  if (error.code === 'query_refused' || error.code === 'query_failed') return EXIT.query
  return EXIT.failed
}

function complain(error: unknown): void {
  const foreseen = error instanceof PipelineError
  const text = foreseen
    ? error.message
    : `unexpected error (a bug; please report it): ${error instanceof Error ? error.stack : messageOf(error)}`
  const said = `pcap-pipeline: ${text.split('\n').map(printable).join('\n')}`
  const { journalStream } = serviceEnvironment()
  process.stderr.write(`${isJournal(process.stderr.fd, journalStream) ? prioritized('error', said) : said}\n`)
}

// Small buffers are slices of a shared block, and one that lives long keeps its whole block alive: with Node's
// blocks of 64 KiB, flows that wait for a few bytes cost gigabytes.
Buffer.poolSize = 1024

// A reader that goes away (`| head`) is no error. The service goes on: its log is in the file as well.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

try {
  process.exitCode = await runProgram(process.argv.slice(2))
} catch (error) {
  complain(error)
  process.exitCode = exitCodeOf(error)
}
