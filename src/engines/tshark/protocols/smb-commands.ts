/**
 * Zeek's smb_cmd log: one record an SMB command that was answered. Zeek writes it where its policy script
 * `protocols/smb/log-cmds` is loaded, ours where the setting asks for it.
 *
 * Names: MS-SMB2 2.2.1.2 and MS-CIFS 2.2.2.1 without their prefixes; statuses: MS-ERREF 2.3.1 without `STATUS_`.
 */

import type { Session } from './protocol.ts'
import { type OpenFile, SHARE_ROOT } from './smb-state.ts'

export interface Answered {
  version: 'SMB1' | 'SMB2'
  command: string | undefined
  subCommand?: string
  status: number
  /** When it was asked, and answered. */
  asked: number
  answered: number
  file?: ReferencedFile
}

export interface ReferencedFile extends Partial<Pick<OpenFile, 'name' | 'path' | 'size' | 'times' | 'prevName'>> {
  action: 'FILE_OPEN' | 'FILE_CLOSE' | 'FILE_READ' | 'FILE_WRITE' | 'FILE_RENAME' | 'FILE_DELETE'
  openedAt?: number
}

/** It only asks for the login's next step. */
const MORE_PROCESSING_REQUIRED = 0xc000_0016
const PENDING = 0x103

/** What tells of answered commands; undefined where nobody asks for the log. */
export function createCommandLog(session: Session): ((answered: Answered) => void) | undefined {
  if (!session.wants('smb_cmd')) return undefined
  const { flow } = session
  return ({ version, command, subCommand, status, asked, answered, file }) => {
    if (command === undefined || status === MORE_PROCESSING_REQUIRED || status === PENDING) return
    const { action, times } = file ?? {}
    session.emit('smb_cmd', asked, {
      command,
      sub_command: subCommand,
      status: STATUS_NAMES[status] ?? `unknown-${status}`,
      rtt: answered - asked,
      version,
      'referenced_file.ts': file?.openedAt ?? asked,
      'referenced_file.uid': flow.uid,
      'referenced_file.id.orig_h': flow.origAddr,
      'referenced_file.id.orig_p': flow.origPort,
      'referenced_file.id.resp_h': flow.respAddr,
      'referenced_file.id.resp_p': flow.respPort,
      'referenced_file.action': action && `SMB::${action}`,
      'referenced_file.path': file?.path,
      'referenced_file.name': file?.name === '' ? SHARE_ROOT : file?.name,
      'referenced_file.size': file?.size ?? 0,
      'referenced_file.prev_name': file?.prevName,
      'referenced_file.times.modified': times?.modified,
      'referenced_file.times.accessed': times?.accessed,
      'referenced_file.times.created': times?.created,
      'referenced_file.times.changed': times?.changed,
    })
  }
}

export const SMB2_COMMANDS = `NEGOTIATE_PROTOCOL SESSION_SETUP LOGOFF TREE_CONNECT TREE_DISCONNECT CREATE CLOSE FLUSH READ
  WRITE LOCK IOCTL CANCEL ECHO QUERY_DIRECTORY CHANGE_NOTIFY QUERY_INFO SET_INFO OPLOCK_BREAK`.split(/\s+/)

export const SMB1_COMMANDS: Record<number, string> = {
  0: 'CREATE_DIRECTORY',
  1: 'DELETE_DIRECTORY',
  2: 'OPEN',
  3: 'CREATE',
  4: 'CLOSE',
  5: 'FLUSH',
  6: 'DELETE',
  7: 'RENAME',
  8: 'QUERY_INFORMATION',
  9: 'SET_INFORMATION',
  10: 'READ',
  11: 'WRITE',
  16: 'CHECK_DIRECTORY',
  18: 'SEEK',
  36: 'LOCKING_ANDX',
  37: 'TRANSACTION',
  38: 'TRANSACTION_SECONDARY',
  43: 'ECHO',
  45: 'OPEN_ANDX',
  46: 'READ_ANDX',
  47: 'WRITE_ANDX',
  50: 'TRANSACTION2',
  51: 'TRANSACTION2_SECONDARY',
  52: 'FIND_CLOSE2',
  112: 'TREE_CONNECT',
  113: 'TREE_DISCONNECT',
  114: 'NEGOTIATE',
  115: 'SESSION_SETUP_ANDX',
  116: 'LOGOFF_ANDX',
  117: 'TREE_CONNECT_ANDX',
  128: 'QUERY_INFORMATION_DISK',
  160: 'NT_TRANSACT',
  161: 'NT_TRANSACT_SECONDARY',
  162: 'NT_CREATE_ANDX',
  164: 'NT_CANCEL',
  165: 'NT_RENAME',
}

/** MS-CIFS 2.2.6: what a TRANSACTION2 does. */
export const TRANSACTION2_COMMANDS = `OPEN2 FIND_FIRST2 FIND_NEXT2 QUERY_FS_INFORMATION SET_FS_INFORMATION
  QUERY_PATH_INFORMATION SET_PATH_INFORMATION QUERY_FILE_INFORMATION SET_FILE_INFORMATION FSCTL IOCTL2 FIND_NOTIFY_FIRST
  FIND_NOTIFY_NEXT CREATE_DIRECTORY SESSION_SETUP GET_DFS_REFERRAL REPORT_DFS_INCONSISTENCY`.split(/\s+/)

