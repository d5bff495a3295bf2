import { describe, expect, it } from 'vitest'
import { dceRpc } from '../../../../../src/engines/tshark/protocols/dce-rpc.ts'
import { endpointName, operationName } from '../../../../../src/engines/tshark/protocols/dce-rpc-names.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'
import {
  apReply,
  apRequest,
  ntlmAuthenticate,
  ntlmChallenge,
  ntlmNegotiate,
  rpcAuth,
  rpcAuth3,
  rpcBind,
  rpcBindAck,
  rpcRequest,
  rpcResponse,
  spnegoInit,
} from './windows-messages.ts'

const SAMR = '12345778-1234-abcd-ef00-0123456789ac'
const WKSSVC = '6bffd098-a112-3610-9833-46c3f87e345a'
const UNKNOWN = '01020304-0506-0708-090a-0b0c0d0e0f10'

const scene = (options = {}) => {
  const theStage = stage([dceRpc])
  return { ...theStage, flow: theStage.flow({ respPort: 135, ...options }) }
}

describe('DCE/RPC', () => {
  it('logs a call with its interface, its operation, the server’s address and the time it took', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(SAMR)).server(rpcBindAck('49676'))
    flow.client(rpcRequest(64), 10).server(rpcResponse(), 10.5).end()
    expect(rows('dce_rpc')).toEqual([
      { ts: 10, rtt: 0.5, named_pipe: '49676', endpoint: 'samr', operation: 'SamrConnect5' },
    ])
    expect(flow.services()).toEqual(['dce_rpc'])
  })

  it('is recognized on other ports by its bind', () => {
    const { flow, rows } = scene({ respPort: 49676 })
    flow.client(rpcBind(SAMR)).server(rpcBindAck('49676')).client(rpcRequest(7)).server(rpcResponse())
    expect(rows('dce_rpc')).toMatchObject([{ operation: 'SamrOpenDomain' }])
  })

  it('names what it does not know by its number', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(UNKNOWN)).server(rpcBindAck('135')).client(rpcRequest(9)).server(rpcResponse())
    expect(rows('dce_rpc')).toMatchObject([{ endpoint: `unknown-${UNKNOWN}`, operation: 'unknown-9' }])
  })

  it('leaves out the operations that are too many to be worth a record', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(WKSSVC)).server(rpcBindAck('135'))
    flow.client(rpcRequest(0)).server(rpcResponse()).client(rpcRequest(2)).server(rpcResponse())
    expect(rows('dce_rpc')).toMatchObject([{ operation: 'NetrWkstaUserEnum' }])
  })

  it('knows no interface whose bind the capture does not have', () => {
    const { flow, rows } = scene({ partial: true })
    flow.client(rpcRequest(64)).server(rpcResponse()).end()
    expect(rows('dce_rpc')).toEqual([])
  })

  it('logs a call that was never answered, without a time', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(SAMR)).server(rpcBindAck('135')).client(rpcRequest(5), 7).end()
    expect(rows('dce_rpc')).toEqual([
      { ts: 7, named_pipe: '135', endpoint: 'samr', operation: 'SamrLookupDomainInSamServer' },
    ])
  })

  it('takes a call in fragments as one that comes with its last', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(SAMR)).server(rpcBindAck('135'))
    flow.client(rpcRequest(5, { flags: 1 }), 7).client(rpcRequest(5, { flags: 0 }), 8)
    flow
      .client(rpcRequest(5, { flags: 2 }), 9)
      .server(rpcResponse(2, 1), 10)
      .server(rpcResponse(2, 2), 11)
      .end()
    expect(rows('dce_rpc')).toMatchObject([{ ts: 9, rtt: 2 }])
  })

  it('stops when too many calls are in fragments', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(SAMR))
    for (let callId = 2; callId < 30; callId++) flow.client(rpcRequest(5, { callId, flags: 1 }))
    expect(rows('weird')).toMatchObject([{ name: 'too_many_dce_rpc_msgs_in_reassembly', source: 'DCE_RPC' }])
  })

  it('reads calls split over segments, and several in one', () => {
    const { flow, rows } = scene()
    for (const byte of rpcBind(SAMR)) flow.client(Buffer.from([byte]))
    flow.server(rpcBindAck('135'))
    flow.client(rpcRequest(1, { callId: 2 })).server(rpcResponse(2))
    flow.client(Buffer.concat([rpcRequest(5, { callId: 3 })])).server(rpcResponse(3).subarray(0, 10))
    flow.server(rpcResponse(3).subarray(10))
    expect(rows('dce_rpc')).toHaveLength(2)
  })

  it('goes on behind a hole', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(SAMR)).server(rpcBindAck('135')).client(rpcRequest(1).subarray(0, 20))
    flow.gap(true, 12).client(rpcRequest(5)).server(rpcResponse())
    expect(rows('dce_rpc')).toMatchObject([{ operation: 'SamrLookupDomainInSamServer' }])
  })

  it('logs an NTLM login in a bind', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(SAMR, { auth: rpcAuth(10, ntlmNegotiate()) }), 1)
    flow.client(rpcAuth3(rpcAuth(10, ntlmAuthenticate({ user: 'ann', domain: 'EX', host: 'PC' })))).end()
    expect(rows('ntlm')).toEqual([{ ts: 1, username: 'ann', hostname: 'PC', domainname: 'EX' }])
  })

  it('notes that a Kerberos ticket was shown, and no more', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(SAMR, { auth: rpcAuth(9, spnegoInit(apRequest())) }), 1)
    flow.client(rpcBind(SAMR, { auth: rpcAuth(16, apReply()) })).end()
    expect(rows('kerberos')).toEqual([{ ts: 1 }])
    expect(flow.services()).toEqual(['krb', 'gssapi', 'dce_rpc'])
  })

  it('tells of Netlogon’s own way to authenticate', () => {
    const { flow, rows } = scene()
    flow.client(rpcBind(SAMR, { auth: rpcAuth(68, Buffer.from('secret!!')) }))
    expect(rows('weird')).toMatchObject([{ name: 'netlogon_dce_rpc_auth_type', addl: '68', source: 'DCE_RPC' }])
  })

  it('survives every message cut short and every byte spoilt', () => {
    const theStage = stage([dceRpc])
    const challenge = ntlmChallenge({ computer: 'S', dns: 's' })
    for (const message of [
      rpcBind(SAMR, { auth: rpcAuth(10, challenge) }),
      rpcBindAck('x'),
      rpcRequest(1),
      rpcResponse(),
    ]) {
      for (const bytes of damaged(message)) theStage.flow({ respPort: 135 }).client(bytes).server(bytes).end()
    }
    expect(theStage.faults).toEqual([])
  })
})

