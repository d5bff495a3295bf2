/** Settings that can be read and are not meant: files that they name, secrets that all may read, open doors. */

import { access, constants, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { loadRules } from '../../../stages/upload/rules.ts'
import { messageOf } from '../../../state/errors.ts'
import { type Check, error, type Finding, ok, warning } from '../check.ts'
import type { Host } from '../host.ts'

const SECRET = /^(HTTP_TOKEN|.*_PASSWORD|.*_API_KEY)$/

export const settings: Check<Host> = {
  name: 'settings',
  async look({ config }) {
    const findings = [
      ...config.warnings.map((text) =>
        warning(text, 'change it in .env or the environment; `config` shows all settings'),
      ),
      ...(await rulesFindings(config)),
      ...(await fileFindings(config)),
      ...(await secretFindings(config)),
      ...flushFindings(config),
    ]
    const changed = config.settings.filter(({ source }) => source !== 'default').length
    return findings.length > 0 ? findings : [ok(`${changed} of ${config.settings.length} are set, and can be used`)]
  },
}

async function rulesFindings({ rules }: Host['config']): Promise<Finding[]> {
  try {
    await loadRules(rules)
    return []
  } catch (thrown) {
    return [error(messageOf(thrown), 'correct the file that NORMALIZATION_FILE or SCHEMA_FILE names, or unset it')]
  }
}

async function fileFindings({ bus, elasticsearch }: Host['config']): Promise<Finding[]> {
  const files = {
    KAFKA_TLS_CA: bus.tls?.caFile,
    KAFKA_TLS_CERT: bus.tls?.certFile,
    KAFKA_TLS_KEY: bus.tls?.keyFile,
    ELASTICSEARCH_CA: elasticsearch.connection.caFile,
  }
  const findings: Finding[] = []
  for (const [name, file] of Object.entries(files)) {
    if (file === undefined) continue
    const problem = await access(file, constants.R_OK).then(
      () => undefined,
      (thrown) => messageOf(thrown),
    )
    if (problem !== undefined)
      findings.push(error(`${name} cannot be read: ${problem}`, 'name a file that this user may read'))
  }
  return findings
}

async function secretFindings({ settings: all }: Host['config']): Promise<Finding[]> {
  const secrets = all.filter(({ name, source, value }) => source === '.env' && SECRET.test(name) && value !== '')
  const file = resolve('.env')
  const mode = (await stat(file).catch(() => undefined))?.mode ?? 0
  if (secrets.length === 0 || (mode & 0o004) === 0) return []
  return [warning(`everybody on this host may read ${file}, which holds ${secrets[0]?.name}`, `chmod 600 ${file}`)]
}

function flushFindings({ upload: { flush } }: Host['config']): Finding[] {
  if (flush.bufferBytes > 0 || flush.intervalMs > 0 || flush.events > 0) return []
  return [
    warning(
      'FLUSH_BUFFER_MB, FLUSH_INTERVAL_SECONDS and FLUSH_EVENT_COUNT are all 0: rows are written only when nothing more comes',
      'set one of them',
    ),
  ]
}
