import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The files of a folder and of all folders in it, as paths from the root. */
export function filesBelow(root, folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) return filesBelow(root, path)
    return entry.isFile() ? [path] : []
  })
}
