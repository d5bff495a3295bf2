/**
 * The pipeline, in order: this array is the drawing.
 *
 *   inbox/ ─▶ monitor ─▶ convert ─▶ split ─▶ distribute ─▶ upload ─▶ parquet/
 */

import type { Layout } from '../state/layout.ts'
import type { Ledger } from '../state/ledger.ts'
import { createConvert } from './convert/convert.ts'
import { createDistribute } from './distribute/distribute.ts'
import { createMonitor } from './monitor/monitor.ts'
import type { CaptureInspector, Engine, EventSink } from './ports.ts'
import { createSplit } from './split/split.ts'
import type { Stage } from './stage.ts'
import { createUpload, type UploadOptions } from './upload/upload.ts'

export interface StageParts {
  ledger: Ledger
  layout: Layout
  inspector: CaptureInspector
  engine: () => Promise<Engine>
  sink: EventSink
}

export interface StageSettings {
  cutGraceMs: number
  convertTimeoutMs: number
  linesPerChunk: number
  lanes: number
  eventsPerBatch: number
  flush: UploadOptions['flush']
}

export function createStages(
  { ledger, layout, inspector, engine, sink }: StageParts,
  settings: StageSettings,
): Stage[] {
  return [
    createMonitor({ ledger, layout, inspector, cutGraceMs: settings.cutGraceMs }),
    createConvert({ ledger, layout, engine, timeoutMs: settings.convertTimeoutMs }),
    createSplit({ layout, linesPerChunk: settings.linesPerChunk }),
    createDistribute({ ledger, layout, lanes: settings.lanes, eventsPerBatch: settings.eventsPerBatch }),
    createUpload({ ledger, layout, sink, flush: settings.flush }),
  ]
}
