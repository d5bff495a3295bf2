/** Icons on a grid of 16, drawn with strokes in the colour of the text. They are never the only label of anything. */

const PATHS = {
  captures: 'M2.5 10v3.5h11V10M8 2.5V10M5 7l3 3 3-3',
  dashboard: 'M2.5 13.5V9M6.2 13.5V5M9.8 13.5V7.5M13.5 13.5V2.5',
  search: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.3 10.3l3.2 3.2',
  sql: 'M3 4.5l3 3-3 3M7.5 11.5H13',
  watch: 'M1.5 8s2.3-4.5 6.5-4.5S14.5 8 14.5 8 12.2 12.5 8 12.5 1.5 8 1.5 8zM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4z',
  health: 'M1.5 8.5h3l2-5 3 9 2-4h3',
  close: 'M3.5 3.5l9 9M12.5 3.5l-9 9',
  plus: 'M8 3v10M3 8h10',
  download: 'M8 2.5v8M5 7.5l3 3 3-3M2.5 13.5h11',
  trash: 'M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5l.5 9h6l.5-9',
  again: 'M13 8a5 5 0 1 1-1.5-3.5L13 6M13 2.5V6H9.5',
  check: 'M3 8.5l3.2 3L13 4.5',
  warn: 'M8 2.2l6.2 11.3H1.8zM8 6.5v3.2M8 11.4v.4',
  info: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 7.3V11M8 5v.3',
  flow: 'M2 5h9M8.5 2.5L11 5 8.5 7.5M14 11H5M7.5 8.5L5 11l2.5 2.5',
  columns: 'M2.5 3h11v10h-11zM6.2 3v10M9.8 3v10',
  sun: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1',
  moon: 'M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5z',
  system: 'M2 3h12v8H2zM6 13.5h4M8 11v2.5',
  play: 'M4.5 3l8 5-8 5z',
  stop: 'M4 4h8v8H4z',
  save: 'M3 2.5h8l2.5 2.5v8.5H3zM5.5 2.5V6h4V2.5M5.5 13.5V9.5h5v4',
  copy: 'M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3',
  edit: 'M3 13l.7-3L10.5 3l2.5 2.5-7 7zM9 4.5L11.5 7',
  more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  left: 'M10 3L5 8l5 5',
  right: 'M6 3l5 5-5 5',
  down: 'M3 6l5 5 5-5',
  chart: 'M2.5 2.5v11h11M5 10l3-3.5 2 2L13.5 4',
  table: 'M2.5 3h11v10h-11zM2.5 6.5h11M6.5 6.5V13',
  folder: 'M2 4h4l1.5 2H14v7H2z',
  file: 'M4 2h5l3 3v9H4zM9 2v3h3',
  out: 'M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}
