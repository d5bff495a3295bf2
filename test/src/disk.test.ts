import { expect, it } from 'vitest'
import { createDiskGuard } from '../../src/disk.ts'
import { recordingLog, testLayout } from '../support/pipeline.ts'

it('with less space than the floor, intake pauses and says so once; what makes rows of work space goes on', () => {
  const log = recordingLog()
  const guard = createDiskGuard({ dirs: [testLayout().dataDir], floorBytes: Number.MAX_SAFE_INTEGER, log })
  expect(guard.mayClaim('monitor')).toBe(false)
  expect(guard.mayClaim('convert')).toBe(false)
  expect(guard.mayClaim('upload')).toBe(true)
  expect(log.lines).toHaveLength(1)
  expect(log.lines[0]).toMatch(/error the disk is nearly full: intake is paused/)
})

it('with enough space nothing pauses and nothing is said', () => {
  const log = recordingLog()
  const guard = createDiskGuard({ dirs: [testLayout().dataDir], floorBytes: 0, log })
  expect(guard.mayClaim('monitor')).toBe(true)
  expect(log.lines).toEqual([])
})
