import { chromium } from 'playwright-core'
const [base, out, which='all', modes='1440-light,390-light,1440-dark,390-dark'] = process.argv.slice(2)
const b = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--headless','--no-sandbox','--disable-gpu','--disable-quic','--no-first-run','--disable-background-networking','--disable-component-update','--disable-sync'] })
const pages = JSON.parse(process.env.PAGES ?? '{}')
for (const mode of modes.split(',')) {
  const [w, scheme] = mode.split('-')
  const ctx = await b.newContext({ viewport: { width: +w, height: w === '390' ? 844 : 900 }, colorScheme: scheme, deviceScaleFactor: 1 })
  const p = await ctx.newPage()
  p.on('console', m => { if (['error','warning'].includes(m.type())) console.log(mode, 'CONSOLE', m.text().slice(0,300)) })
  p.on('pageerror', e => console.log(mode, 'PAGEERROR', e.stack?.slice(0,600)))
  for (const [name, path] of Object.entries(pages)) {
    if (which !== 'all' && !which.split(',').includes(name)) continue
    await p.goto(base + path, { waitUntil: 'load' })
    await p.waitForTimeout(+(process.env.WAIT ?? 2500))
    if (process.env.CLICK) { await p.click(process.env.CLICK); await p.waitForTimeout(800) }
    const wide = await p.evaluate('document.documentElement.scrollWidth > innerWidth + 1 ? document.documentElement.scrollWidth : 0')
    if (wide) console.log(mode, name, 'OVERFLOWS', wide)
    await p.screenshot({ path: `${out}/${name}-${mode}.png`, fullPage: process.env.FULL !== '0' })
  }
  await ctx.close()
}
await b.close()
