/**
 * The pipeline, in order: this array is the drawing.
 *
 *   inbox/ ─▶ monitor ─▶ convert ─▶ split ─▶ distribute ─▶ upload ─▶ parquet/
 *                                                          └─▶ index ─▶ Elasticsearch, where one is set
 */

import type { Layout } from '../state/layout.ts'
import type { Ledger } from '../state/ledger.ts'
import { createConvert } from './convert/convert.ts'
import { createDistribute } from './distribute/distribute.ts'
import { createIndexEvents } from './index-events/index-events.ts'
import { createMonitor } from './monitor/monitor.ts'
import type { CaptureInspector, Engine, EventIndex, EventSink } from './ports.ts'
import { createSplit } from './split/split.ts'
import type { Stage } from './stage.ts'
import { createUpload, type UploadOptions } from './upload/upload.ts'

export interface StageParts {
  ledger: Ledger
  layout: Layout
  inspector: CaptureInspector
  engine: () => Promise<Engine>
  sink: EventSink
  /** Absent where no Elasticsearch is set. */
  eventIndex?: EventIndex
}

export interface StageSettings {
  cutGraceMs: number
  /** Source → microseconds. */
  clockOffsets: ReadonlyMap<string, number>
  convertTimeoutMs: number
  linesPerChunk: number
  lanes: number
  eventsPerBatch: number
  flush: UploadOptions['flush']
}

export function createStages(
  { ledger, layout, inspector, engine, sink, eventIndex }: StageParts,
  settings: StageSettings,
): Stage[] {
  return [
    createMonitor({
      ...{ ledger, layout, inspector },
      cutGraceMs: settings.cutGraceMs,
      clockOffsets: settings.clockOffsets,
    }),
    createConvert({ ledger, layout, engine, timeoutMs: settings.convertTimeoutMs }),
    createSplit({ layout, linesPerChunk: settings.linesPerChunk }),
    createDistribute({ ledger, layout, lanes: settings.lanes, eventsPerBatch: settings.eventsPerBatch }),
    createUpload({ ledger, layout, sink, isIndexed: eventIndex !== undefined, flush: settings.flush }),
    ...(eventIndex === undefined ? [] : [createIndexEvents({ layout, eventIndex })]),
  ]
}
