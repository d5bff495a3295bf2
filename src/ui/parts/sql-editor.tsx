/**
 * The editor of queries: completion from the real schema, errors underlined at their place.
 *
 * It lives in a shadow root: there its styles are style sheets made by script, which a strict policy for content lets
 * through, where style elements in the page would need an exception.
 */

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands'
import { SQLDialect, sql } from '@codemirror/lang-sql'
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from '@codemirror/language'
import { lintGutter, setDiagnostics } from '@codemirror/lint'
import { Compartment, EditorState, Prec } from '@codemirror/state'
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightSpecialChars,
  keymap,
  lineNumbers,
  placeholder,
} from '@codemirror/view'
import { tags } from '@lezer/highlight'
import { useEffect, useRef } from 'react'
import type { SqlRun, SqlSchema } from '../../api/contract.ts'

interface SqlEditorProps {
  text: string
  schema: SqlSchema | undefined
  error: SqlRun['error']
  onChange(text: string): void
  onRun(): void
}

export function SqlEditor({ text, schema, error, onChange, onRun }: SqlEditorProps) {
  const host = useRef<HTMLDivElement>(null)
  const view = useRef<EditorView>(null)
  const calls = useRef({ onChange, onRun })
  calls.current = { onChange, onRun }
  const language = useRef(new Compartment())

  // biome-ignore lint/correctness/useExhaustiveDependencies: made once; what changes is put in below
  useEffect(() => {
    const { current } = host
    if (!current) return
    const root = current.shadowRoot ?? current.attachShadow({ mode: 'open' })
    const parent = document.createElement('div')
    parent.style.height = '100%'
    root.replaceChildren(parent)
    const editor = new EditorView({
      parent,
      root,
      state: EditorState.create({ doc: text, extensions: [extensions(), language.current.of(languageOf(schema))] }),
    })
    view.current = editor
    return () => {
      editor.destroy()
      view.current = null
    }
  }, [])

  function extensions() {
    const run = () => {
      calls.current.onRun()
      return true
    }
    return [
      lineNumbers(),
      highlightSpecialChars(),
      history(),
      drawSelection(),
      indentOnInput(),
      bracketMatching(),
      closeBrackets(),
      autocompletion(),
      highlightActiveLine(),
      lintGutter(),
      placeholder('SELECT … FROM conn'),
      EditorView.lineWrapping,
      EditorView.contentAttributes.of({ 'aria-label': 'SQL query', spellcheck: 'false', autocapitalize: 'off' }),
      Prec.highest(keymap.of([{ key: 'Mod-Enter', run }])),
      // Tab goes on to the next control: a keyboard must be able to leave.
      keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap]),
      EditorView.updateListener.of(({ docChanged, state }) => {
        if (docChanged) calls.current.onChange(state.doc.toString())
      }),
      syntaxHighlighting(HIGHLIGHT),
      LOOK,
    ]
  }

  useEffect(() => {
    view.current?.dispatch({ effects: language.current.reconfigure(languageOf(schema)) })
  }, [schema])

  useEffect(() => {
    const { current } = view
    if (!current || current.state.doc.toString() === text) return
    current.dispatch({ changes: { from: 0, to: current.state.doc.length, insert: text } })
  }, [text])

  useEffect(() => {
    const { current } = view
    if (!current) return
    current.dispatch(setDiagnostics(current.state, error ? placesOf(current.state, error) : []))
  }, [error])

  return <div className="sql-editor" ref={host} />
}

function languageOf(schema: SqlSchema | undefined) {
  const tables = Object.fromEntries(
    (schema?.tables ?? []).map(({ name, columns }) => [
      name,
      columns.map((column) => ({ label: column.name, type: 'property', detail: column.type.toLowerCase() })),
    ]),
  )
  return sql({ dialect: DUCKDB, schema: tables, upperCaseKeywords: true })
}

/** Words that a query may have; the others (`query`, `name`, `user`) are columns here. */
const DUCKDB = SQLDialect.define({
  doubleDollarQuotedStrings: true,
  operatorChars: '+-*/<>=~!@#%^&|?:',
  keywords: [
    'select from where group by order limit offset having qualify as on using join left right full inner outer cross',
    'natural lateral asof semi anti positional union all except intersect distinct with recursive case when then else',
    'end and or not in is like ilike glob similar between exists any some asc desc nulls first last over partition rows',
    'range preceding following unbounded current row filter window exclude replace columns pivot unpivot tablesample',
    'describe show tables summarize explain analyze values cast try_cast interval escape collate at time zone',
  ].join(' '),
  types: [
    'varchar text boolean tinyint smallint integer bigint hugeint utinyint usmallint uinteger ubigint float double',
    'decimal date timestamp timestamptz blob uuid json struct map list',
  ].join(' '),
})

/** The word at the place that the server points to; without a place nothing is underlined. */
function placesOf(state: EditorState, { line, column, message }: NonNullable<SqlRun['error']>) {
  if (line === null || line < 1 || line > state.doc.lines) return []
  const { from, to, text } = state.doc.line(line)
  const start = Math.min(to, from + Math.max(0, (column ?? 1) - 1))
  const word = /^[\w.]+|^\S/.exec(text.slice(start - from))?.[0].length ?? 0
  const end = Math.min(to, start + word)
  return [
    { from: Math.min(start, end), to: end, severity: 'error' as const, message: message.split('\n')[0] ?? message },
  ]
}

const HIGHLIGHT = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--code-keyword)', fontWeight: '600' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--code-string)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--code-number)' },
  { tag: [tags.comment, tags.lineComment, tags.blockComment], color: 'var(--text-3)', fontStyle: 'italic' },
  { tag: tags.typeName, color: 'var(--code-number)' },
])

const LOOK = EditorView.theme({
  '&': { height: '100%', color: 'var(--text)', backgroundColor: 'transparent', fontSize: '13px' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '20px', overflow: 'auto' },
  '.cm-content': { padding: '8px 0', caretColor: 'var(--text)' },
  '.cm-gutters': { backgroundColor: 'transparent', color: 'var(--text-3)', border: 'none' },
  '.cm-activeLine': { backgroundColor: 'var(--hover)' },
  '.cm-cursor': { borderLeftColor: 'var(--text)' },
  '.cm-placeholder': { color: 'var(--text-3)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'var(--selection)',
  },
  '.cm-tooltip': {
    backgroundColor: 'var(--surface)',
    color: 'var(--text)',
    border: '1px solid var(--line-strong)',
    borderRadius: '6px',
    boxShadow: 'var(--shadow)',
    overflow: 'hidden',
  },
  '.cm-tooltip-autocomplete > ul > li': { padding: '2px 8px', fontFamily: 'var(--mono)', fontSize: '12px' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--accent-weak)', color: 'var(--text)' },
  '.cm-completionDetail': { color: 'var(--text-3)', fontStyle: 'normal', marginLeft: '12px' },
  '.cm-matchingBracket': { backgroundColor: 'var(--accent-weak)', outline: 'none' },
  '.cm-diagnostic': { padding: '4px 8px', borderLeft: '3px solid var(--bad)' },
})
