import { execFileSync, spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { openApiHome } from '../../support/api.ts'

const hasPromtool = spawnSync('promtool', ['--version']).error === undefined

describe('/metrics', () => {
  it('has the queue depth of each stage, and escapes what stands in labels', async () => {
    await using home = await openApiHome()
    const { text, headers } = await home.get('/metrics')
    expect(headers['content-type']).toContain('version=0.0.4')
    for (const stage of ['monitor', 'convert', 'split', 'distribute', 'upload'])
      expect(text).toContain(`pcap_pipeline_jobs{stage="${stage}",status="waiting"} 0`)
    for (const line of text.trim().split('\n'))
      expect(line).toMatch(
        /^(# (HELP|TYPE) pcap_pipeline_\w+ .+|pcap_pipeline_\w+(\{(\w+="[^"\n]*",?)+\})? [-\d.e+]+)$/,
      )
  }, 60_000)

  it.skipIf(!hasPromtool)(
    `passes promtool${hasPromtool ? '' : ' (skipped: no promtool here)'}`,
    async () => {
      await using home = await openApiHome()
      const { text } = await home.get('/metrics')
      expect(execFileSync('promtool', ['check', 'metrics'], { input: text }).toString()).toBe('')
    },
    60_000,
  )
})
