/** The kinds of setting: how each reads its text, and in words what it allows. */

import { parseNetwork } from '../../stages/upload/rules/address.ts'
import { parseClockOffset } from '../clock-offset.ts'

export interface Kind<T> {
  /** The value, or undefined when the text is none; the text is trimmed and not empty unless empty is the default. */
  parse: (text: string) => T | undefined
  /** Completes the sentence "NAME must be …". */
  allowed: string
}

export function wholeNumber(min: number, max: number): Kind<number> {
  return {
    allowed: `a whole number from ${min} to ${max}`,
    parse(text) {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
      return value >= min && value <= max ? value : undefined
    },
  }
}

export function oneOf<const T extends string>(...words: T[]): Kind<T> {
  return {
    allowed: `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`,
    parse: (text) => words.find((word) => word === text.toLowerCase()),
  }
}

const YES = ['true', 'yes', 'on', '1']
const NO = ['false', 'no', 'off', '0']

export const yesOrNo: Kind<boolean> = {
  allowed: 'true or false',
  parse(text) {
    const word = text.toLowerCase()
    return YES.includes(word) ? true : NO.includes(word) ? false : undefined
  },
}

/** A path or nothing; what is relative is taken from the working directory later. */
export const path: Kind<string> = {
  allowed: 'a path',
  parse: (text) => (text.includes('\0') ? undefined : text),
}

/** Kafka's own rule for the name of a topic. */
export const topic: Kind<string> = {
  allowed: 'a topic name: letters, digits, dot, dash and underscore, at most 249',
  parse: (text) => (/^[\w.-]{1,249}$/.test(text) && !/^\.\.?$/.test(text) ? text : undefined),
}

export const topics: Kind<string[]> = {
  allowed: `${topic.allowed}; several separated by commas`,
  parse(text) {
    const names = listOf(text, topic.parse)
    return names !== undefined && names.length > 0 && new Set(names).size === names.length ? names : undefined
  },
}

/** The longest that leaves room for the names behind it. */
export const topicPrefix: Kind<string> = {
  allowed: 'the beginning of topic names: letters, digits, dot, dash and underscore, at most 200',
  parse: (text) => (/^[\w.-]{1,200}$/.test(text) ? text : undefined),
}

/** What a broker or a log takes for a name, on one line. */
export const identifier: Kind<string> = {
  allowed: 'a name: letters, digits, dot, dash, colon and underscore, at most 249',
  parse: (text) => (/^[\w.:-]{1,249}$/.test(text) ? text : undefined),
}

export const anyText: Kind<string> = {
  allowed: 'a text of one line',
  parse: (text) => (/[\0\r\n]/.test(text) ? undefined : text),
}

/** Hidden files are no part of the dataset, and a path is none either. */
export const filePrefix: Kind<string> = {
  allowed: "the beginning of files' names: letters, digits, dash and underscore, at most 64",
  parse: (text) => (/^[A-Za-z0-9][\w-]{0,63}$/.test(text) ? text : undefined),
}

export const host: Kind<string> = {
  allowed: 'a host name or an IP address',
  parse: (text) => (/^[\w.:%-]{1,253}$/.test(text) ? text : undefined),
}

export const hosts: Kind<string[]> = {
  allowed: 'host names, separated by commas',
  parse: (text) => listOf(text, (item) => (/^[\w.-]{1,253}$/.test(item) ? item.toLowerCase() : undefined)),
}

export const brokers: Kind<string[]> = {
  allowed: 'host:port, several separated by commas',
  parse: (text) => listOf(text, (item) => (/^(\[[\da-f:]+\]|[\w.-]+):\d{1,5}$/i.test(item) ? item : undefined)),
}

/** Several nodes of one cluster. */
export const webAddresses: Kind<string[]> = {
  allowed: 'a URL that starts with http:// or https://, several separated by commas',
  parse: (text) => listOf(text, (item) => (/^https?:\/\//i.test(item) && URL.canParse(item) ? item : undefined)),
}

/** The beginning of the names of indices, by Elasticsearch's rules; a hyphen ends it. */
export const indexPrefix: Kind<string> = {
  allowed: 'lower-case letters and digits, "_" after the first, at most 40',
  parse: (text) => (/^[a-z0-9][a-z0-9_]{0,39}$/.test(text) ? text : undefined),
}

export const replicas: Kind<number | 'auto'> = {
  allowed: 'auto or a whole number from 0 to 10',
  parse: (text) => (text.toLowerCase() === 'auto' ? 'auto' : wholeNumber(0, 10).parse(text)),
}

export const networks: Kind<string[]> = {
  allowed: 'networks such as 10.0.0.0/8 or fd00::/8, separated by commas, or none',
  parse: (text) => (text.toLowerCase() === 'none' ? [] : listOf(text, (item) => (isNetwork(item) ? item : undefined))),
}

/** Source → microseconds. */
export const clockOffsets: Kind<ReadonlyMap<string, number>> = {
  allowed:
    'source=offset, several separated by commas; an offset has a sign and a unit (d, h, m, s, ms, us), as in sensor-a=+3600s,dmz=-1.5s',
  parse(text) {
    const pairs = listOf(text, (item) => {
      const [, source, offset = ''] = /^(.*\S)\s*=\s*(\S+)$/.exec(item) ?? []
      const us = parseClockOffset(offset)
      return source === undefined || us === undefined ? undefined : ([source, us] as const)
    })
    const offsets = new Map(pairs)
    return pairs !== undefined && offsets.size === pairs.length ? offsets : undefined
  },
}

function isNetwork(text: string): boolean {
  try {
    parseNetwork(text)
    return true
  } catch {
    return false
  }
}

function listOf<T>(text: string, parse: (item: string) => T | undefined): T[] | undefined {
  const items = text.split(',').flatMap((item) => item.trim() || [])
  const parsed = items.map(parse)
  return parsed.every((item) => item !== undefined) ? (parsed as T[]) : undefined
}
