/**
 * Where settings come from: the environment, `.env` and the file of `--config` in, each winning over the next; one
 * text and its source for each setting out.
 */

import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { parse } from 'dotenv'
import { errnoOf, messageOf } from '../../state/errors.ts'
import { readConfigFile } from './config-file.ts'
import { isMisspelt, nearestName } from './names.ts'
import { type SettingName, settingNames } from './settings.ts'

export type Source = 'default' | '--config' | '.env' | 'environment'
/** `at` is the place in the file of `--config`. */
export type Texts = Partial<Record<SettingName, { text: string; source: Source; at?: string }>>

export interface Gathered {
  texts: Texts
  problems: string[]
  warnings: string[]
}

interface Options {
  env: Record<string, string | undefined>
  envFile: string
  /** Whether the file was asked for by name and so has to be there. */
  required: boolean
  configFile?: string
}

const known = new Set<string>(settingNames)
const ENTRY = /^\s*(?:export\s+)?[\w.-]+\s*[=:]/
const COMMENT_OR_BLANK = /^\s*(#|$)/

/** An empty text is no setting: the next source decides. */
export function gatherTexts({ env, envFile, required, configFile }: Options): Gathered {
  const file = readEnvFile(envFile, required)
  const config = configFile === undefined ? undefined : readConfigFile(configFile)
  const texts: Texts = {}
  for (const name of settingNames) {
    const fromFile = file.values[name]?.trim()
    const fromEnv = env[name]?.trim()
    if (fromEnv) texts[name] = { text: fromEnv, source: 'environment' }
    else if (fromFile) texts[name] = { text: fromFile, source: '.env' }
    else if (config?.texts[name]?.text.trim()) texts[name] = { ...config.texts[name], source: '--config' }
  }
  const inFile = Object.keys(file.values).filter((name) => !known.has(name))
  const inEnv = Object.keys(env).filter((name) => !known.has(name) && isMisspelt(name, settingNames))
  const unknown = [
    ...inFile.map((name) => unknownName(name, basename(envFile))),
    ...inEnv.map((name) => unknownName(name, 'the environment')),
  ]
  return {
    texts,
    problems: [...file.problems, ...(config?.problems ?? []), ...unknown],
    warnings: config?.warnings ?? [],
  }
}

function unknownName(name: string, place: string): string {
  const meant = nearestName(name, settingNames)
  return `${name} in ${place} is not a setting${meant ? `; did you mean ${meant}?` : '; docs/settings.md lists all'}`
}

function readEnvFile(path: string, required: boolean): { values: Record<string, string>; problems: string[] } {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const isAbsent = errnoOf(error) === 'ENOENT' && !required
    return { values: {}, problems: isAbsent ? [] : [`${path} cannot be read: ${messageOf(error)}`] }
  }
  return { values: parse(text), problems: strayLines(text).map((line) => strayLine(path, line)) }
}

/** dotenv passes over what it does not understand; a setting lost that way would go unnoticed. */
function strayLines(text: string): number[] {
  const lines = text.split(/\r\n|\n|\r/)
  if (lines.some(opensSeveralLines)) return []
  return lines.flatMap((line, i) => (ENTRY.test(line) || COMMENT_OR_BLANK.test(line) ? [] : [i + 1]))
}

/** A quoted value may run over lines, which then look like anything. */
function opensSeveralLines(line: string): boolean {
  const quote = /^[^=:]*[=:]\s*(["'`])/.exec(line)?.[1]
  return quote !== undefined && line.split(quote).length === 2
}

function strayLine(path: string, line: number): string {
  return `line ${line} of ${basename(path)} is not understood; write NAME=value`
}
