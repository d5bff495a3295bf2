import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Home, makeHome } from '../../support/cli.ts'

function homeWithConfig(): { home: Home; file: string } {
  const home = makeHome()
  onTestFinished(() => home[Symbol.dispose]())
  const file = join(home.dir, 'config.json')
  writeFileSync(file, JSON.stringify({ kafka: { brokers: 'a:9092', group_id: 'mine' }, output: { other: 1 } }))
  return { home, file }
}

describe('--config', () => {
  it('is taken before the command and behind it', async () => {
    const { home, file } = homeWithConfig()
    for (const args of [
      ['--config', file, 'config', '--json'],
      ['config', '--json', `--config=${file}`],
    ]) {
      const { code, stdout } = await home.run(...args)
      expect(code).toBe(0)
      expect(JSON.parse(stdout)).toContainEqual({ name: 'KAFKA_GROUP_ID', value: 'mine', source: '--config' })
    }
  })

  it('alone means the service, as no argument does', async () => {
    const { home } = homeWithConfig()
    const { code, stderr } = await home.run('--config', 'none.json')
    expect(code).toBe(2)
    expect(stderr).toContain('none.json (--config) cannot be used: ENOENT')
  })

  it('does not make an unknown command the service', async () => {
    const { home, file } = homeWithConfig()
    const { code, stderr } = await home.run('--config', file, 'streem')
    expect(code).toBe(2)
    expect(stderr).toContain("unknown command 'streem'")
  })
})
