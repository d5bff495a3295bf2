/**
 * Key logs of TLS that come with a capture: files of anybody in, `captures/<sha256>.keys` out, for its owner alone, or
 * for the group that shares the data.
 *
 * Safe to repeat: what is stored already is kept beside what is new, a line once. Only lines that are secrets are kept, so
 * that nothing else that lies under such a name gets in.
 */

import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { KeyLog } from '../../state/captures.ts'
import { errnoOf } from '../../state/errors.ts'
import { privateFileMode } from '../../state/private-mode.ts'
import { move } from '../durable.ts'
import { belongsTo, createKeyLines, isKeyLogName, keyLineText, MAX_KEY_LOG_BYTES } from '../key-log.ts'

const READ_BYTES = 1 << 20

/**
 * @param sources those that are gone, or are no files, are left out; of two secrets for the same, the first one counts
 * @param target written whole or not at all
 * @param scratch does not exist yet, on the file system of the target
 */
export async function storeKeys(
  sources: readonly (string | Buffer)[],
  target: string,
  scratch: string,
): Promise<KeyLog> {
  const seen = new Set<string>()
  const hash = createHash('sha256')
  const file = await open(scratch, 'w', privateFileMode(dirname(target)))
  let [bytes, badLines, isCut] = [0, 0, false]
  try {
    for (const source of [...sources, target]) {
      let text = ''
      const lines = createKeyLines((key) => {
        const name = `${key.label} ${key.clientRandom}`
        const line = keyLineText(key)
        if (seen.has(name)) return
        if (bytes + line.length > MAX_KEY_LOG_BYTES) isCut = true
        else {
          seen.add(name)
          bytes += line.length
          text += line
        }
      })
      isCut = (await read(source, lines.data, flush)) || isCut
      badLines += lines.end()
      await flush()

      async function flush(): Promise<void> {
        hash.update(text)
        await file.write(text)
        text = ''
      }
    }
    await file.sync()
  } finally {
    await file.close()
  }
  await move(scratch, target)
  return { sha256: hash.digest('hex'), bytes, secrets: seen.size, badLines, isCut }
}

/** Answers whether there was more than is read. Links are not followed, and pipes are not waited for. */
async function read(
  path: string | Buffer,
  onData: (bytes: Buffer) => void,
  afterwards: () => Promise<void>,
): Promise<boolean> {
  const handle = await openFile(path)
  if (handle === undefined) return false
  try {
    if (!(await handle.stat()).isFile()) return false
    const buffer = Buffer.allocUnsafe(READ_BYTES)
    for (let at = 0; at < MAX_KEY_LOG_BYTES; ) {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, MAX_KEY_LOG_BYTES - at), at)
      if (bytesRead === 0) return false
      onData(buffer.subarray(0, bytesRead))
      await afterwards()
      at += bytesRead
    }
    return (await handle.stat()).size > MAX_KEY_LOG_BYTES
  } finally {
    await handle.close()
  }
}

async function openFile(path: string | Buffer): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(errnoOf(error) ?? '')) return undefined
    throw error
  }
}

/** Beside a capture, the key logs that belong to it. */
export async function keyLogsBeside(capture: string): Promise<string[]> {
  const [dir, name] = [dirname(capture), capture.slice(capture.lastIndexOf('/') + 1)]
  const names = await readdir(dir)
  return names.filter((each) => isKeyLogName(each) && belongsTo(each, name)).map((each) => join(dir, each))
}

/** Takes a key log out of the inbox, unless another capture there waits for it. */
export async function removeKeyLog(path: string | Buffer): Promise<void> {
  const text = path.toString()
  const name = text.slice(text.lastIndexOf('/') + 1)
  const others = await readdir(dirname(text)).catch(() => [])
  if (others.some((other) => !isKeyLogName(other) && belongsTo(name, other))) return
  await unlink(path).catch((error) => {
    if (errnoOf(error) !== 'ENOENT') throw error
  })
}
