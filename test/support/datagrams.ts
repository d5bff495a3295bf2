/** A datagram socket of the Unix kind that listens, in a process of its own, since Node has none: what came, by order. */

import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { until } from './pipeline.ts'

const LISTEN = `use Socket; $| = 1; my $path = shift;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die $!; bind($s, pack_sockaddr_un($path)) or die $!; print "ready\\n";
while (defined recv($s, my $d, 1 << 18, 0)) { print unpack('H*', $d), "\\n" }`

export const hasPerl = spawnSync('perl', ['-MSocket', '-e', '1']).status === 0

export interface Listener extends Disposable {
  path: string
  received: Buffer[]
}

export async function listen(dir: string, name: string): Promise<Listener> {
  const path = join(dir, name)
  const child = spawn('perl', ['-e', LISTEN, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines: string[] = []
  let rest = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n')
    rest = parts.pop() ?? ''
    lines.push(...parts)
  })
  await until(() => lines.length > 0, `a socket at ${path}`)
  return {
    path,
    get received() {
      return lines.slice(1).map((line) => Buffer.from(line, 'hex'))
    },
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  }
}
