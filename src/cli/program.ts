/** The command line: names, arguments and help. What a command does is in the file that is named after it. */

import { Command, CommanderError, Option } from 'commander'
import type { QueryFormat } from '../query/run.ts'
import { useFiles } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { captures, failed, receipt, showConfig, status } from './inspect-commands.ts'
import type { ReportOptions } from './watchlist-commands.ts'

const FORMATS: QueryFormat[] = ['table', 'json', 'csv', 'ndjson', 'parquet']

const json = () => new Option('--json', 'as JSON').default(false)

/** Runs one command and answers the exit code. */
export async function runProgram(args: readonly string[]): Promise<number> {
  let code: number = EXIT.ok
  const program = makeProgram((action) => async (...values) => {
    code = await action(...values)
  })
  try {
    const { operands, unknown } = program.parseOptions([...args])
    const isBare = operands.length === 0 && unknown.length === 0
    await program.parseAsync(isBare ? [...args, 'run'] : args, { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
    throw error
  }
}

type Does = <A extends unknown[]>(action: (...args: A) => Promise<number>) => (...args: A) => Promise<void>

/** All commands. Modules that one of them alone needs are loaded by it. */
export function makeProgram(does: Does): Command {
  const program = new Command('pcap-pipeline')
    .description('Drop captures into a folder; every event in them becomes a row.')
    .exitOverride()
    .configureOutput({ writeOut: (text) => process.stdout.write(text), writeErr: (text) => process.stderr.write(text) })
    .showHelpAfterError('(--help shows the commands)')
    .option('--settings <file>', 'a file of settings to read instead of .env')
    .option('--config <file>', 'a config.json of zeek-kafka-parquet, for settings that are given nowhere else')
    .configureHelp({ showGlobalOptions: true })
    .hook('preAction', (command) => useFiles({ configFile: command.opts().config, envFile: command.opts().settings }))

  program
    .command('run')
    .description('run all stages and watch the inbox, until a signal; the default')
    .action(does(async () => (await import('./run.ts')).runAll()))
  program
    .command('stage <name>')
    .description('run one stage: monitor, convert, split, distribute, upload (which indexes as well) or index')
    .action(does(async (name: string) => (await import('./run.ts')).runStage(name)))
  program
    .command('stream')
    .description('turn raw events from Kafka into rows, until a signal: the upload stage alone')
    .action(does(async () => (await import('./run.ts')).runStream()))
  program
    .command('serve')
    .description('the API and the pages alone, until a signal')
    .action(does(async () => (await import('./run.ts')).runServe()))
  program
    .command('ingest <file...>')
    .description('take captures (or folders of them) in, wait, and print their receipts')
    .option('--source <name>', 'what the captures are of: a sensor, a site, a case', 'default')
    .addOption(json())
    .action(
      does(async (files: string[], options: { source: string; json: boolean }) =>
        (await import('./ingest.ts')).ingest(files, options),
      ),
    )
  program
    .command('convert <file...>')
    .description('just the logs, as <out>/<file name>/<log>.ndjson; touches no state')
    .requiredOption('--out <dir>', 'where to')
    .addOption(new Option('--engine <engine>', 'instead of CONVERT_ENGINE').choices(['auto', 'zeek', 'tshark']))
    .action(
      does(async (files: string[], options: { out: string; engine?: 'auto' | 'zeek' | 'tshark' }) =>
        (await import('./convert.ts')).convertFiles(files, options),
      ),
    )
  program
    .command('query <sql>')
    .description('ask the dataset; every log type is a table')
    .addOption(new Option('--format <format>', 'of the answer').choices(FORMATS).default('table'))
    .action(
      does(async (sql: string, options: { format: QueryFormat }) =>
        (await import('./query-commands.ts')).query(sql, options),
      ),
    )
  program
    .command('tables [name]')
    .description('the log types with their rows, columns and time range; of one its columns and what they mean')
    .addOption(json())
    .action(
      does(async (name: string | undefined, options: { json: boolean }) =>
        (await import('./query-commands.ts')).tables(name, options),
      ),
    )
  program.command('status').description('queues, captures and disk').addOption(json()).action(does(status))
  program.command('captures').description('every capture and how it ended').addOption(json()).action(does(captures))
  program
    .command('receipt <capture>')
    .description('the proof that nothing of a capture was lost: by hash prefix or file name')
    .addOption(json())
    .action(does(receipt))
  program.command('failed').description('what was given up, and why').addOption(json()).action(does(failed))
  program
    .command('retry [what]')
    .description('try again what was given up: a key, a capture or a file name')
    .option('--all', 'everything', false)
    .action(
      does(async (what: string | undefined, options: { all: boolean }) =>
        (await import('./change-commands.ts')).retry(what, options),
      ),
    )
  program
    .command('forget <capture>')
    .description('remove a capture with its rows, as if it had never come')
    .action(does(async (capture: string) => (await import('./change-commands.ts')).forget(capture)))
  program
    .command('reprocess <capture>')
    .description('remove its rows and convert it again')
    .option('--clock-offset <offset>', 'add this to its times from now on, as in --clock-offset=-1.5s')
    .action(
      does(async (capture: string, options: { clockOffset?: string }) =>
        (await import('./change-commands.ts')).reprocess(capture, options),
      ),
    )
  program
    .command('doctor')
    .description('say what is wrong with this host, and what to do about it; changes nothing')
    .option('--deep', 'read every file of the dataset, and count its rows against the receipts', false)
    .addOption(json())
    .action(does(async (options: { deep: boolean; json: boolean }) => (await import('./doctor.ts')).doctor(options)))
  program
    .command('backup <target>')
    .description('copy the ledger, while it is in use, to a file or into a folder')
    .action(does(async (target: string) => (await import('./ledger-commands.ts')).backup(target)))
  program
    .command('restore <file>')
    .description('put a backup in the place of the ledger, and bring it in line with the dataset and the captures')
    .action(does(async (file: string) => (await import('./ledger-commands.ts')).restore(file)))
  program
    .command('rebuild')
    .description('make a damaged or lost ledger anew of the dataset and the captures')
    .action(does(async () => (await import('./ledger-commands.ts')).rebuildLedger()))
  program
    .command('retention')
    .description('remove what is older or larger than the settings allow, now; a running pipeline does it by itself')
    .option('--dry-run', 'only say what would go', false)
    .addOption(json())
    .action(
      does(async (options: { dryRun: boolean; json: boolean }) =>
        (await import('./upkeep-commands.ts')).retention(options),
      ),
    )
  program
    .command('compact')
    .description('join the small files of closed hours, now; a running pipeline does it by itself')
    .option('--dry-run', 'only say what would be joined', false)
    .addOption(json())
    .action(
      does(async (options: { dryRun: boolean; json: boolean }) =>
        (await import('./upkeep-commands.ts')).compact(options),
      ),
    )
  addWatchlist(program, does)
  addAccounts(program, does)
  program
    .command('config')
    .description('the effective settings, secrets masked')
    .addOption(json())
    .action(does(showConfig))

  const elasticsearch = program.command('elasticsearch').description('the search cluster, where one is set')
  elasticsearch
    .command('setup')
    .description('install the index templates; repeating it changes nothing')
    .action(does(async () => (await import('./elasticsearch-commands.ts')).setup()))
  elasticsearch
    .command('kibana')
    .description("print Kibana's saved objects (data views, searches, dashboards) for the indices that are set")
    .option(
      '--page <url>',
      'where browsers reach our page, for links from an event to its packets',
      'http://127.0.0.1:8080',
    )
    .action(does(async (options: { page: string }) => (await import('./elasticsearch-commands.ts')).kibana(options)))
  elasticsearch
    .command('backfill')
    .description('load what is in the tables already; events that are there are left as they are')
    .option('--from <time>', 'events from this time on (UTC)')
    .option('--to <time>', 'events before this time (UTC)')
    .option('--type <type...>', 'log types; all where none is named')
    .action(
      does(async (options: { from?: string; to?: string; type?: string[] }) =>
        (await import('./elasticsearch-commands.ts')).backfill(options),
      ),
    )
  return program
}

function addWatchlist(program: Command, does: Does): void {
  const commands = async () => await import('./watchlist-commands.ts')
  const watchlist = program.command('watchlist').description('whose traffic is looked for, and what was found')
  watchlist
    .command('import <list> <file>')
    .description('employees, computers or indicators from CSV, JSON lines or key:{json} lines')
    .option('--replace', 'remove what the file does not name', false)
    .option('--list <name>', 'of indicators whose lines name none', 'default')
    .action(
      does(async (list: string, file: string, options: { replace: boolean; list: string }) =>
        (await commands()).importList(list, file, options),
      ),
    )
  watchlist
    .command('list <list>')
    .description('what is in employees, computers or indicators')
    .addOption(json())
    .action(does(async (list: string, options: { json: boolean }) => (await commands()).showList(list, options)))
  watchlist
    .command('rescan')
    .description('apply the lists to what is loaded already')
    .action(does(async () => (await commands()).rescanAll()))
  watchlist
    .command('report')
    .description('watched traffic, summed up')
    .addOption(
      new Option('--by <what>', 'a line for each')
        .choices(['employee', 'day', 'protocol', 'host', 'list'])
        .default('employee'),
    )
    .option('--employee <key>', 'of one employee')
    .option('--from <time>', 'not before, ISO 8601')
    .option('--to <time>', 'before, ISO 8601')
    .addOption(new Option('--format <format>', 'of the answer').choices(FORMATS).default('table'))
    .action(does(async (options: ReportOptions) => (await commands()).report(options)))
}

function addAccounts(program: Command, does: Does): void {
  const commands = async () => await import('./account-commands.ts')
  const account = program.command('account').description('who may log in to the pages')
  account
    .command('add <name>')
    .description('make an account, or change its password, which is read from stdin')
    .action(does(async (name: string) => (await commands()).addAccount(name)))
  account
    .command('remove <name>')
    .description('take an account away')
    .action(does(async (name: string) => (await commands()).removeAccount(name)))
  account
    .command('list')
    .description('the accounts')
    .action(does(async () => (await commands()).listAccounts()))
  program
    .command('audit')
    .description('log-ins, queries and changes, by whom and when')
    .option('--lines <n>', 'the newest', '100')
    .action(does(async (options: { lines: string }) => (await commands()).showAudit(options)))
}
