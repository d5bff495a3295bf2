/** `account add|remove|list`: who may log in to the pages. */

import { createInterface } from 'node:readline/promises'
import { PipelineError } from '../../state/errors.ts'
import { hashPassword } from '../api/passwords.ts'
import { openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { printable } from './text.ts'

/** The password is the first line of stdin, so that no list of processes and no shell history has it. */
export async function addAccount(name: string): Promise<number> {
  if (!/^[\w.@-]{1,64}$/.test(name))
    throw new PipelineError('usage', 'a name has letters, digits, dot, dash, underscore and @, at most 64')
  await using context = openContext()
  if (process.stdin.isTTY) context.tell(`Password of ${name} (shown as you type; pipe it in to hide it):`)
  const lines = createInterface({ input: process.stdin })
  const { value: password } = await lines[Symbol.asyncIterator]().next()
  lines.close()
  if (typeof password !== 'string') throw new PipelineError('usage', 'give the password on stdin')
  context.parts().ledger.accounts.set(name, await hashPassword(password))
  context.tell(`${name} may log in`)
  return EXIT.ok
}

export async function removeAccount(name: string): Promise<number> {
  await using context = openContext()
  const removed = context.parts().ledger.accounts.remove(name)
  context.tell(
    removed
      ? `${printable(name)} may not log in any more, once the server has started again`
      : `there is no account ${printable(name)}`,
  )
  return removed ? EXIT.ok : EXIT.failed
}

export async function listAccounts(): Promise<number> {
  await using context = openContext()
  for (const name of context.parts().ledger.accounts.names()) context.print(name)
  return EXIT.ok
}

/** Newest last, as a log reads. */
export async function showAudit({ lines }: { lines: string }): Promise<number> {
  await using context = openContext()
  const limit = Math.min(100_000, Math.max(1, Number(lines) || 100))
  for (const { at, user, remote, action, detail } of context.parts().ledger.accounts.audited(limit).reverse())
    context.print(
      [new Date(at).toISOString(), user ?? '-', remote, action, detail]
        .map((text) => printable(text.replace(/\s+/g, ' ')))
        .join(' | '),
    )
  return EXIT.ok
}
