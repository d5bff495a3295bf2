/** A sandbox that forbids one thing: `perl -e FORBID_PRIORITY COMMAND…` runs a command that cannot change priorities. */

import { spawnSync } from 'node:child_process'

/** Numbers of the system call, and of the processor in seccomp(2). */
const SETPRIORITY = { x64: 141, arm64: 140 }[process.arch as 'x64' | 'arm64']
const PRCTL = { x64: 157, arm64: 167 }[process.arch as 'x64' | 'arm64']

/**
 * A program of four instructions (linux/filter.h): load the call's number; is it this one? then EPERM; else let it pass.
 * prctl(2): 38 is PR_SET_NO_NEW_PRIVS, 22 with 2 is PR_SET_SECCOMP with a filter.
 */
export const FORBID_PRIORITY = `
my $code = pack('(SCCL)4', 0x20, 0, 0, 0, 0x15, 0, 1, ${SETPRIORITY}, 0x06, 0, 0, 0x00050001, 0x06, 0, 0, 0x7fff0000);
my $filter = pack('Sx6P', 4, $code);
syscall(${PRCTL}, 38, 1, 0, 0, 0) == 0 && syscall(${PRCTL}, 22, 2, $filter) == 0 or die "no filter: $!";
exec { $ARGV[0] } @ARGV;
`

/** Why there can be none here, in words for a title; empty where there can. */
export function whyNoFilter(): string {
  if (SETPRIORITY === undefined) return ' (skipped: its numbers are those of other processors)'
  const { status } = spawnSync('perl', ['-e', FORBID_PRIORITY, 'true'])
  return status === 0 ? '' : ' (skipped: no perl, or no filters of system calls, here)'
}
