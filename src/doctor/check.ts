/** What a check is: it looks at one thing of the host and says how it is, in plain words, with what to do. */

export type Verdict = 'ok' | 'warning' | 'error'

export interface Finding {
  verdict: Verdict
  /** How it is, a sentence without a full stop. */
  text: string
  /** What to do about it; on every warning and error. */
  todo?: string
}

export interface Check<Of> {
  name: string
  /** Looks, and changes nothing but probe files of its own. What it throws is reported as a finding. */
  look(host: Of): Promise<Finding[]> | Finding[]
}

export const ok = (text: string): Finding => ({ verdict: 'ok', text })
export const warning = (text: string, todo: string): Finding => ({ verdict: 'warning', text, todo })
export const error = (text: string, todo: string): Finding => ({ verdict: 'error', text, todo })

/** So many are named; of more only the number. */
export function some(items: readonly string[], most = 3): string {
  const rest = items.length - most
  return `${items.slice(0, most).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`
}
