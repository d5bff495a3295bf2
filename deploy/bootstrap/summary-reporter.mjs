/**
 * A vitest reporter that writes what the closing line needs to the file TEST_SUMMARY_FILE:
 * `{ passed, failed, skipped: [title and reason], refused: [title and reason] }`.
 *
 * With CI=true a test that was skipped because a tool is missing counts as failed when the system's
 * packages have that tool: there, a skip would hide that nothing was tested.
 */

import { writeFileSync } from 'node:fs'

const INSTALLABLE =
  'tshark|dumpcap|editcap|mergecap|capinfos|openssl|zstd|gzip|zip|unzip|lz4|jq|git|python3|java|maven|kafka|chromium|' +
  'debootstrap|lintian'
const WANTS_TOOL = new RegExp(
  `\\b(?:needs|requires|without|no|missing)\\s+(?:\\w+\\s+)?(?:${INSTALLABLE})\\b|` +
    `\\b(?:${INSTALLABLE})\\s+(?:is\\s+)?(?:missing|absent|not\\s+(?:installed|found|there|available))\\b`,
  'i',
)

export function wantsInstallableTool(text) {
  return WANTS_TOOL.test(text)
}

export default class SummaryReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const file = process.env.TEST_SUMMARY_FILE
    if (file) writeFileSync(file, JSON.stringify(summarize(modules, unhandledErrors, process.env.CI === 'true')))
  }
}

export function summarize(modules, unhandledErrors, isCi) {
  const summary = { passed: 0, failed: unhandledErrors.length, skipped: [], refused: [] }
  for (const module of modules) {
    summary.failed += brokenSuites(module)
    for (const test of module.children.allTests()) count(summary, module, test, isCi)
  }
  return summary
}

/** A file or a suite that failed by itself (an import, a hook) is a failure although no test says so. */
function brokenSuites(module) {
  const suites = [...module.children.allSuites()].filter((suite) => suite.errors().length > 0)
  return suites.length + (module.errors().length > 0 ? 1 : 0)
}

function count(summary, module, test, isCi) {
  const { state, note } = test.result()
  if (state === 'passed') summary.passed++
  else if (state === 'failed') summary.failed++
  else {
    const text = `${module.relativeModuleId} > ${test.fullName}${note ? `: ${note}` : ''}`
    const isRefused = isCi && wantsInstallableTool(text)
    if (isRefused) summary.failed++
    summary[isRefused ? 'refused' : 'skipped'].push(text)
  }
}
