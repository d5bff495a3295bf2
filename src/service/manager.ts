/**
 * What systemd is told of this process, where it has started it: that it is ready, that it stops, and, again and again,
 * that it is alive. Source of the words: sd_notify(3), sd_watchdog_enabled(3).
 *
 * Who says "alive" has looked: the sign of life is sent by the event loop, and only while nothing is found that stands
 * still. Once it stays away, systemd ends the process and starts another, which goes on where this one was.
 */

import type { Log } from '../../stages/ports.ts'
import type { ServiceEnvironment } from '../config.ts'
import { openDatagrams } from './datagrams.ts'

export interface ServiceManager {
  ready(status: string): void
  /** The stop may take this long, whatever the unit says. */
  stopping(limitMs: number): void
  /**
   * Sends signs of life from now on, while `standstill` finds nothing; what it throws is a finding too. Costs nothing
   * where nobody asked for them.
   */
  watch(standstill: () => string | undefined, log: Log): Disposable
}

/** Signs of life are sent four times within the time after which systemd misses them. */
const SIGNS = 4
/** For what follows the last work that is waited for: closing the ledger, the bus, the log. */
const STOP_SLACK_MS = 10_000

export function openServiceManager({ notifyFd, watchdogMs }: ServiceEnvironment): ServiceManager {
  const send = openDatagrams(notifyFd)
  return {
    ready(status) {
      send?.(`READY=1\nSTATUS=${oneLine(status)}\n`)
    },
    stopping(limitMs) {
      send?.(`STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=${(limitMs + STOP_SLACK_MS) * 1000}\n`)
    },
    watch(standstill, log) {
      if (send === undefined || watchdogMs === undefined) return { [Symbol.dispose]() {} }
      let said: string | undefined
      const look = () => {
        const found = findingOf(standstill)
        if (found === undefined) send('WATCHDOG=1\n')
        else if (found !== said) {
          log.error('this process stands still; systemd will start it again unless it moves', { why: found })
          send(`STATUS=${oneLine(found)}\n`)
        }
        said = found
      }
      look()
      const timer = setInterval(look, watchdogMs / SIGNS)
      return { [Symbol.dispose]: () => clearInterval(timer) }
    },
  }
}

function findingOf(standstill: () => string | undefined): string | undefined {
  try {
    return standstill()
  } catch (error) {
    return String(error)
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ')
}
