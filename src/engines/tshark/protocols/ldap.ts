/** LDAP (RFC 4511). Being written. */

export {}
