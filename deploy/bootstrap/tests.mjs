/**
 * The test run: in, vitest's arguments; out, vitest's own report, then each skipped test with its reason,
 * and as the very last line `N passed, N failed, N skipped`.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { handOver } from './child.mjs'
import { findRuntime } from './packages.mjs'
import { SYSTEM_FOLDERS, toolsFolder } from './test-tools.mjs'

const reporter = fileURLToPath(new URL('./summary-reporter.mjs', import.meta.url))

/** `broken` is a failure that the set-up found already. */
export async function runTests(root, args, broken) {
  const folder = mkdtempSync(join(tmpdir(), 'pcap-pipeline-test-'))
  try {
    const summaryFile = join(folder, 'summary.json')
    const code = await handOver(findRuntime(root), vitestArguments(root, args), { env: environment(root, summaryFile) })
    const summary = readSummary(summaryFile, code)
    if (broken) summary.failed++
    process.stdout.write(closingLines(summary, broken))
    return code === 0 && summary.failed > 0 ? 1 : code
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function vitestArguments(root, args) {
  const own = args.some((arg) => arg.startsWith('--reporter'))
  const reporters = [...(own ? [] : ['--reporter=default']), `--reporter=${reporter}`]
  return [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--root', root, ...reporters, ...args]
}

/** The project's Node comes first on the PATH, so that a test that starts `node` gets the same one. */
function environment(root, summaryFile) {
  const own = [join(root, 'node_modules', '.bin'), dirname(findRuntime(root))]
  const path = [...own, process.env.PATH, ...SYSTEM_FOLDERS, toolsFolder()].join(delimiter)
  return { ...process.env, PATH: path, TEST_SUMMARY_FILE: summaryFile }
}

/** A run that failed without a failed test (no test found, a crash) counts as one failure. */
function readSummary(file, code) {
  let summary = { passed: 0, failed: 0, skipped: [] }
  try {
    summary = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    summary.failed = 1
  }
  return code !== 0 && summary.failed === 0 ? { ...summary, failed: 1 } : summary
}

function closingLines({ passed, failed, skipped, refused = [] }, broken) {
  const lines = [
    ...(broken ? [`failed: ${broken}`] : []),
    ...skipped.map((test) => `skipped: ${test}`),
    ...refused.map((test) => `failed: ${test} (skipped for want of a tool that this machine can install)`),
    `${passed} passed, ${failed} failed, ${skipped.length} skipped`,
  ]
  return `\n${lines.join('\n')}\n`
}
