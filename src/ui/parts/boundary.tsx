import { Component, type ReactNode } from 'react'
import { Failed } from './basics.tsx'

/** A bug of one page leaves the others and the way to them. */
export class Boundary extends Component<{ children: ReactNode }, { error: Error | undefined }> {
  override state = { error: undefined as Error | undefined }

  static getDerivedStateFromError(error: Error) {
    return { error }
  }

  override render() {
    const { error } = this.state
    if (error === undefined) return this.props.children
    return <Failed error={`This page failed: ${error.message}`} again={() => location.reload()} />
  }
}
