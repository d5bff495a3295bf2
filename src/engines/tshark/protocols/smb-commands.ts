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

export const SMB2_COMMANDS =
  `NEGOTIATE_PROTOCOL SESSION_SETUP LOGOFF TREE_CONNECT TREE_DISCONNECT CREATE CLOSE FLUSH READ
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
  259: 'PENDING',
  267: 'NOTIFY_CLEANUP',
  268: 'NOTIFY_ENUM_DIR',
  2147483653: 'BUFFER_OVERFLOW',
  2147483654: 'NO_MORE_FILES',
  2147483693: 'STOPPED_ON_SYMLINK',
  3221225473: 'UNSUCCESSFUL',
  3221225474: 'NOT_IMPLEMENTED',
  3221225475: 'INVALID_INFO_CLASS',
  3221225476: 'INFO_LENGTH_MISMATCH',
  3221225480: 'INVALID_HANDLE',
  3221225485: 'INVALID_PARAMETER',
  3221225486: 'NO_SUCH_DEVICE',
  3221225487: 'NO_SUCH_FILE',
  3221225488: 'INVALID_DEVICE_REQUEST',
  3221225489: 'END_OF_FILE',
  3221225494: 'MORE_PROCESSING_REQUIRED',
  3221225506: 'ACCESS_DENIED',
  3221225507: 'BUFFER_TOO_SMALL',
  3221225523: 'OBJECT_NAME_INVALID',
  3221225524: 'OBJECT_NAME_NOT_FOUND',
  3221225525: 'OBJECT_NAME_COLLISION',
  3221225529: 'OBJECT_PATH_INVALID',
  3221225530: 'OBJECT_PATH_NOT_FOUND',
  3221225531: 'OBJECT_PATH_SYNTAX_BAD',
  3221225539: 'SHARING_VIOLATION',
  3221225551: 'EAS_NOT_SUPPORTED',
  3221225553: 'NO_EAS_ON_FILE',
  3221225556: 'FILE_LOCK_CONFLICT',
  3221225557: 'LOCK_NOT_GRANTED',
  3221225558: 'DELETE_PENDING',
  3221225566: 'NO_LOGON_SERVERS',
  3221225572: 'NO_SUCH_USER',
  3221225578: 'WRONG_PASSWORD',
  3221225581: 'LOGON_FAILURE',
  3221225582: 'ACCOUNT_RESTRICTION',
  3221225583: 'INVALID_LOGON_HOURS',
  3221225584: 'INVALID_WORKSTATION',
  3221225585: 'PASSWORD_EXPIRED',
  3221225586: 'ACCOUNT_DISABLED',
  3221225598: 'RANGE_NOT_LOCKED',
  3221225599: 'DISK_FULL',
  3221225626: 'INSUFFICIENT_RESOURCES',
  3221225644: 'PIPE_NOT_AVAILABLE',
  3221225645: 'INVALID_PIPE_STATE',
  3221225646: 'PIPE_BUSY',
  3221225648: 'PIPE_DISCONNECTED',
  3221225649: 'PIPE_CLOSING',
  3221225653: 'IO_TIMEOUT',
  3221225658: 'FILE_IS_A_DIRECTORY',
  3221225659: 'NOT_SUPPORTED',
  3221225673: 'NETWORK_NAME_DELETED',
  3221225674: 'NETWORK_ACCESS_DENIED',
  3221225675: 'BAD_DEVICE_TYPE',
  3221225676: 'BAD_NETWORK_NAME',
  3221225680: 'REQUEST_NOT_ACCEPTED',
  3221225685: 'FILE_RENAMED',
  3221225729: 'DIRECTORY_NOT_EMPTY',
  3221225731: 'NOT_A_DIRECTORY',
  3221225760: 'CANCELLED',
  3221225761: 'CANNOT_DELETE',
  3221225763: 'FILE_DELETED',
  3221225768: 'FILE_CLOSED',
  3221225819: 'LOGON_TYPE_NOT_GRANTED',
  3221225875: 'ACCOUNT_EXPIRED',
  3221225884: 'FS_DRIVER_REQUIRED',
  3221225987: 'USER_SESSION_DELETED',
  3221225989: 'INSUFF_SERVER_RESOURCES',
  3221225996: 'CONNECTION_DISCONNECTED',
  3221226020: 'PASSWORD_MUST_CHANGE',
  3221226021: 'NOT_FOUND',
  3221226036: 'ACCOUNT_LOCKED_OUT',
  3221226071: 'PATH_NOT_COVERED',
  3221226101: 'NOT_A_REPARSE_POINT',
  3221226332: 'NETWORK_SESSION_EXPIRED',
}
