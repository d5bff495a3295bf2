/** Tables, search, figures, events and flows: questions for the process that searches. */

import type { SearchProcess } from '../search/process.ts'
import { notFound } from './problems.ts'
import type { Routes } from './routes.ts'

export function searchRoutes({ handle }: Routes, search: SearchProcess): void {
  handle('listTables', ({ signal }) => search.ask('tables', null, signal))

  handle('getColumns', async ({ params, signal }) => {
    const columns = await search.ask('columns', { type: params.table }, signal)
    if (columns === null) throw notFound(`there is no table ${params.table}`)
    const shown = columns.map(({ name, type, layer, zeek, meaning }) => ({ name, type, layer, zeek, meaning }))
    return { table: params.table, columns: shown }
  })

  handle('search', ({ body, signal }) => search.ask('search', body, signal))
  handle('count', ({ body, signal }) => search.ask('count', body, signal))
  handle('facets', ({ body, signal }) => search.ask('facets', body, signal))
  handle('histogram', ({ body, signal }) => search.ask('histogram', body, signal))
  handle('searchSql', ({ body, signal }) => search.ask('sql', body, signal))
  handle('top', ({ body, signal }) => search.ask('top', body, signal))
  handle('flow', ({ body, signal }) => search.ask('flow', body, signal))

  handle('getEvent', async ({ params, query, signal }) => {
    const event = await search.ask('event', { type: params.table, id: params.id, time: query.time }, signal)
    if (event === null) throw notFound(`there is no event ${params.id} in ${params.table}`)
    return event
  })
}
