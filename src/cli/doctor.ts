/** `doctor`: what is wrong with this host, in plain words, and what to do about it. */

import { messageOf, PipelineError } from '../../state/errors.ts'
import { type Config, loadConfig } from '../config.ts'
import { countBy } from '../count-by.ts'
import { type Examined, examine, examineWithoutSettings, worst } from '../doctor/doctor.ts'
import { openHost } from '../doctor/host.ts'
import { layoutFrom } from '../parts.ts'
import { filesNamed } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { printable } from './text.ts'

export interface DoctorOptions {
  deep: boolean
  json: boolean
  now?: () => number
}

export async function doctor({ deep, json, now }: DoctorOptions): Promise<number> {
  const write = (text: string) => void process.stdout.write(`${text}\n`)
  const say = json ? () => {} : (found: Examined) => write(textOf(found))
  const findings = await find(say)
  const verdict = worst(findings)
  if (json) write(JSON.stringify({ verdict, findings }, null, 2))
  else write(`\n${summary(findings)}`)
  return verdict === 'error' ? EXIT.unwell : EXIT.ok

  async function find(onFound: (found: Examined) => void): Promise<Examined[]> {
    let config: Config
    try {
      config = loadConfig(filesNamed())
    } catch (thrown) {
      if (!(thrown instanceof PipelineError)) return await examineWithoutSettings(new Error(messageOf(thrown)), onFound)
      return await examineWithoutSettings(thrown, onFound)
    }
    using host = openHost({ config, layout: layoutFrom(config), deep, now })
    return await examine(host, onFound)
  }
}

const SIGNS = { ok: 'ok     ', warning: 'WARNING', error: 'ERROR  ' }
const INDENT = ' '.repeat(24)

function textOf({ check, verdict, text, todo }: Examined): string {
  const line = `${SIGNS[verdict]}  ${check.padEnd(13)}  ${printable(text)}`
  return todo === undefined ? line : `${line}\n${INDENT}→ ${printable(todo)}`
}

function summary(findings: readonly Examined[]): string {
  const { error = 0, warning = 0 } = countBy(findings.map(({ verdict }) => verdict))
  if (error + warning === 0) return 'Nothing is wrong.'
  const n = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`
  return [error > 0 ? n(error, 'error') : '', warning > 0 ? n(warning, 'warning') : ''].filter(Boolean).join(', ')
}
