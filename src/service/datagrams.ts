/**
 * Datagrams to the system's own sockets, over a descriptor that was opened and connected before this process began.
 *
 * Node makes no datagram sockets of the Unix kind, but writes to any descriptor that it is given, and one write to a
 * connected datagram socket is one datagram (deploy/systemd/launch). The socket does not block: what the other end
 * does not take at once is refused.
 */

import { fstatSync, writeSync } from 'node:fs'

export type Send = (datagram: string | Buffer) => boolean

/** Undefined where the descriptor is none, or no socket. What it answers tells whether the datagram was taken. */
export function openDatagrams(fd: number | undefined): Send | undefined {
  if (fd === undefined || !isSocket(fd)) return undefined
  return (datagram) => {
    try {
      const bytes = Buffer.from(datagram)
      return writeSync(fd, bytes) === bytes.length
    } catch {
      return false
    }
  }
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket()
  } catch {
    return false
  }
}
