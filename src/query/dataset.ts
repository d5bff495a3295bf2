/**
 * The Parquet dataset as DuckDB tables that can be read and nothing else.
 *
 * In: the dataset's root and the log types that are known. Out: a locked in-memory DuckDB: it can reach the
 * dataset and a private folder for spilling, and no setting of it can be changed any more. Tables are made
 * for each query anew, and only those that it names (views.ts): a file that is published while the dataset
 * is open is seen by the next query.
 */

import { randomUUID } from 'node:crypto'
import { mkdir, readdir, realpath, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { type DuckDBConnection, DuckDBInstance, version } from '@duckdb/node-api'
import { errnoOf, messageOf, PipelineError } from '../../state/errors.ts'
import { privateFolderMode } from '../../state/private-mode.ts'
import { processIdentity, stateOf } from '../../state/process-identity.ts'
import { readersLock } from '../../state/shared-lock.ts'
import { type FactStore, openFacts } from './facts.ts'
import { EVENTS, listTypes, TYPE_NAME } from './files.ts'
import { PEOPLE_TABLES, type People } from './people.ts'
import { list, literal } from './sql.ts'

/** A column as DuckDB names its type (`VARCHAR`, `BIGINT`, `VARCHAR[]`, `TIMESTAMP`). */
export interface Column {
  name: string
  type: string
}

/** A log type that is known without any file of it: its table exists, empty, from the start. */
export interface DeclaredTable {
  /** `[a-z0-9_]`, at most 64, not `events`. */
  name: string
  columns: readonly Column[]
}

export interface DatasetOptions {
  /** The root of `<type>/year=Y/month=MM/day=DD/hour=HH/<prefix>_<type>_<id>.parquet`; may not exist yet. */
  parquetDir: string
  tables: readonly DeclaredTable[]
  /** For the tables of watched people; without it they are empty. */
  people?: People
  /** DuckDB's memory limit over all queries of this dataset; what does not fit is spilled to `tempDir`. */
  memoryMb: number
  threads: number
  /** Spill space and the cache of file schemas, outside `parquetDir`. Made if missing. */
  tempDir: string
  /** Limit of the spill space, and of one Parquet result (default 4096). */
  tempMaxMb?: number
}

/** An opened dataset. Give it back with `await using` or `close()`. */
export interface Dataset extends AsyncDisposable {
  /** The dataset's root without symbolic links. */
  readonly root: string
  /** This dataset's own folder below `tempDir`; gone after `close()`. */
  readonly workDir: string
  readonly tempMaxMb: number
  readonly facts: FactStore
  readonly declared: ReadonlyMap<string, readonly Column[]>
  readonly people: People
  /**
   * Keeps the files of the dataset in their places while a query lists and reads them. Whoever joins or removes files
   * waits for that.
   */
  share(): Disposable
  /** A connection with tables of its own; the caller closes it. */
  connect(): Promise<DuckDBConnection>
  /** Names of all tables but `events`, sorted: declared ones and folders. */
  tableNames(): Promise<string[]>
  close(): Promise<void>
}

/** @throws config_invalid for names and folders that cannot be used, io for folders that cannot be made. */
export async function openDataset(options: DatasetOptions): Promise<Dataset> {
  const declared = declaredTables(options.tables)
  const { root, tempDir } = await folders(options)
  await removeLeftovers(tempDir)
  const workDir = await makeWorkDir(tempDir)
  const tempMaxMb = options.tempMaxMb ?? 4096
  const instance = await openLocked(root, workDir, tempMaxMb, options)
  const facts = await openFacts(join(tempDir, 'schemas.json'), `1 ${version()} ${root}`, workDir)

  const lock = readersLock(tempDir)
  // Its file is there from now on: a query leaves nothing new behind.
  lock.share()[Symbol.dispose]()

  const close = async () => {
    instance.closeSync()
    await rm(workDir, { recursive: true, force: true })
  }
  return {
    root,
    workDir,
    tempMaxMb,
    facts,
    declared,
    people: options.people ?? { employees: [], computers: [] },
    share: () => lock.share(),
    connect: () => instance.connect(),
    tableNames: async () => [...new Set([...declared.keys(), ...(await listTypes(root))])].sort(),
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function openLocked(
  root: string,
  workDir: string,
  tempMaxMb: number,
  { memoryMb, threads }: DatasetOptions,
): Promise<DuckDBInstance> {
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: `${memoryMb}MiB`,
    threads: String(threads),
    temp_directory: join(workDir, 'spill'),
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    allow_community_extensions: 'false',
  })
  const connection = await instance.connect()
  try {
    // DuckDB 1.5 shows this limit but does not keep it when it is given at creation.
    await connection.run(`SET GLOBAL max_temp_directory_size = '${tempMaxMb}MiB'`)
    await connection.run("SET GLOBAL TimeZone = 'UTC'")
    await connection.run(`SET GLOBAL allowed_directories = ${list([root, workDir])}`)
    // The order matters: after the first of these no folder can be allowed, after the second nothing be set.
    await connection.run('SET GLOBAL enable_external_access = false')
    await connection.run('SET GLOBAL lock_configuration = true')
    return instance
  } finally {
    connection.closeSync()
  }
}

function declaredTables(tables: readonly DeclaredTable[]): Map<string, readonly Column[]> {
  for (const { name } of tables)
    if (!TYPE_NAME.test(name) || name === EVENTS || PEOPLE_TABLES.includes(name))
      throw new PipelineError('config_invalid', `${literal(name)} cannot be a table: use a-z, 0-9, _; not "${EVENTS}"`)
  return new Map(tables.map((table) => [table.name, table.columns]))
}

/** DuckDB expands `*?[` in any path that it is given, even in a list of files. */
const GLOB = /[*?[]/

async function folders({ parquetDir, tempDir }: DatasetOptions): Promise<{ root: string; tempDir: string }> {
  try {
    await mkdir(tempDir, { recursive: true })
    const root = await realpathOrSelf(parquetDir)
    const temp = await realpath(tempDir)
    for (const path of [root, temp])
      if (GLOB.test(path)) throw new PipelineError('config_invalid', `the path ${path} must not hold any of * ? [`)
    if (`${temp}/`.startsWith(`${root}/`))
      throw new PipelineError('config_invalid', `the temporary folder ${temp} must not be inside the dataset ${root}`)
    return { root, tempDir: temp }
  } catch (error) {
    if (error instanceof PipelineError) throw error
    throw new PipelineError('io', `the dataset cannot be opened: ${messageOf(error)}`, { cause: error })
  }
}

async function realpathOrSelf(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    const parent = dirname(resolve(path))
    if (errnoOf(error) !== 'ENOENT' || parent === path) throw error
    return join(await realpathOrSelf(parent), basename(path))
  }
}

export async function makeWorkDir(tempDir: string): Promise<string> {
  const workDir = join(tempDir, `query.${Buffer.from(processIdentity()).toString('base64url')}.${randomUUID()}`)
  await mkdir(workDir, { recursive: true, mode: privateFolderMode(tempDir) })
  return workDir
}

/** Work folders are `query.<process identity>.<uuid>`; here go those of processes that were killed. */
export async function removeLeftovers(tempDir: string): Promise<void> {
  for (const name of await readdir(tempDir)) {
    const owner = /^query\.([\w-]+)\.[\w-]+$/.exec(name)?.[1]
    if (owner && stateOf(Buffer.from(owner, 'base64url').toString()) === 'dead')
      await rm(join(tempDir, name), { recursive: true, force: true })
  }
}
