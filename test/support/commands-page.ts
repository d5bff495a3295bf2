/** `docs/commands.md` as it should read: every command with its arguments and options, out of the command line itself. */

import type { Command, Option } from 'commander'
import { makeProgram } from '../../src/cli/program.ts'

const START = `# Commands

\`npm start -- COMMAND\` in a checkout, \`pcap-pipeline COMMAND\` where it is installed as a package. With \`npm start --silent --\`
stdout carries the answer alone; what is told on the way goes to stderr. Exit codes: [README](../README.md#commands).

This page is made of \`src/cli/program.ts\`: after a change there, \`npm test -- test/docs/docs.test.ts -u\` writes it.
`

export function commandsPage(): string {
  const program = makeProgram(() => async () => {})
  const everywhere = `\nEverywhere:\n\n${optionRows(program.options)}\n`
  return `${START}${everywhere}${leaves(program).map(section).join('')}`
}

/** Commands that do something, in the order of the help; groups stand for their subcommands. */
function leaves(command: Command): Command[] {
  return command.commands.flatMap((each) => (each.commands.length > 0 ? leaves(each) : [each]))
}

function section(command: Command): string {
  const options = command.options.length === 0 ? '' : `\n${optionRows(command.options)}\n`
  return `\n## ${fullName(command)}\n\n\`${fullName(command)} ${command.usage()}\`: ${command.description()}.\n${options}`
    .replaceAll(' [options]', '')
    .replaceAll(' `:', '`:')
}

function fullName(command: Command): string {
  const parent = command.parent
  return parent === null || parent.parent === null ? command.name() : `${parent.name()} ${command.name()}`
}

function optionRows(options: readonly Option[]): string {
  const rows = options.map(({ flags, description, defaultValue, argChoices }) => {
    const choices = argChoices === undefined ? '' : ` (${argChoices.join(', ')})`
    const initial = defaultValue === undefined || defaultValue === false ? '' : `\`${defaultValue}\``
    return `| \`${flags.replaceAll('|', '\\|')}\` | ${description}${choices} | ${initial} |`
  })
  return `| option | what for | default |\n|---|---|---|\n${rows.join('\n')}`
}
