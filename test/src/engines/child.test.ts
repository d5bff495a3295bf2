import { readFileSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { cleanEnv, findExecutable, runChild } from '../../../src/engines/child.ts'
import { findCutOff } from '../../../src/engines/cut-off.ts'
import { isAlive } from '../../support/alive.ts'

let dir = ''
const signal = new AbortController().signal

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'child-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

async function script(text: string): Promise<string> {
  const path = join(dir, `script-${Math.random().toString(36).slice(2)}`)
  await writeFile(path, `#!/bin/sh\n${text}\n`)
  await chmod(path, 0o755)
  return path
}

const run = async (text: string, options: Partial<Parameters<typeof runChild>[0]> = {}) =>
  runChild({ command: await script(text), args: [], timeoutMs: 10_000, signal, ...options })

const { isOffline } = await findCutOff()

describe('a child process', () => {
  it.skipIf(!isOffline)(`has no network${isOffline ? '' : ' (skipped: no namespaces here)'}`, async () => {
    let output = ''
    await run('cat /proc/self/net/dev', {
      onStdout: (chunk) => {
        output += chunk
      },
    })
    expect([...output.matchAll(/^ *(\S+):/gm)].map(([, name]) => name)).toEqual(['lo'])
  })

  it('runs as it is where the user may not make a network namespace', async () => {
    expect(await findCutOff(dir)).toEqual({ prefix: [], isOffline: false, endsWithParent: false })
  })

  it('gives its output in order, and its exit code as a result', async () => {
    let output = ''
    const { code, signal: endedBy } = await run('echo one; echo two; exit 3', {
      onStdout: (chunk) => {
        output += chunk
      },
    })
    expect({ output, code, endedBy }).toEqual({ output: 'one\ntwo\n', code: 3, endedBy: null })
  })

  it('gets its arguments as they are, whatever a shell would make of them', async () => {
    let output = ''
    await run('printf "%s|" "$@"', {
      args: ['$(id)', 'a b', '*', ';'],
      onStdout: (chunk) => {
        output += chunk
      },
    })
    expect(output).toBe('$(id)|a b|*|;|')
  })

  it('waits while its output is worked on', async () => {
    let [open, most, bytes] = [0, 0, 0]
    await run('head -c 300000 /dev/zero', {
      async onStdout(chunk) {
        most = Math.max(most, ++open)
        await sleep(1)
        bytes += chunk.length
        open--
      },
    })
    expect({ most, bytes }).toEqual({ most: 1, bytes: 300_000 })
  })

  it('sees nothing of our environment but the PATH', async () => {
    let output = ''
    process.env.CHILD_TEST_SECRET = 'x'
    await run('env', {
      onStdout: (chunk) => {
        output += chunk
      },
    })
    delete process.env.CHILD_TEST_SECRET
    expect(output).not.toContain('CHILD_TEST_SECRET')
    expect(output).toContain(`PATH=${cleanEnv().PATH}`)
  })

  it('that talks too much on stderr is heard at its start and its end', async () => {
    const { stderr } = await run('echo first >&2; head -c 500000 /dev/zero | tr "\\0" x >&2; echo last >&2', {
      stderrBytes: 2000,
    })
    expect(stderr.length).toBeLessThan(2200)
    expect(stderr).toMatch(/^first\n.*bytes left out.*\nx*last$/s)
  })

  it('that a signal ended says which', async () => {
    expect(await run('kill -SEGV $$')).toMatchObject({ code: null, signal: 'SIGSEGV' })
  })

  it('that is not installed is missing, and says so', async () => {
    const missing = runChild({ command: 'no-such-program', args: [], timeoutMs: 1000, signal })
    await expect(missing).rejects.toMatchObject({
      code: 'engine_missing',
      message: expect.stringContaining('no-such-program'),
    })
  })

  it('ends with all that it started when its time is over', async () => {
    const pidFile = join(dir, 'pid')
    const hung = run(`sleep 60 & echo $! > ${pidFile}; sleep 60`, { timeoutMs: 400 })
    await expect(hung).rejects.toMatchObject({ code: 'engine_timeout' })
    const grandchild = Number(readFileSync(pidFile, 'utf8'))
    await sleep(100)
    expect(isAlive(grandchild)).toBe(false)
  })

  it('ends when it takes more memory than it may', async () => {
    const greedy = runChild({
      command: process.execPath,
      args: ['-e', 'const a = []; setInterval(() => a.push(Buffer.alloc(20e6, 1)), 10)'],
      timeoutMs: 20_000,
      maxRssBytes: 200e6,
      signal,
    })
    await expect(greedy).rejects.toMatchObject({ code: 'engine_memory' })
  })

  it('ends at once when the caller gives up, with the caller’s reason', async () => {
    const controller = new AbortController()
    const started = Date.now()
    const waiting = run('sleep 60', { signal: controller.signal })
    setTimeout(() => controller.abort(new Error('shutdown')), 100)
    await expect(waiting).rejects.toThrow('shutdown')
    expect(Date.now() - started).toBeLessThan(5000)
  })

  it('ends when what its output is given to fails', async () => {
    const broken = run('while :; do echo x; done', {
      onStdout: () => {
        throw new Error('disk full')
      },
    })
    await expect(broken).rejects.toThrow('disk full')
  })
})

describe('an executable', () => {
  it('is found on the PATH that is given, and files that cannot be run are not', async () => {
    const path = await script('true')
    expect(findExecutable(path.slice(dir.length + 1), `/nowhere:${dir}`)).toBe(path)
    await chmod(path, 0o644)
    expect(findExecutable(path.slice(dir.length + 1), dir)).toBeUndefined()
    expect(findExecutable(dir)).toBeUndefined()
  })
})
