import { accessSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { finished, type MiniProject, makeMiniProject } from '../fixtures/mini-project.ts'

const hasSetpriv = isThere('/usr/bin/setpriv')

function isThere(path: string): boolean {
  try {
    accessSync(path)
    return true
  } catch {
    return false
  }
}

let project: MiniProject
beforeAll(() => {
  project = makeMiniProject()
})
afterAll(() => {
  project.remove()
})

const firstLine = (text: string) => JSON.parse(text.split('\n')[0] as string)

/** A command that has come as far as its first line. */
async function startWaiting(env?: Record<string, string>) {
  const child = project.start(['start', 'wait'], env)
  const done = finished(child)
  const line = await new Promise<string>((resolve) => child.stdout?.once('data', resolve))
  return { child, done, pid: firstLine(line).pid as number }
}

async function untilGone(pid: number): Promise<boolean> {
  for (let i = 0; i < 100; i++) {
    try {
      // a process that nobody waited for still has an entry, in state Z
      if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return true
    } catch {
      return true
    }
    await sleep(50)
  }
  return false
}

describe('starting from sources', () => {
  it('compiles, then runs the command with its arguments under Node 24, which alone has stdout', async () => {
    const { code, stdout, stderr } = await project.run(['start', 'one', 'two words', '--flag'])
    expect(stderr).toMatch(/^setup: compiling\nsetup: compiled in \d+\.\d s\n$/)
    expect(stdout.split('\n')).toHaveLength(2)
    expect(firstLine(stdout)).toMatchObject({ args: ['one', 'two words', '--flag'], data: { answer: 42 } })
    expect(firstLine(stdout).version).toMatch(/^v24\./)
    expect(code).toBe(0)
  })

  it('puts the files that are read at run time beside the code', () => {
    for (const file of ['src/data.json', 'stages/query.sql', 'package.json']) {
      expect(existsSync(join(project.dir, 'dist', file)), file).toBe(true)
    }
  })

  it('has nothing to say the second time', async () => {
    expect(await project.run(['start'])).toMatchObject({ code: 0, stderr: '' })
  })

  it('compiles again when a source or a data file has changed, and forgets what was removed', async () => {
    project.write('src/extra.ts', 'export const b = 2\n')
    expect((await project.run(['start'])).stderr).toContain('compiling')
    expect(existsSync(join(project.dir, 'dist/src/extra.js'))).toBe(true)
    rmSync(join(project.dir, 'src/extra.ts'))
    project.write('src/data.json', '{"answer":43}')
    const { stdout, stderr } = await project.run(['start'])
    expect(stderr).toContain('compiling')
    expect(firstLine(stdout).data).toEqual({ answer: 43 })
    expect(existsSync(join(project.dir, 'dist/src/extra.js'))).toBe(false)
  })

  it('does not run what does not compile, and says where', async () => {
    project.write('state/a.ts', 'export const a: number = "text"\n')
    const { code, stdout, stderr } = await project.run(['start'])
    expect(code).toBe(1)
    expect(stdout).toBe('')
    expect(stderr).toContain('state/a.ts(1,14): error TS2322')
    project.write('state/a.ts', 'export const a = 1\n')
    expect((await project.run(['start'])).code).toBe(0)
  })

  it('names the line of the source when the command fails', async () => {
    const { code, stderr } = await project.run(['start', 'throw'])
    const source = join(project.dir, 'src/main.ts')
    const line = readFileSync(source, 'utf8')
      .split('\n')
      .findIndex((text) => text.includes('on purpose'))
    expect(stderr).toContain(`${source}:${line + 1}`)
    expect(code).toBe(1)
  })

  it('refuses a command that it does not know', async () => {
    const { code, stderr } = await project.run(['strat'])
    expect(stderr).toContain('usage: node deploy/bootstrap.mjs start|test|bench|build')
    expect(code).toBe(1)
  })

  it('compiles once when two start at the same time', async () => {
    rmSync(join(project.dir, 'dist'), { recursive: true })
    const runs = await Promise.all([project.run(['start']), project.run(['start']), project.run(['start'])])
    expect(runs.map(({ code }) => code)).toEqual([0, 0, 0])
    const said = runs.map(({ stderr }) => stderr).join('')
    expect(said.match(/compiling/g)).toHaveLength(1)
  })

  it('sets up without running anything when asked to build', async () => {
    rmSync(join(project.dir, 'dist'), { recursive: true })
    expect(await project.run(['build'])).toMatchObject({ code: 0, stdout: '' })
    expect(await project.run(['start'])).toMatchObject({ code: 0, stderr: '' })
  })

  it('builds the pages once, and again when one of their files has changed', async () => {
    const page = (word: string) => {
      project.write(
        'src/ui/index.html',
        '<!doctype html><title>a</title><script type="module" src="./main.ts"></script>',
      )
      project.write('src/ui/main.ts', `document.title = '${word}'\n`)
    }
    const built = () => {
      const folder = join(project.dir, 'dist/ui/assets')
      const [script] = readdirSync(folder).filter((name) => name.endsWith('.js'))
      return readFileSync(join(folder, script as string), 'utf8')
    }
    await project.run(['build'])
    page('first')
    const first = await project.run(['start'])
    expect(first.stderr).toMatch(/^setup: building the pages\nsetup: pages built in \d+\.\d s\n$/)
    expect(built()).toContain('first')
    expect(await project.run(['start'])).toMatchObject({ code: 0, stderr: '' })
    page('second')
    expect((await project.run(['start'])).stderr).not.toContain('compiling')
    expect(built()).toContain('second')
    expect(readdirSync(join(project.dir, 'dist/ui/assets')).some((name) => name.endsWith('.js.br'))).toBe(true)
    project.write('src/ui/main.ts', 'this is ( no script')
    const broken = await project.run(['start'])
    expect([broken.code, broken.stdout]).toEqual([1, ''])
    expect(broken.stderr).toContain('the pages cannot be built')
    rmSync(join(project.dir, 'src/ui'), { recursive: true })
  })

  it('goes on after a set-up that was killed', async () => {
    rmSync(join(project.dir, 'dist'), { recursive: true })
    const child = project.start(['start'])
    child.stderr?.once('data', () => child.kill('SIGKILL'))
    await finished(child)
    expect(await project.run(['start'])).toMatchObject({ code: 0 })
    expect(readdirSync(join(project.dir, 'dist'))).not.toContain('.next')
  })
})

describe('the end of the command', () => {
  it.each([0, 1, 3, 64])('passes on its exit code %i', async (wanted) => {
    expect((await project.run(['start', 'exit', String(wanted)])).code).toBe(wanted)
  })

  it('is 128 and the number of the signal that ended it', async () => {
    expect((await project.run(['start', 'die'])).code).toBe(128 + 9)
  })

  it.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'comes by %s through the set-up, which waits for it',
    async (signal) => {
      const { child, done } = await startWaiting()
      child.kill(signal)
      const { code, stdout } = await done
      expect(stdout).toContain(`got ${signal}\n`)
      expect(code).toBe(7)
    },
  )

  it('takes the same signal twice in a row as one', async () => {
    const { child, done } = await startWaiting()
    child.kill('SIGINT')
    child.kill('SIGINT')
    const { stdout } = await done
    expect(stdout.match(/got/g)).toHaveLength(1)
  })

  it.skipIf(!hasSetpriv)(
    `comes also when the set-up is killed outright${hasSetpriv ? '' : ' (skipped: no setpriv here)'}`,
    async () => {
      const { child, done, pid } = await startWaiting()
      child.kill('SIGKILL')
      expect((await done).stdout).toContain('got SIGTERM')
      expect(await untilGone(pid)).toBe(true)
    },
  )
})

