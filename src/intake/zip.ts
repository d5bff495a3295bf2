/** The files in a zip archive, one after another. In: an open file. Out: names, and a stream for each. */

import type { FileHandle } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import yauzl from 'yauzl'
import { messageOf, PipelineError } from '../../state/errors.ts'

export interface ZipMember {
  /** With the path inside the archive; hostile, for people only. */
  name: string
  openStream(): Promise<Readable>
}

/** Folders are left out. Throws `capture_unreadable` for a damaged archive. */
export async function* zipMembers(file: FileHandle): AsyncGenerator<ZipMember> {
  const archive = await openArchive(file)
  for (;;) {
    const entry = await nextEntry(archive)
    if (entry === undefined) return
    if (entry.fileName.endsWith('/')) continue
    yield { name: entry.fileName, openStream: () => openStream(archive, entry) }
  }
}

function openArchive({ fd }: FileHandle): Promise<yauzl.ZipFile> {
  return new Promise((resolve, reject) => {
    yauzl.fromFd(
      fd,
      { lazyEntries: true, autoClose: false, strictFileNames: false, decodeStrings: true },
      (error, archive) => {
        if (error) reject(unreadable(error))
        else resolve(archive.on('error', ignored))
      },
    )
  })
}

function nextEntry(archive: yauzl.ZipFile): Promise<yauzl.Entry | undefined> {
  return new Promise((resolve, reject) => {
    const outcomes = {
      entry: (entry: yauzl.Entry) => settle(() => resolve(entry)),
      end: () => settle(() => resolve(undefined)),
      error: (error: Error) => settle(() => reject(unreadable(error))),
    }
    const settle = (finish: () => void): void => {
      for (const [event, listener] of Object.entries(outcomes)) archive.off(event, listener)
      finish()
    }
    for (const [event, listener] of Object.entries(outcomes)) archive.on(event, listener)
    archive.readEntry()
  })
}

function openStream(archive: yauzl.ZipFile, entry: yauzl.Entry): Promise<Readable> {
  return new Promise((resolve, reject) => {
    if (entry.isEncrypted()) return reject(new PipelineError('capture_unreadable', 'it is encrypted; decrypt it first'))
    archive.openReadStream(entry, (error, stream) => {
      if (error) reject(unreadable(error))
      else resolve(stream)
    })
  })
}

function unreadable(error: unknown): PipelineError {
  return new PipelineError('capture_unreadable', `the zip archive cannot be read: ${messageOf(error)}`, {
    cause: error,
  })
}

/** Each step listens for its own error; one that comes between two steps must not end the process. */
function ignored(): void {}
