/**
 * What an SMB connection remembers, for SMB 1 and SMB 2 alike: trees, open files, pipes. It writes the
 * smb_mapping and smb_files records, hands pipes to DCE/RPC and files to the files log.
 */

import { createHash } from 'node:crypto'
import { createBoundedMap } from './bounded-map.ts'
import { createDceRpc } from './dce-rpc.ts'
import type { Dissector, FileSink, Session } from './protocol.ts'
import { createOffsetFile, type OffsetFile } from './smb-files.ts'

export const SHARE_ROOT = '<share_root>'
const MAX_OPEN = 4000
const MAX_PIPES = 256
/** Characters of names that are remembered, for files and for trees. */
const MAX_NAMES = 1 << 20
/** The same file again, not modified since, within this time is logged once. */
const REPEAT_SECONDS = 180
const MAX_REMEMBERED = 4000

export type ShareType = 'DISK' | 'PIPE' | 'PRINTER' | 'COMM'

export interface Tree {
  path: string
  service?: string
  nativeFileSystem?: string
  shareType: ShareType
}

/** Seconds since the epoch; unset where the server gave none. */
export interface FileTimes {
  modified?: number
  accessed?: number
  created?: number
  changed?: number
}

export interface OpenFile {
  name: string
  path?: string
  size?: number
  times?: FileTimes
  prevName?: string
  shareType?: ShareType
  isPipe: boolean
  openedAt?: number
  /** SMB 1: pipes are in the log like files. */
  logsPipe?: boolean
}

type Action = 'FILE_OPEN' | 'FILE_DELETE' | 'FILE_RENAME' | 'PRINT_OPEN' | 'PRINT_CLOSE'

export interface SmbState {
  treeConnected(id: number, tree: Tree, ts: number): void
  treeDisconnected(id: number): void
  tree(id: number): Tree | undefined
  opened(fileId: string, file: OpenFile, ts: number): void
  deleted(fileId: string, ts: number): void
  renamed(fileId: string, name: string, ts: number): void
  closed(fileId: string, ts: number): void
  file(fileId: string): OpenFile | undefined
  /** Bytes read (from the server) or written: to a pipe's DCE/RPC or to the file's content. */
  content(fileId: string, fromOriginator: boolean, offset: number, bytes: Buffer, ts: number): void
  /** Bytes that can only be a pipe's. */
  pipe(fileId: string, fromOriginator: boolean, bytes: Buffer, ts: number): void
  end(ts: number): void
}

interface Handle {
  file: OpenFile
  rpc?: Dissector
  contents: [OffsetFile | undefined, OffsetFile | undefined]
}