describe('packages', () => {
  it('that npm put there are taken without installing them again', async () => {
    rmSync(join(project.dir, 'node_modules/.pcap-pipeline-packages'), { force: true })
    expect((await project.run(['start'])).stderr).toBe('')
    expect(existsSync(join(project.dir, 'node_modules/.pcap-pipeline-packages'))).toBe(true)
  })

  it('that cannot be fetched are named as the reason, with what to do', async () => {
    const bare = makeMiniProject()
    try {
      rmSync(join(bare.dir, 'node_modules'), { recursive: true })
      const wanted = { name: 'bare', version: '1.0.0', dependencies: { absent: '1.0.0' } }
      const packages = { '': wanted, 'node_modules/absent': { version: '1.0.0' } }
      bare.write('package.json', JSON.stringify(wanted))
      bare.write('package-lock.json', JSON.stringify({ name: 'bare', lockfileVersion: 3, requires: true, packages }))
      const env = { npm_config_registry: 'http://127.0.0.1:9/', npm_config_cache: join(bare.dir, 'cache') }
      const { code, stdout, stderr } = await bare.run(['start'], env)
      expect(stderr).toContain('setup: installing packages')
      expect(stderr).toContain('npm cannot reach its package registry')
      expect(stdout).toBe('')
      expect(code).toBe(1)
    } finally {
      bare.remove()
    }
  }, 120_000)
})

