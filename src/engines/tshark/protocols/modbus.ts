/**
 * Modbus/TCP (MODBUS Messaging on TCP/IP 1.0b; Application Protocol 1.1b3): one modbus record a request and
 * one a response, as soon as the function is known.
 */

import type { Dissector, Protocol, Session } from './protocol.ts'

/** Transaction, protocol (0), length of what follows; then unit and function. */
const HEADER_BYTES = 6
const EXCEPTION = 0x80
/** So far into a connection, what is no Modbus ends nothing (Zeek's `DPD::ignore_violations_after`). */
const TRUSTED_AFTER_BYTES = 10_240

const FUNCTIONS: Record<number, string> = {
  1: 'READ_COILS',
  2: 'READ_DISCRETE_INPUTS',
  3: 'READ_HOLDING_REGISTERS',
  4: 'READ_INPUT_REGISTERS',
  5: 'WRITE_SINGLE_COIL',
  6: 'WRITE_SINGLE_REGISTER',
  7: 'READ_EXCEPTION_STATUS',
  8: 'DIAGNOSTICS',
  9: 'PROGRAM_484',
  10: 'POLL_484',
  11: 'GET_COMM_EVENT_COUNTER',
  12: 'GET_COMM_EVENT_LOG',
  13: 'PROGRAM_584_984',
  14: 'POLL_584_984',
  15: 'WRITE_MULTIPLE_COILS',
  16: 'WRITE_MULTIPLE_REGISTERS',
  17: 'REPORT_SLAVE_ID',
  18: 'PROGRAM_884_U84',
  19: 'RESET_COMM_LINK_884_U84',
  20: 'READ_FILE_RECORD',
  21: 'WRITE_FILE_RECORD',
  22: 'MASK_WRITE_REGISTER',
  23: 'READ_WRITE_MULTIPLE_REGISTERS',
  24: 'READ_FIFO_QUEUE',
  40: 'PROGRAM_CONCEPT',
  41: 'MULTIPLE_FUNCTION_CODES',
  43: 'ENCAP_INTERFACE_TRANSPORT',
  91: 'OBJECT_MESSAGING',
  125: 'FIRMWARE_REPLACEMENT',
  126: 'PROGRAM_584_984_2',
  127: 'REPORT_LOCAL_ADDRESS',
}

const EXCEPTIONS: Record<number, string> = {
  1: 'ILLEGAL_FUNCTION',
  2: 'ILLEGAL_DATA_ADDRESS',
  3: 'ILLEGAL_DATA_VALUE',
  4: 'SLAVE_DEVICE_FAILURE',
  5: 'ACKNOWLEDGE',
  6: 'SLAVE_DEVICE_BUSY',
  8: 'MEMORY_PARITY_ERROR',
  10: 'GATEWAY_PATH_UNAVAILABLE',
  11: 'GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND',
}

export const modbus: Protocol = { name: 'modbus', logs: ['modbus'], tcpPorts: [502], dissect: createModbus }

interface Side {
  rest: Buffer
  /** Bytes of a message already told of that are still to come. */
  skip: number
}

function createModbus(session: Session): Dissector {
  const sides: [Side, Side] = [
    { rest: Buffer.alloc(0), skip: 0 },
    { rest: Buffer.alloc(0), skip: 0 },
  ]
  let foreign = false
  let seen = 0

  /** @returns bytes used, 0: more is needed, -1: this is no Modbus. */
  function take(fromOriginator: boolean, bytes: Buffer, ts: number): number {
    if (bytes.length < HEADER_BYTES + 2) return 0
    const length = bytes.readUInt16BE(4)
    if (bytes.readUInt16BE(2) !== 0 || length < 2) return -1
    const code = bytes[7] as number
    const isException = code >= EXCEPTION && length > 2
    if (isException && bytes.length < HEADER_BYTES + 3) return 0
    session.confirm('modbus')
    session.emit('modbus', ts, {
      tid: bytes.readUInt16BE(0),
      unit: bytes[6],
      func: functionName(code),
      pdu_type: fromOriginator ? 'REQ' : 'RESP',
      exception: isException && !fromOriginator ? exceptionName(bytes[8] as number) : undefined,
    })
    return HEADER_BYTES + length
  }

  return {
    data(fromOriginator, bytes, ts) {
      seen += bytes.length
      if (foreign) return
      const side = sides[fromOriginator ? 0 : 1]
      let buffer: Buffer = side.rest.length > 0 ? Buffer.concat([side.rest, bytes]) : bytes
      for (;;) {
        const skipped = Math.min(side.skip, buffer.length)
        side.skip -= skipped
        buffer = buffer.subarray(skipped)
        const used = take(fromOriginator, buffer, ts)
        if (used < 0) {
          foreign = seen < TRUSTED_AFTER_BYTES
          buffer = Buffer.alloc(0)
        }
        if (used <= 0) break
        side.skip = used
      }
      side.rest = Buffer.from(buffer)
    },
    // What comes after it is taken for the start of a message.
    gap(fromOriginator, length) {
      const side = sides[fromOriginator ? 0 : 1]
      seen += length
      side.skip = 0
      side.rest = Buffer.alloc(0)
    },
  }
}

function functionName(code: number): string {
  const name = FUNCTIONS[code & ~EXCEPTION]
  return name === undefined ? `unknown-${code}` : code >= EXCEPTION ? `${name}_EXCEPTION` : name
}

const exceptionName = (code: number) => EXCEPTIONS[code] ?? `unknown-${code}`
