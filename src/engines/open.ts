/** Opens the engine that the configuration names: Zeek where it is installed, else tshark. */

import type { Engine, Log } from '../../stages/ports.ts'
import { PipelineError } from '../../state/errors.ts'
import { findExecutable } from './child.ts'
import { openTsharkEngine, type TsharkEngineOptions } from './tshark/engine.ts'
import { openZeekEngine, type ZeekEngineOptions } from './zeek/engine.ts'

export type EngineChoice = 'auto' | 'zeek' | 'tshark'

export interface OpenEngineOptions extends TsharkEngineOptions, ZeekEngineOptions {
  log?: Log
}

const INSTALL = `Neither Zeek nor tshark is installed. Type one of:
  sudo apt-get install tshark        (Debian, Ubuntu)
  sudo dnf install wireshark-cli     (Fedora, RHEL)
  brew install wireshark             (macOS)
or install Zeek: https://docs.zeek.org/en/master/install.html`

/** @throws PipelineError engine_missing with the command to type, engine_failed where the engine does not start. */
export async function openEngine(choice: EngineChoice, options: OpenEngineOptions = {}): Promise<Engine> {
  const { searchPath, zeekPath = 'zeek', tsharkPath = 'tshark', log } = options
  if (choice === 'zeek' || (choice === 'auto' && findExecutable(zeekPath, searchPath) !== undefined)) {
    log?.debug('the engine is Zeek', { zeekPath })
    return await openZeekEngine(options)
  }
  if (choice === 'tshark' || findExecutable(tsharkPath, searchPath) !== undefined) {
    log?.debug('the engine is tshark', { tsharkPath })
    return await openTsharkEngine(options)
  }
  throw new PipelineError('engine_missing', INSTALL)
}