describe('benchmarks', () => {
  it('are listed when none is named, or one that does not exist', async () => {
    project.write('test/bench/hello.ts', "process.stdout.write('hello ' + process.argv[2] + '\\n')\n")
    for (const args of [['bench'], ['bench', '../../etc/passwd']]) {
      const { code, stderr } = await project.run(args)
      expect(stderr).toContain('bench needs the name of a benchmark: hello')
      expect(code).toBe(1)
    }
  })

  it('run by their name with further arguments', async () => {
    expect(await project.run(['bench', 'hello', 'you'])).toMatchObject({ code: 0, stdout: 'hello you\n' })
  })
})

describe('a test run', () => {
  const HEAD = "import { expect, it } from 'vitest'\n"
  const lastLine = (text: string) => text.trimEnd().split('\n').at(-1)

  it('ends with how many passed, failed and were skipped, the skipped ones with their reasons before', async () => {
    project.write('test/a.test.ts', `${HEAD}it('adds', () => { expect(1 + 1).toBe(2) })\n`)
    project.write(
      'test/b.test.ts',
      `${HEAD}it.skip('reads (skipped: no corpus here)', () => {})\nit('asks', ({ skip }) => { skip('nobody answers') })\n`,
    )
    const { code, stdout } = await project.run(['test'])
    expect(stdout).toContain('skipped: test/b.test.ts > reads (skipped: no corpus here)')
    expect(stdout).toContain('skipped: test/b.test.ts > asks: nobody answers')
    expect(lastLine(stdout)).toBe('1 passed, 0 failed, 2 skipped')
    expect(code).toBe(0)
  })

  it('passes arguments on to vitest', async () => {
    const { stdout } = await project.run(['test', 'test/a.test.ts'])
    expect(lastLine(stdout)).toBe('1 passed, 0 failed, 0 skipped')
  })

  it('fails with a test, and with a file that cannot be loaded', async () => {
    project.write('test/c.test.ts', `${HEAD}it('errs', () => { expect(1).toBe(2) })\n`)
    project.write('test/d.test.ts', "import './missing.ts'\n")
    const { code, stdout } = await project.run(['test'])
    expect(lastLine(stdout)).toBe('1 passed, 2 failed, 2 skipped')
    expect(code).toBe(1)
  })

  it('runs although the sources do not compile, which is a failure of its own', async () => {
    project.write('state/a.ts', 'export const a: number = "text"\n')
    const { code, stdout, stderr } = await project.run(['test', 'test/a.test.ts'])
    expect(stderr).toContain('state/a.ts(1,14): error TS2322')
    expect(stdout).toContain('\nfailed: the sources do not compile\n')
    expect(lastLine(stdout)).toBe('1 passed, 1 failed, 0 skipped')
    expect(code).toBe(1)
    project.write('state/a.ts', 'export const a = 1\n')
  })

  it('fails when there is no test at all', async () => {
    const { code, stdout } = await project.run(['test', 'test/nothing.test.ts'])
    expect(lastLine(stdout)).toBe('0 passed, 1 failed, 0 skipped')
    expect(code).toBe(1)
  })

  it('counts a test as failed under CI when it was skipped for want of a tool that can be installed', async () => {
    project.write('test/e.test.ts', `${HEAD}it.skip('converts (skipped: tshark not installed)', () => {})\n`)
    const args = ['test', 'test/a.test.ts', 'test/b.test.ts', 'test/e.test.ts']
    expect(lastLine((await project.run(args)).stdout)).toBe('1 passed, 0 failed, 3 skipped')
    const { code, stdout } = await project.run(args, { CI: 'true' })
    expect(stdout).toContain('failed: test/e.test.ts > converts (skipped: tshark not installed) (skipped for want of')
    expect(lastLine(stdout)).toBe('1 passed, 1 failed, 2 skipped')
    expect(code).toBe(1)
  })
})
