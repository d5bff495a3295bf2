/** The ledger: whether it is there, whole, of a version that this one knows, and this host's alone. */

import { existsSync, statSync } from 'node:fs'
import { versionOf } from '../../../state/database.ts'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import { migrations } from '../../../state/migrations.ts'
import { checkNotBeingReplaced } from '../../../state/replacement.ts'
import { bytesText } from '../../cli/text.ts'
import { listTypes } from '../../query/files.ts'
import { type Check, error, type Finding, ok, warning } from '../check.ts'
import type { Host } from '../host.ts'

const REMEDY = 'stop the pipeline, then `restore` a backup, or `rebuild` it from the dataset and the captures'
const LARGE_LOG = 1024 ** 3

export const ledger: Check<Host> = {
  name: 'ledger',
  async look(host) {
    const path = host.layout.ledger
    const replaced = replacement(path)
    if (replaced !== undefined) return [replaced]
    if (!existsSync(path)) return [await absent(host)]
    try {
      const db = host.ledger()
      if (db === undefined) return [await absent(host)]
      const problems = db.pragma(host.deep ? 'integrity_check(3)' : 'quick_check(3)') as Record<string, string>[]
      const told = problems.flatMap((row) => Object.values(row)).filter((text) => text !== 'ok')
      if (told.length > 0) return [error(`${path} is damaged: ${told.join('; ').replaceAll(/\s+/g, ' ')}`, REMEDY)]
      const version = versionOf(db)
      if (version > migrations.length) return [tooNew(path, version)]
      const older =
        version < migrations.length ? `, of schema ${version}: the next start migrates it and keeps a copy` : ''
      const size = bytesText(statSync(path).size)
      return [ok(`${size}, whole (${host.deep ? 'integrity_check' : 'quick_check'})${older}`), ...logFindings(path)]
    } catch (thrown) {
      return [unreadable(path, thrown)]
    }
  },
}

function replacement(path: string): Finding | undefined {
  try {
    checkNotBeingReplaced(path)
    return undefined
  } catch (thrown) {
    const isCutShort = messageOf(thrown).includes('cut short')
    const todo = isCutShort ? 'run `rebuild`, which finishes it' : 'wait until it has ended'
    return (isCutShort ? error : warning)(thrown instanceof PipelineError ? thrown.message : messageOf(thrown), todo)
  }
}

async function absent({ layout }: Host): Promise<Finding> {
  const types = await listTypes(layout.parquet).catch(() => [])
  if (types.length === 0) return ok('there is none yet; the first start makes it')
  return error(
    `there is no ledger ${layout.ledger}, but there is a dataset (${types.length} tables)`,
    'do not start the pipeline; `restore` a backup, or `rebuild` the ledger; or correct DATA_DIR and STATE_DIR',
  )
}

function tooNew(path: string, version: number): Finding {
  return error(
    `${path} was written by a newer version (schema ${version}, this version knows ${migrations.length})`,
    'start that version; or `restore` a copy from before, pipeline.db.before-v…, which converts again what came since',
  )
}

function unreadable(path: string, thrown: unknown): Finding {
  const code = (thrown as { code?: string }).code ?? ''
  if (/EACCES|EPERM|SQLITE_(CANTOPEN|PERM|READONLY)/.test(code))
    return error(
      `${path} cannot be read by this user: ${messageOf(thrown)}`,
      'run as its owner, or give this user the right to read and write it',
    )
  if (code.startsWith('SQLITE_BUSY'))
    return warning(`${path} is held by another process`, 'try again; nothing of ours holds it for long')
  const how = /SQLITE_(CORRUPT|NOTADB)/.test(code) ? 'is damaged' : 'cannot be read'
  return error(`${path} ${how}: ${messageOf(thrown)}`, REMEDY)
}

function logFindings(path: string): Finding[] {
  const size = statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  if (size < LARGE_LOG) return []
  return [warning(`${path}-wal has ${bytesText(size)}: some process reads for very long`, 'restart the pipeline')]
}
