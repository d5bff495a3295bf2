/** A worker process for pool.ts. */

import { runPass } from './pass.ts'
import { serve } from './serve.ts'
import { runSplit } from './split.ts'

serve({ split: runSplit, pass: runPass })
