/**
 * The log: events in, lines on the console and in the log file out.
 *
 * A line is in the file when the call returns; the console may still have it in its queue. Neither a full disk nor a console that went away ends
 * the program: the other goes on, and says once what is wrong.
 */

import { Writable } from 'node:stream'
import { createLogger, format, transports } from 'winston'
import type { Log, LogValues } from '../stages/ports.ts'
import { type Config, type ServiceEnvironment, serviceEnvironment } from './config.ts'
import { openLogFile } from './log/file.ts'
import { isJournal, journalRecord, prioritized } from './log/journal.ts'
import { bareLine, jsonLine, type LogEvent, textLine } from './log/line.ts'
import { openDatagrams } from './service/datagrams.ts'

type Level = 'debug' | 'info' | 'warn' | 'error'

export interface LogOptions {
  console: 'stdout' | 'stderr' | 'none'
  /** Where systemd has started this process; default: what the environment tells. */
  service?: ServiceEnvironment
}

export interface OpenLog extends Log, AsyncDisposable {
  /** Later events go nowhere. Resolves when the console has taken the lines of earlier ones. */
  close(): Promise<void>
}

export function openLog(config: Config['log'], { console, service = serviceEnvironment() }: LogOptions): OpenLog {
  const toLine = config.format === 'json' ? jsonLine : textLine
  const screen = openConsole(console, config.format, service)
  const file = config.file === undefined ? undefined : openFile(config.file)
  const sinks: ((event: LogEvent) => void)[] = []
  if (screen) sinks.push((event) => screen.append(event))
  if (file) sinks.push((event) => file.append(toLine(event)))
  const logger = createLogger({
    level: config.level,
    // As it is: each console and file makes its own text of it.
    format: format((info) => info)(),
    transports: sinks.map((append) => new transports.Stream({ stream: eventStream(append) })),
    // Without a transport winston complains on stderr.
    silent: sinks.length === 0,
  })
  let isClosed = false

  function bind(bound: LogValues): Log {
    const at = (level: Level) => (message: string, values?: LogValues) => {
      if (!isClosed) logger.log({ level, message, values: { ...bound, ...values } })
    }
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (values) => bind({ ...bound, ...values }),
    }
  }

  /** What is wrong with the file cannot be said in the file. */
  function openFile(path: string) {
    const say = (level: Level, message: string, values: LogValues) => {
      const event = { time: new Date(), level, message, values: { component: 'log', ...values } }
      if (screen) screen.append(event)
      else process.stderr.write(`${toLine(event)}\n`)
    }
    return openLogFile({
      ...config,
      path,
      onTrouble: (reason) =>
        say('warn', 'the log file cannot be written; its lines are lost until it can', { path, reason }),
      onRecovery: (linesLost) => say('info', 'the log file is written again', { path, linesLost }),
    })
  }

  async function close(): Promise<void> {
    if (isClosed) return
    isClosed = true
    logger.close()
    file?.close()
    await screen?.close()
  }

  return { ...bind({}), close, [Symbol.asyncDispose]: close }
}

interface Screen {
  append(event: LogEvent): void
  close(): Promise<void>
}

/** A console whose reader went away (`| head`) takes no more lines; that is its end, not the program's. */
function openConsole(
  name: LogOptions['console'],
  logFormat: Config['log']['format'],
  { journalStream, journalFd }: ServiceEnvironment,
): Screen | undefined {
  if (name === 'none') return undefined
  const stream = process[name]
  const isOfJournal = isJournal(stream.fd, journalStream)
  const toLine = logFormat === 'json' ? jsonLine : isOfJournal ? bareLine : textLine
  const send = isOfJournal ? openDatagrams(journalFd) : undefined
  let isGone = false
  const onError = () => {
    isGone = true
  }
  stream.on('error', onError)
  return {
    append(event) {
      const line = toLine(event)
      if (isGone || send?.(journalRecord(event, line))) return
      stream.write(`${isOfJournal ? prioritized(event.level, line) : line}\n`)
    },
    async close() {
      if (!isGone) await new Promise<void>((resolve) => stream.write('', () => resolve()))
      // The error of a write is told after the write's own answer.
      setImmediate(() => stream.off('error', onError))
    },
  }
}

/** Takes an event at once, so that nothing waits in a queue when the process ends. */
function eventStream(append: (event: LogEvent) => void): Writable {
  return new Writable({
    objectMode: true,
    write({ level, message, values }, _encoding, done) {
      append({ time: new Date(), level, message: String(message), values })
      done()
    },
  })
}
