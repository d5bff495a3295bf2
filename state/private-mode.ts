/**
 * Modes for what nobody else is to read: its owner's alone, and the group's as well in a folder that hands its group on
 * (set-group-ID, inode(7)) and lets it write. That is how the packages make the data directory, whose users share it.
 */

import { statSync } from 'node:fs'

const SHARED = 0o2020

export function privateFolderMode(parent: string): number {
  const mode = statSync(parent, { throwIfNoEntry: false })?.mode ?? 0
  return (mode & SHARED) === SHARED ? 0o770 : 0o700
}

export function privateFileMode(parent: string): number {
  return privateFolderMode(parent) & 0o666
}
