import { describe, expect, it } from 'vitest'
import { sniffMime } from '../../../../../src/engines/tshark/protocols/mime.ts'

const mimeOf = (text: string, encoding: BufferEncoding = 'latin1') => sniffMime(Buffer.from(text, encoding))

describe('what a file is by its first bytes', () => {
  it('takes the highest rank of all that hold', () => {
    expect(mimeOf('<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>')).toBe('image/svg+xml')
    expect(mimeOf('<?xml version="1.0"?>\n<a>text</a>')).toBe('application/xml')
    expect(mimeOf('<?xml version="1.0"?>\n<!DOCTYPE html>\n<html>')).toBe('text/html')
    expect(mimeOf('[section]\nkey = value\n')).toBe('text/ini')
  })

  it('finds the first element behind comments and blanks', () => {
    expect(mimeOf('<!-- one -->\n <!-- two -->\n<HTML>')).toBe('text/html')
    expect(mimeOf('\xef\xbb\xbf<!-- one -->\n<?xml version="1.0"?><!-- two --><rss version="2.0">')).toBe('text/rss')
    expect(mimeOf('<feed xmlns="http://www.w3.org/2005/Atom"></feed>')).toBe('text/atom')
    expect(mimeOf('not first: <html>')).toBe('text/plain')
  })

  it('knows JSON by its first member', () => {
    expect(mimeOf('{"a": 1}')).toBe('text/json')
    expect(mimeOf(' [\n {"a": 1}]')).toBe('text/json')
    expect(mimeOf('[1, 2]')).toBe('text/json')
    expect(mimeOf('{}\r\n')).toBe('text/json')
    expect(mimeOf('{"a": null, "b": 1}')).toBe('text/plain')
    expect(mimeOf('["a"]')).toBeUndefined()
  })

  it('needs ten printable characters for text', () => {
    expect(mimeOf('123456789')).toBeUndefined()
    expect(mimeOf('1234567890')).toBe('text/plain')
    expect(mimeOf('\ufeff1234567890', 'utf8')).toBe('text/plain')
    expect(mimeOf('hällo wörld, hällo', 'utf8')).toBeUndefined()
  })

  it('tells programs, libraries and objects of ELF apart in both byte orders', () => {
    const elf = (order: number, type: string) => `\x7fELF\x02${String.fromCharCode(order)}${'\0'.repeat(10)}${type}`
    expect(mimeOf(elf(1, '\x02\0'))).toBe('application/x-executable')
    expect(mimeOf(elf(1, '\x03\0'))).toBe('application/x-sharedlib')
    expect(mimeOf(elf(2, '\0\x01'))).toBe('application/x-object')
  })

  it('tells zips by what is in them', () => {
    const entry = (name: string) => `PK\x03\x04${'\0'.repeat(26)}${name}`
    expect(mimeOf(entry('x.txt'))).toBe('application/zip')
    expect(mimeOf(`${entry('[Content_Types].xml')}data${entry('word/document.xml')}`)).toBe(
      'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
    )
    const odt = `PK\x03\x04${'\0'.repeat(22)}\x08\0\0\0mimetypeapplication/vnd.oasis.opendocument.text`
    expect(mimeOf(`${odt}PK`)).toBe('application/vnd.oasis.opendocument.text')
    expect(mimeOf(`${odt}-templatePK`)).toBe('application/vnd.oasis.opendocument.text-template')
  })

  it('takes no long time over marks that lead nowhere', () => {
    for (const hostile of ['<!---->', '<!-- --><?xml ?>', '--- \n+++ \n', '[ ] ', '{"']) {
      const started = performance.now()
      mimeOf(hostile.repeat(4096 / hostile.length))
      mimeOf(`<?xml ${hostile.repeat(4096 / hostile.length)}`)
      expect(performance.now() - started).toBeLessThan(200)
    }
  })
})