describe('the names of DCE/RPC', () => {
  it.each([
    ['12345778-1234-abcd-ef00-0123456789ab', 76, 'lsarpc', 'LsarLookupSids3'],
    ['4b324fc8-1670-01d3-1278-5a47bf6ee188', 57, 'srvsvc', 'NetrShareDelEx'],
    ['367abb81-9844-35f1-ad32-98f038001003', 16, 'svcctl', 'OpenServiceW'],
    ['338cd001-2244-31f1-aaaa-900038001003', 35, 'winreg', 'BaseRegDeleteKeyEx'],
    ['12345678-1234-abcd-ef00-0123456789ab', 89, 'spoolss', 'RpcAddPrinterDriverEx'],
    ['12345678-1234-abcd-ef00-01234567cffb', 45, 'netlogon', 'NetrLogonSamLogonWithFlags'],
    ['e3514235-4b06-11d1-ab04-00c04fc2dcd2', 3, 'drsuapi', 'DRSGetNCChanges'],
    ['86d35949-83c9-4044-b424-db363231fd0c', 12, 'ITaskSchedulerService', 'SchRpcRun'],
    ['9556dc99-828c-11cf-a37e-00aa003240c7', 24, 'IWbemServices', 'ExecMethod'],
    ['8d9f4e40-a03d-11ce-8f69-08003e30051b', 2, 'pnp', 'PNP_GetVersion'],
  ])('%s, operation %i is %s %s', (uuid, number, endpoint, operation) => {
    expect([endpointName(uuid), operationName(uuid, number)]).toEqual([endpoint, operation])
  })
})