const STATUS_NAMES: Record<number, string> = {
  0: 'SUCCESS',
  0x0000_0103: 'PENDING',
  0x0000_010b: 'NOTIFY_CLEANUP',
  0x0000_010c: 'NOTIFY_ENUM_DIR',
  0x8000_0005: 'BUFFER_OVERFLOW',
  0x8000_0006: 'NO_MORE_FILES',
  0x8000_002d: 'STOPPED_ON_SYMLINK',
  0xc000_0001: 'UNSUCCESSFUL',
  0xc000_0002: 'NOT_IMPLEMENTED',
  0xc000_0003: 'INVALID_INFO_CLASS',
  0xc000_0004: 'INFO_LENGTH_MISMATCH',
  0xc000_0008: 'INVALID_HANDLE',
  0xc000_000d: 'INVALID_PARAMETER',
  0xc000_000e: 'NO_SUCH_DEVICE',
  0xc000_000f: 'NO_SUCH_FILE',
  0xc000_0010: 'INVALID_DEVICE_REQUEST',
  0xc000_0011: 'END_OF_FILE',
  0xc000_0016: 'MORE_PROCESSING_REQUIRED',
  0xc000_0022: 'ACCESS_DENIED',
  0xc000_0023: 'BUFFER_TOO_SMALL',
  0xc000_0033: 'OBJECT_NAME_INVALID',
  0xc000_0034: 'OBJECT_NAME_NOT_FOUND',
  0xc000_0035: 'OBJECT_NAME_COLLISION',
  0xc000_0039: 'OBJECT_PATH_INVALID',
  0xc000_003a: 'OBJECT_PATH_NOT_FOUND',
  0xc000_003b: 'OBJECT_PATH_SYNTAX_BAD',
  0xc000_0043: 'SHARING_VIOLATION',
  0xc000_004f: 'EAS_NOT_SUPPORTED',
  0xc000_0051: 'NO_EAS_ON_FILE',
  0xc000_0054: 'FILE_LOCK_CONFLICT',
  0xc000_0055: 'LOCK_NOT_GRANTED',
  0xc000_0056: 'DELETE_PENDING',
  0xc000_005e: 'NO_LOGON_SERVERS',
  0xc000_0064: 'NO_SUCH_USER',
  0xc000_006a: 'WRONG_PASSWORD',
  0xc000_006d: 'LOGON_FAILURE',
  0xc000_006e: 'ACCOUNT_RESTRICTION',
  0xc000_006f: 'INVALID_LOGON_HOURS',
  0xc000_0070: 'INVALID_WORKSTATION',
  0xc000_0071: 'PASSWORD_EXPIRED',
  0xc000_0072: 'ACCOUNT_DISABLED',
  0xc000_007e: 'RANGE_NOT_LOCKED',
  0xc000_007f: 'DISK_FULL',
  0xc000_009a: 'INSUFFICIENT_RESOURCES',
  0xc000_00ac: 'PIPE_NOT_AVAILABLE',
  0xc000_00ad: 'INVALID_PIPE_STATE',
  0xc000_00ae: 'PIPE_BUSY',
  0xc000_00b0: 'PIPE_DISCONNECTED',
  0xc000_00b1: 'PIPE_CLOSING',
  0xc000_00b5: 'IO_TIMEOUT',
  0xc000_00ba: 'FILE_IS_A_DIRECTORY',
  0xc000_00bb: 'NOT_SUPPORTED',
  0xc000_00c9: 'NETWORK_NAME_DELETED',
  0xc000_00ca: 'NETWORK_ACCESS_DENIED',
  0xc000_00cb: 'BAD_DEVICE_TYPE',
  0xc000_00cc: 'BAD_NETWORK_NAME',
  0xc000_00d0: 'REQUEST_NOT_ACCEPTED',
  0xc000_00d5: 'FILE_RENAMED',
  0xc000_0101: 'DIRECTORY_NOT_EMPTY',
  0xc000_0103: 'NOT_A_DIRECTORY',
  0xc000_0120: 'CANCELLED',
  0xc000_0121: 'CANNOT_DELETE',
  0xc000_0123: 'FILE_DELETED',
  0xc000_0128: 'FILE_CLOSED',
  0xc000_015b: 'LOGON_TYPE_NOT_GRANTED',
  0xc000_0193: 'ACCOUNT_EXPIRED',
  0xc000_019c: 'FS_DRIVER_REQUIRED',
  0xc000_0203: 'USER_SESSION_DELETED',
  0xc000_0205: 'INSUFF_SERVER_RESOURCES',
  0xc000_020c: 'CONNECTION_DISCONNECTED',
  0xc000_0224: 'PASSWORD_MUST_CHANGE',
  0xc000_0225: 'NOT_FOUND',
  0xc000_0234: 'ACCOUNT_LOCKED_OUT',
  0xc000_0257: 'PATH_NOT_COVERED',
  0xc000_0275: 'NOT_A_REPARSE_POINT',
  0xc000_035c: 'NETWORK_SESSION_EXPIRED',
}
