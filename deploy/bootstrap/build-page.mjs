/**
 * Builds the page: node deploy/bootstrap/build-page.mjs <folder of the result>
 *
 * In, src/ui; out, its files with a hash in each name, by which a browser may keep them for good, and the documentation
 * under help/. Nothing in them asks
 * another host for anything: fonts and icons are among them. Browsers of the last two years are meant.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { build } from 'vite'
import { buildSite } from '../docs/site.mjs'

const root = fileURLToPath(new URL('../../src/ui', import.meta.url))
const outDir = resolve(process.argv[2] ?? join(root, '../../dist/ui'))

await build({
  root,
  configFile: false,
  logLevel: 'warn',
  // no file of the environment is read into the page
  envDir: false,
  publicDir: false,
  build: {
    outDir,
    emptyOutDir: true,
    target: ['chrome123', 'firefox125', 'safari17.5'],
    // The policy for content lets no data addresses through but images'.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
  },
})

buildSite(join(root, '../..'), join(outDir, 'help'))

// Compressed once here rather than at each request; fonts are so already.
for (const name of readdirSync(outDir, { recursive: true })) {
  if (!/\.(js|css|html|svg)$/.test(name)) continue
  const content = readFileSync(join(outDir, name))
  writeFileSync(join(outDir, `${name}.br`), brotliCompressSync(content))
  writeFileSync(join(outDir, `${name}.gz`), gzipSync(content, { level: 9 }))
}
