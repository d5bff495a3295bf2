/**
 * The log: events in, lines on the console and in the log file out.
 *
 * A line is in the file when the call returns; the console may still have it in its queue. Neither a full disk nor a console that went away ends
 * the program: the other goes on, and says once what is wrong.
 */

import { Writable } from 'node:stream'
import { createLogger, format, transports } from 'winston'
import type { Log, LogValues } from '../stages/ports.ts'
import type { Config } from './config.ts'
import { openLogFile } from './log/file.ts'
import { jsonLine, textLine } from './log/line.ts'

type Level = 'debug' | 'info' | 'warn' | 'error'

export interface LogOptions {
  console: 'stdout' | 'stderr' | 'none'
}

export interface OpenLog extends Log, AsyncDisposable {
  /** Later events go nowhere. Resolves when the console has taken the lines of earlier ones. */
  close(): Promise<void>
}

export function openLog(config: Config['log'], { console }: LogOptions): OpenLog {
  const toLine = config.format === 'json' ? jsonLine : textLine
  const screen = openConsole(console)
  const file = config.file === undefined ? undefined : openFile(config.file)
  const sinks = [screen?.append, file?.append].filter((append) => append !== undefined)
  const logger = createLogger({
    level: config.level,
    format: format.printf(({ level, message, values }) =>
      toLine({ time: new Date(), level, message: String(message), values: values as LogValues }),
    ),
    transports: sinks.map((append) => new transports.Stream({ stream: lineStream(append), eol: '' })),
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
      const line = toLine({ time: new Date(), level, message, values: { component: 'log', ...values } })
      if (screen) screen.append(line)
      else process.stderr.write(`${line}\n`)
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
  append(line: string): void
  close(): Promise<void>
}

/** A console whose reader went away (`| head`) takes no more lines; that is its end, not the program's. */
function openConsole(name: LogOptions['console']): Screen | undefined {
  if (name === 'none') return undefined
  const stream = process[name]
  let isGone = false
  const onError = () => {
    isGone = true
  }
  stream.on('error', onError)
  return {
    append(line) {
      if (!isGone) stream.write(`${line}\n`)
    },
    async close() {
      if (!isGone) await new Promise<void>((resolve) => stream.write('', () => resolve()))
      // The error of a write is told after the write's own answer.
      setImmediate(() => stream.off('error', onError))
    },
  }
}

/** Takes a line at once, so that nothing waits in a queue when the process ends. */
function lineStream(append: (line: string) => void): Writable {
  return new Writable({
    decodeStrings: false,
    write(line: string, _encoding, done) {
      append(line)
      done()
    },
  })
}
