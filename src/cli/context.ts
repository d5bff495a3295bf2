/** What every command gets: settings, a log on stderr, and the pipeline's parts when it asks for them. */

import type { Log } from '../../stages/ports.ts'
import { type Config, type ConfigOptions, loadConfig, serviceEnvironment } from '../config.ts'
import { isJournal } from '../log/journal.ts'
import { openLog } from '../log.ts'
import { openParts, type Parts } from '../parts.ts'

export interface Context extends AsyncDisposable {
  config: Config
  log: Log
  parts(): Parts
  /** The answer: the only thing that goes to stdout. */
  print(text: string): void
  /** For people who watch; goes to stderr, but not into the journal, which nobody watches. */
  tell(text: string): void
}

export interface ContextOptions {
  /** The service logs to its console, since that is the journal; commands keep it for their messages. */
  console?: 'stdout' | 'stderr' | 'none'
  /** A command that only reads leaves no trace in the data directory, not even a log file. */
  stateless?: boolean
}

let files: Pick<ConfigOptions, 'configFile' | 'envFile'> = {}

/** Those of `--config` and `--settings`: said once, before the command that is run. */
export function useFiles(named: typeof files): void {
  files = named
}

/** For what reads the settings itself. */
export function filesNamed(): typeof files {
  return files
}

export function openContext({ console = 'none', stateless = false }: ContextOptions = {}): Context {
  const config = loadConfig(files)
  const log = openLog(stateless ? { ...config.log, file: undefined } : config.log, { console })
  let parts: Parts | undefined
  return {
    config,
    log,
    parts() {
      parts ??= openParts(config, log)
      return parts
    },
    print: (text) => void process.stdout.write(`${text}\n`),
    tell(text) {
      if (!isJournal(process.stderr.fd, serviceEnvironment().journalStream)) process.stderr.write(`${text}\n`)
    },
    async [Symbol.asyncDispose]() {
      await parts?.[Symbol.asyncDispose]()
      await log.close()
    },
  }
}
