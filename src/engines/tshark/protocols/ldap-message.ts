/** LDAP messages from their bytes. Being written. */

export {}
