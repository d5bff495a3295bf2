import { describe, expect, it } from 'vitest'
import { createNormalizer } from '../../../stages/upload/normalize.ts'
import { defaultRules } from '../../../stages/upload/rules.ts'

const normalize = createNormalizer(defaultRules(), { localNetworks: ['10.0.0.0/8', 'fd00::/8'] })

describe('a record', () => {
  it('becomes a message with its raw form, its canonical names and what follows from them', () => {
    const raw = {
      ...{
        ts: 1767225600.1239,
        uid: 'C1',
        'id.orig_h': '10.0.0.1',
        'id.orig_p': 54585,
        'id.resp_h': '8.8.8.8',
        'id.resp_p': 53,
      },
      ...{ proto: 'udp', service: 'dns', orig_bytes: 40 },
    }
    expect(normalize('conn', raw, 1000)).toEqual({
      source: 'zeek_conn',
      log_type: 'conn',
      raw,
      normalized: {
        ...{
          event_time: 1767225600123,
          flow_id: 'C1',
          src_ip: '10.0.0.1',
          dst_ip: '8.8.8.8',
          src_port: 54585,
          dst_port: 53,
        },
        ...{
          protocol: 'udp',
          service: 'dns',
          event_type: 'network_connection',
          event_class: 'network',
          ingest_time: 1000,
        },
      },
      enriched: {
        ...{ event_year: 2026, event_month: 1, event_day: 1, event_hour: 0, event_minute: 0, event_weekday: 4 },
        ...{
          src_ip_is_private: true,
          dst_ip_is_private: false,
          direction: 'outbound',
          community_id: expect.stringMatching(/^1:.{28}$/),
        },
      },
    })
  })

  it('of an SMB command keeps the file that it is about', () => {
    const raw = {
      ...{ ts: 1767225600, uid: 'C1', 'id.orig_h': '10.0.0.1', 'id.orig_p': 40_000, 'id.resp_h': '10.0.0.2' },
      ...{ 'id.resp_p': 445, command: 'CLOSE', status: 'SUCCESS', rtt: 0.1, version: 'SMB2' },
      ...{ 'referenced_file.name': 'notes.txt', 'referenced_file.size': 12 },
    }
    expect(normalize('smb_cmd', raw)).toMatchObject({
      source: 'zeek_smb_cmd',
      raw: { command: 'CLOSE', 'referenced_file.name': 'notes.txt' },
      normalized: { flow_id: 'C1', src_ip: '10.0.0.1', dst_port: 445, event_type: 'smb_command', event_class: 'file' },
      enriched: { direction: 'internal', community_id: expect.stringMatching(/^1:/) },
    })
  })

  it('may be nested, and have an ISO time', () => {
    const { normalized } = normalize('dns', {
      ts: '2026-01-01T00:00:00.5Z',
      id: { orig_h: 'fd00::1', resp_h: 'fd00::2' },
    })
    expect(normalized).toMatchObject({ event_time: 1767225600500, src_ip: 'fd00::1', dst_ip: 'fd00::2' })
  })

  it('leaves out what is absent, null or does not fit', () => {
    const { normalized, enriched } = normalize('conn', {
      ts: 'soon',
      uid: null,
      'id.orig_h': 'host',
      'id.orig_p': 70000,
      'id.resp_h': '10.0.0.1',
      proto: 6,
    })
    expect(normalized).toEqual({ dst_ip: '10.0.0.1', event_type: 'network_connection', event_class: 'network' })
    expect(enriched).toEqual({ dst_ip_is_private: true })
  })

  it('takes the flow id out of a list where it has none', () => {
    expect(normalize('dhcp', { uids: ['C1', 'C2'] }).normalized.flow_id).toBe('C1')
    expect(normalize('dhcp', { uids: ['C1'], uid: 'C0' }).normalized.flow_id).toBe('C0')
  })

  it.each([
    ['10.0.0.1', '10.0.0.2', 'internal'],
    ['10.0.0.1', '8.8.8.8', 'outbound'],
    ['8.8.8.8', '10.0.0.1', 'inbound'],
    ['192.168.0.1', '8.8.8.8', 'external'],
    ['fd00::1', '2001:db8::1', 'outbound'],
    ['::ffff:10.0.0.1', '8.8.8.8', 'outbound'],
  ])('from %s to %s is %s', (src, dst, direction) => {
    expect(normalize('conn', { 'id.orig_h': src, 'id.resp_h': dst }).enriched.direction).toBe(direction)
  })

  it('of a log type without rules has the names that are common to all', () => {
    expect(normalize('toString', { ts: 1, uid: 'C1' })).toMatchObject({
      source: 'zeek_toString',
      normalized: { event_time: 1000, flow_id: 'C1', event_class: 'other' },
    })
  })
})

it('networks that are none are refused', () => {
  expect(() => createNormalizer(defaultRules(), { localNetworks: ['lan'] })).toThrow(
    expect.objectContaining({ code: 'config_invalid' }),
  )
})