export function createSmbState(session: Session): SmbState {
  const trees = createBoundedMap<number, Tree>({
    maxCount: MAX_OPEN,
    maxWeight: MAX_NAMES,
    weigh: ({ path }) => path.length,
  })
  const handles = createBoundedMap<string, Handle>({
    maxCount: MAX_OPEN,
    maxWeight: MAX_NAMES,
    weigh: ({ file }) => file.name.length,
    onEvict: (_fileId, handle) => release(handle, 0, true),
  })
  const logged = createBoundedMap<string, number>({
    maxCount: MAX_REMEMBERED,
    maxWeight: MAX_REMEMBERED,
    weigh: () => 1,
  })
  const budget = { held: 0 }
  let pipes = 0

  function write(action: Action, file: OpenFile, ts: number): void {
    const times = file.times ?? {}
    const parts = [action, file.path, file.name, file.size, times.modified]
    const identity = createHash('sha1').update(parts.join('\n')).digest('base64')
    if (times.modified !== undefined && isRepeat(identity, ts)) return
    session.emit('smb_files', ts, {
      action: `SMB::${action}`,
      path: file.path,
      name: file.name,
      size: file.size,
      prev_name: file.prevName,
      'times.modified': times.modified,
      'times.accessed': times.accessed,
      'times.created': times.created,
      'times.changed': times.changed,
    })
  }

  function isRepeat(identity: string, ts: number): boolean {
    const before = logged.get(identity)
    if (before !== undefined && ts - before < REPEAT_SECONDS) return true
    logged.set(identity, ts)
    return false
  }

  function handleOf(fileId: string): Handle {
    let handle = handles.get(fileId)
    if (handle === undefined) {
      handle = { file: { name: '', isPipe: false }, contents: [undefined, undefined] }
      handles.set(fileId, handle)
    }
    return handle
  }

  function contentOf(handle: Handle, fromOriginator: boolean, ts: number): OffsetFile {
    const side = fromOriginator ? 0 : 1
    const found = handle.contents[side]
    if (found !== undefined) return found
    const sink: FileSink = session.file('SMB', fromOriginator, ts)
    sink.filename = handle.file.name
    if (!fromOriginator) sink.totalBytes = handle.file.size
    const fresh = createOffsetFile(sink, budget)
    handle.contents[side] = fresh
    return fresh
  }

  function closed(fileId: string, ts: number, timedOut = false): void {
    const handle = handles.get(fileId)
    if (handle === undefined) return
    handles.delete(fileId)
    release(handle, ts, timedOut)
  }

  function release(handle: Handle, ts: number, timedOut: boolean): void {
    if (handle.rpc !== undefined) pipes--
    handle.rpc?.end?.(ts)
    for (const content of handle.contents) content?.end(ts, timedOut)
    if (handle.file.shareType === 'PRINTER' && !timedOut) write('PRINT_CLOSE', handle.file, ts)
  }

  function rpcOf(handle: Handle): Dissector | undefined {
    if (handle.rpc === undefined && pipes < MAX_PIPES) {
      pipes++
      handle.rpc = createDceRpc(session)
    }
    return handle.rpc
  }

  return {
    treeConnected(id, tree, ts) {
      trees.set(id, tree)
      session.emit('smb_mapping', ts, {
        path: tree.path,
        service: tree.service,
        native_file_system: tree.nativeFileSystem,
        share_type: tree.shareType,
      })
    },
    treeDisconnected: trees.delete,
    tree: trees.get,
    opened(fileId, file, ts) {
      closed(fileId, ts)
      const named = { ...file, name: file.name === '' ? SHARE_ROOT : file.name, openedAt: ts }
      handles.set(fileId, { file: named, contents: [undefined, undefined] })
      if (!file.isPipe || file.logsPipe === true)
        write(file.shareType === 'PRINTER' ? 'PRINT_OPEN' : 'FILE_OPEN', named, ts)
    },
    deleted(fileId, ts) {
      const handle = handles.get(fileId)
      if (handle !== undefined && !handle.file.isPipe) write('FILE_DELETE', handle.file, ts)
    },
    renamed(fileId, name, ts) {
      const handle = handleOf(fileId)
      handle.file = { ...handle.file, name, prevName: handle.file.name === '' ? undefined : handle.file.name }
      write('FILE_RENAME', handle.file, ts)
    },
    closed: (fileId, ts) => closed(fileId, ts),
    file: (fileId) => handles.get(fileId)?.file,
    content(fileId, fromOriginator, offset, bytes, ts) {
      const handle = handleOf(fileId)
      if (handle.file.isPipe) {
        rpcOf(handle)?.data(fromOriginator, bytes, ts)
        return
      }
      if (handle.file.name === '') return
      const content = contentOf(handle, fromOriginator, ts)
      content.data(offset, bytes, ts)
      if (!content.complete()) return
      content.end(ts)
      handle.contents[fromOriginator ? 0 : 1] = undefined
    },
    pipe(fileId, fromOriginator, bytes, ts) {
      if (bytes.length === 0) return
      const handle = handleOf(fileId)
      handle.file.isPipe = true
      rpcOf(handle)?.data(fromOriginator, bytes, ts)
    },
    end(ts) {
      for (const [fileId] of handles.entries()) closed(fileId, ts, true)
    },
  }
}
