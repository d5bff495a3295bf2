/** Opens the engine that the configuration names: Zeek where it is installed, else our own, which tshark helps. */

import type { Engine, Log } from '../../stages/ports.ts'
import { findExecutable } from './child.ts'
import { cutOff } from './cut-off.ts'
import { openTsharkEngine, type TsharkEngineOptions } from './tshark/engine.ts'
import { openZeekEngine, type ZeekEngineOptions } from './zeek/engine.ts'

export type EngineChoice = 'auto' | 'zeek' | 'tshark'

export interface OpenEngineOptions extends TsharkEngineOptions, ZeekEngineOptions {
  log?: Log
}

/** @throws PipelineError engine_missing where one that is needed is not installed, engine_failed where it does not start. */
export async function openEngine(choice: EngineChoice, options: OpenEngineOptions = {}): Promise<Engine> {
  const { searchPath, zeekPath = 'zeek', log } = options
  const { isOffline } = await cutOff()
  if (isOffline) log?.debug('the engine gets no network')
  else log?.debug('the engine is not cut off from the network: this user can make no network namespace')
  if (choice === 'zeek' || (choice === 'auto' && findExecutable(zeekPath, searchPath) !== undefined)) {
    log?.debug('the engine is Zeek', { zeekPath })
    return await openZeekEngine(options)
  }
  log?.debug('the engine is our own', { choice })
  return await openTsharkEngine(options)
}
