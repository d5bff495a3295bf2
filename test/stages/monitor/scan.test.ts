import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { isPartialName, scanInbox } from '../../../stages/monitor/scan.ts'
import { testLayout } from '../../support/pipeline.ts'

it.each([
  '.x',
  'a.pcap.part',
  'a.PARTIAL',
  'a.tmp',
  'a.filepart',
  'a.pcap~',
  'a.crdownload',
  '.a.pcap.Ab12cd',
  'a.swp',
])('%s is the name of an unfinished file', (name) => expect(isPartialName(name)).toBe(true))

it.each(['a.pcap', 'a', 'part', 'a.part.pcap', 'tmp.pcapng', 'a.pcap.gz', 'capture.cap.1'])('%s is not', (name) =>
  expect(isPartialName(name)).toBe(false),
)

it('finds files at any depth, names their source by the first folder, and tells links apart', async () => {
  const { inbox } = testLayout()
  mkdirSync(join(inbox, 'site/2026/11'), { recursive: true })
  mkdirSync(join(inbox, '.hidden'), { recursive: true })
  for (const path of ['a.pcap', 'site/2026/11/b.pcap', '.hidden/c.pcap']) writeFileSync(join(inbox, path), 'x')
  symlinkSync('/etc/passwd', join(inbox, 'link.pcap'))
  const files = await scanInbox(inbox, () => {})
  expect(files.map(({ name, source, kind }) => [name, source, kind]).sort()).toEqual([
    ['a.pcap', 'default', 'file'],
    ['b.pcap', 'site', 'file'],
    ['link.pcap', 'default', 'link'],
  ])
})

it('an inbox that is not there is an error', async () => {
  await expect(scanInbox(join(testLayout().dataDir, 'nowhere'), () => {})).rejects.toThrow(/ENOENT/)
})
