/**
 * Puts the templates, and the lifecycle policy where the server has such, into the cluster.
 *
 * Safe to repeat: what is there in the same form is left. A template that is not ours, or of a newer version, is never
 * written over; it is told. `<prefix>-custom` is made once, empty, for the user to fill.
 */

import type { Client } from '@elastic/elasticsearch'
import type { Rules } from '../../../stages/upload/rules.ts'
import { PipelineError } from '../../../state/errors.ts'
import { isFromServer, serverDown, shortReason, statusOf } from './client.ts'
import {
  customName,
  type Json,
  MANAGED_BY,
  TEMPLATE_VERSION,
  type TemplateBody,
  type TemplateOptions,
  templatesOf,
} from './templates.ts'

export interface SetupOptions extends Omit<TemplateOptions, 'lifecycle'> {
  /** 0: events are kept. */
  retentionDays: number
}

export interface SetupResult {
  written: string[]
  unchanged: number
  /** Left alone, each with why. */
  kept: string[]
  hasLifecycles: boolean
}

/** The server makes one change of its state of all that wait for it. */
const AT_ONCE = 8

export const policyName = (prefix: string) => `${prefix}-retention`

/** Throws `sink_down` when the server does not answer, or refuses. */
export async function setUp(client: Client, rules: Rules, options: SetupOptions): Promise<SetupResult> {
  try {
    return await install(client, rules, options)
  } catch (error) {
    if (!isFromServer(error)) throw error
    const status = statusOf(error)
    if (status === undefined || status >= 401) throw serverDown(error)
    throw new PipelineError('sink_down', `Elasticsearch takes our templates not: ${shortReason(error)}`, {
      retryable: true,
      cause: error,
    })
  }
}

async function install(client: Client, rules: Rules, options: SetupOptions): Promise<SetupResult> {
  const { prefix, retentionDays } = options
  const result: SetupResult = { written: [], unchanged: 0, kept: [], hasLifecycles: await hasLifecycles(client) }
  const lifecycle = result.hasLifecycles && retentionDays > 0 ? policyName(prefix) : undefined
  if (lifecycle !== undefined) await putPolicy(client, lifecycle, retentionDays, result)
  const templates = templatesOf(rules, { ...options, lifecycle })

  const components = await existing(
    client.cluster.getComponentTemplate({ name: `${prefix}-*` }, { ignore: [404] }),
    ({ component_templates = [] }) =>
      component_templates.map(({ name, component_template }: Json) => [name, component_template]),
  )
  if (!components.has(customName(prefix))) {
    await client.cluster.putComponentTemplate({ name: customName(prefix), template: {}, create: true } as never)
    result.written.push(customName(prefix))
  }
  for (const [name, body] of Object.entries(templates.components)) {
    if (!isDue(name, body, components.get(name), result)) continue
    await client.cluster.putComponentTemplate({ name, ...body } as never)
    result.written.push(name)
  }

  const indices = await existing(
    client.indices.getIndexTemplate({ name: `${prefix}-*` }, { ignore: [404] }),
    ({ index_templates = [] }) => index_templates.map(({ name, index_template }: Json) => [name, index_template]),
  )
  const due = Object.entries(templates.indices).filter(([name, body]) => isDue(name, body, indices.get(name), result))
  const queue = due[Symbol.iterator]()
  async function work(): Promise<void> {
    for (const [name, body] of queue) {
      await client.indices.putIndexTemplate({ name, ...body } as never)
      // Only where ours was there before can there be indices that lack a field.
      if (indices.has(name)) await extendIndices(client, body)
      result.written.push(name)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return result
}

async function existing(
  answer: Promise<unknown>,
  entries: (found: Json) => [string, Json][],
): Promise<Map<string, Json>> {
  return new Map(entries((await answer) as Json))
}

function isDue(name: string, { _meta }: TemplateBody, found: Json | undefined, result: SetupResult): boolean {
  if (found === undefined) return true
  if (found._meta?.managed_by !== MANAGED_BY) result.kept.push(`${name} is not ours`)
  else if (found.version > TEMPLATE_VERSION) result.kept.push(`${name} is of version ${found.version}, newer than ours`)
  else if (found._meta.digest === _meta.digest) result.unchanged++
  else return true
  return false
}

/** Indices that are there already get the fields that are new; what conflicts stays as it is until the next month. */
async function extendIndices(client: Client, { index_patterns, template }: TemplateBody): Promise<void> {
  const properties = template?.mappings?.properties
  if (properties === undefined) return
  try {
    await client.indices.putMapping({
      index: index_patterns,
      properties,
      allow_no_indices: true,
      ignore_unavailable: true,
    })
  } catch (error) {
    const status = statusOf(error)
    if (status !== 400 && status !== 404) throw error
  }
}

/** The server is asked, since builds and licences differ. */
async function hasLifecycles(client: Client): Promise<boolean> {
  try {
    const { operation_mode } = await client.ilm.getStatus()
    return operation_mode !== undefined
  } catch (error) {
    const status = statusOf(error)
    if (status !== undefined && status !== 429 && status < 502) return false
    throw error
  }
}

/** An index lives a month while it is written to; the policy counts from its making. */
const MONTH_DAYS = 31

async function putPolicy(client: Client, name: string, retentionDays: number, result: SetupResult): Promise<void> {
  const policy = {
    _meta: { managed_by: MANAGED_BY },
    phases: { hot: { actions: {} }, delete: { min_age: `${retentionDays + MONTH_DAYS}d`, actions: { delete: {} } } },
  }
  const found = ((await client.ilm.getLifecycle({ name }, { ignore: [404] })) as Json)[name]?.policy as Json | undefined
  if (found !== undefined && found._meta?.managed_by !== MANAGED_BY) {
    result.kept.push(`${name} is not ours`)
    return
  }
  if (found?.phases?.delete?.min_age === policy.phases.delete.min_age) {
    result.unchanged++
    return
  }
  await client.ilm.putLifecycle({ name, policy } as never)
  result.written.push(name)
}

export function setupText({ written, unchanged, kept, hasLifecycles: lifecycles }: SetupResult): string {
  const parts = [
    `${written.length} written`,
    `${unchanged} unchanged`,
    lifecycles ? 'lifecycles by the server' : 'old indices are deleted by the pipeline',
  ]
  return [parts.join(', '), ...kept.map((why) => `left alone: ${why}`)].join('\n')
}
