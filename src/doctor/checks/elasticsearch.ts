/** Elasticsearch, where one is set: whether it answers, in which version, what this user may do there, the templates. */

import type { Client } from '@elastic/elasticsearch'
import { messageOf } from '../../../state/errors.ts'
import { type Check, error, type Finding, ok, warning } from '../check.ts'
import type { Host } from '../host.ts'

const OLDEST = 8

export const elasticsearch: Check<Host> = {
  name: 'elasticsearch',
  async look({ config: { elasticsearch: options } }) {
    const { nodes } = options.connection
    if (nodes.length === 0) return [ok('none is set')]
    const where = nodes.map((node) => node.replace(/\/\/\S*@/, '//***@')).join(', ')
    const { openClient, shortReason, statusOf } = await import('../../sinks/elasticsearch/client.ts')
    let client: Client | undefined
    try {
      client = await openClient(options.connection)
      return await lookAt(client, options.prefix, await versionOf(client), where)
    } catch (thrown) {
      const status = statusOf(thrown)
      if (status === 401 || status === 403)
        return [
          error(
            `${where} refuses the credentials: ${shortReason(thrown)}`,
            'correct ELASTICSEARCH_API_KEY, or _USERNAME and _PASSWORD',
          ),
        ]
      return [
        error(
          `${where} does not answer as Elasticsearch does: ${shortReason(thrown)}`,
          'start it, or correct ELASTICSEARCH_NODE and ELASTICSEARCH_CA; until then batches wait on the disk',
        ),
      ]
    } finally {
      await client?.close()
    }
  },
}

/** Builds without the greeting at `/` tell it of their nodes. */
async function versionOf(client: Client): Promise<string> {
  try {
    return (await client.info()).version.number
  } catch (thrown) {
    const status = (thrown as { statusCode?: number }).statusCode
    if (status !== 404 && status !== 405) throw thrown
    const { nodes } = await client.nodes.info({ node_id: '_local', metric: 'os' })
    return Object.values(nodes)[0]?.version ?? ''
  }
}

async function lookAt(client: Client, prefix: string, version: string, where: string): Promise<Finding[]> {
  if (Number(version.split('.')[0]) < OLDEST)
    return [error(`${where} is version ${version}`, `version ${OLDEST} or newer is needed`)]
  const findings = [
    ...(await privileges(client, prefix)),
    ...(await templates(client, prefix)),
    ...(await health(client)),
  ]
  return findings.length > 0
    ? findings
    : [ok(`${where} is version ${version}; this user may create indices, and the templates are there`)]
}

/** Where the cluster knows no users, everybody may all. */
async function privileges(client: Client, prefix: string): Promise<Finding[]> {
  try {
    const answer = await client.security.hasPrivileges({
      cluster: ['manage_index_templates', 'monitor'],
      index: [{ names: [`${prefix}-*`], privileges: ['create_index', 'index', 'read', 'view_index_metadata'] }],
    })
    if (answer.has_all_requested) return []
    const lacking = [
      ...Object.entries(answer.cluster),
      ...Object.entries(Object.values(answer.index)[0] ?? {}),
    ].flatMap(([name, may]) => (may ? [] : [name]))
    return [
      error(
        `this user may not ${lacking.join(', ')} on ${prefix}-*`,
        'give the user, or the API key, these rights (docs/elasticsearch.md)',
      ),
    ]
  } catch (thrown) {
    const status = (thrown as { statusCode?: number }).statusCode
    if (status !== undefined && status < 500 && status !== 401) return []
    throw thrown
  }
}

async function templates(client: Client, prefix: string): Promise<Finding[]> {
  const { MANAGED_BY, TEMPLATE_VERSION } = await import('../../sinks/elasticsearch/templates.ts')
  const answer = await client.indices.getIndexTemplate({ name: `${prefix}-*` }, { ignore: [404] })
  const ours = (answer.index_templates ?? []).filter(({ index_template: t }) => t._meta?.managed_by === MANAGED_BY)
  if (ours.length === 0)
    return [
      warning(
        `the templates of ${prefix}-* are not there`,
        '`elasticsearch setup` installs them; so does the first batch',
      ),
    ]
  const newer = ours.filter(({ index_template: { version = 0 } }) => version > TEMPLATE_VERSION)
  if (newer.length > 0)
    return [
      warning(
        `${newer.length} templates of ${prefix}-* are of a newer version than this one`,
        'use that version here as well',
      ),
    ]
  return []
}

async function health(client: Client): Promise<Finding[]> {
  try {
    const { status } = await client.cluster.health()
    if (status.toLowerCase() !== 'red') return []
    return [
      error('the cluster is red: some of its indices cannot be written', 'see GET _cluster/allocation/explain on it'),
    ]
  } catch (thrown) {
    return [
      warning(
        `the cluster's health is not told: ${messageOf(thrown).slice(0, 200)}`,
        'give the user the right to monitor',
      ),
    ]
  }
}
