import { type FormEvent, useState } from 'react'
import type { Session } from '../../api/contract.ts'
import { ask, messageOf } from '../lib/api.ts'
import { useTitle } from '../lib/hooks.ts'
import { Button, Field, Notice } from '../parts/basics.tsx'

interface LogInProps {
  session: Session
  onLogIn(session: Session): void
}

export function LogInPage({ session, onLogIn }: LogInProps) {
  useTitle('Log in')
  const [user, setUser] = useState('')
  const [password, setPassword] = useState('')
  const [error, setError] = useState<string>()
  const [isBusy, setBusy] = useState(false)
  const hasNames = session.auth === 'accounts'
  const submit = async (event: FormEvent) => {
    event.preventDefault()
    setBusy(true)
    setError(undefined)
    try {
      onLogIn(await ask('POST /api/session', { body: { password, ...(hasNames && { user }) } }))
    } catch (reason) {
      setError(messageOf(reason))
      setBusy(false)
    }
  }
  return (
    <main className="alone">
      <form className="log-in panel" onSubmit={(event) => void submit(event)}>
        <h1>pcap-pipeline</h1>
        <p className="about">{hasNames ? 'Log in with your account.' : 'This server asks for its token.'}</p>
        {hasNames && (
          <Field label="Name">
            {(id) => (
              <input
                id={id}
                autoComplete="username"
                required
                value={user}
                onChange={({ target }) => setUser(target.value)}
                maxLength={128}
              />
            )}
          </Field>
        )}
        <Field label={hasNames ? 'Password' : 'Token'}>
          {(id) => (
            <input
              id={id}
              type="password"
              autoComplete="current-password"
              required
              value={password}
              onChange={({ target }) => setPassword(target.value)}
              maxLength={1024}
            />
          )}
        </Field>
        {error && <Notice tone="bad">{error}</Notice>}
        <Button look="primary" type="submit" disabled={isBusy}>
          {isBusy ? 'One moment…' : 'Log in'}
        </Button>
      </form>
    </main>
  )
}
