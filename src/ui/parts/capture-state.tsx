import type { Capture, CaptureState } from '../../api/contract.ts'
import { Badge, type Tone } from './basics.tsx'

const WORDS: Record<CaptureState, [string, Tone, string]> = {
  accepted: ['In work', 'info', 'It is being worked on'],
  done: ['Balanced', 'good', 'Every packet and every record is accounted for'],
  unbalanced: ['Does not balance', 'bad', 'The receipt tells what is missing'],
  empty: ['No packets', 'warn', 'The file is a capture without packets'],
  failed: ['Failed', 'bad', 'Something of it was given up'],
  forgetting: ['Being forgotten', 'neutral', 'Its rows and files are being removed'],
  forgotten: ['Forgotten', 'neutral', 'Its rows and files were removed'],
  reprocessing: ['Starts anew', 'info', 'Its rows are being removed, then it is converted again'],
}

export function StateBadge({ capture: { state, packets } }: { capture: Pick<Capture, 'state' | 'packets'> }) {
  const [word, tone, about] = WORDS[state]
  const isSalvaged = state === 'done' && packets?.salvaged
  return (
    <Badge tone={isSalvaged ? 'warn' : tone} title={isSalvaged ? `Salvaged: ${packets.salvaged}` : about}>
      {isSalvaged ? 'Salvaged' : word}
    </Badge>
  )
}
