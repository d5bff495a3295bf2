/**
 * The ledger's schema, step by step. A step that has been released is never changed: add one.
 *
 * Times are milliseconds since the epoch. JSON columns hold what only code reads; whatever a person may
 * want to look at with the sqlite3 shell is a column of its own.
 */

export const migrations: readonly string[] = [
  `
  CREATE TABLE captures (
    id             TEXT PRIMARY KEY,           -- SHA-256 of the uncompressed content
    name           TEXT NOT NULL,              -- as it first arrived, for people
    source         TEXT NOT NULL,
    format         TEXT NOT NULL,
    bytes          INTEGER NOT NULL,
    path           TEXT NOT NULL,              -- below the data directory
    state          TEXT NOT NULL,
    engine         TEXT,
    engine_version TEXT,
    packets        TEXT,                       -- PacketAccount
    warnings       TEXT NOT NULL DEFAULT '[]',
    accepted_at    INTEGER NOT NULL,
    finished_at    INTEGER
  ) STRICT;
  CREATE INDEX captures_by_time ON captures (accepted_at);

  -- every file that came, whatever became of it
  CREATE TABLE arrivals (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    source      TEXT NOT NULL,
    container   TEXT NOT NULL,
    member      TEXT,
    bytes       INTEGER NOT NULL,
    file_sha256 TEXT,
    capture_id  TEXT,
    outcome     TEXT NOT NULL,
    reason      TEXT,
    arrived_at  INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX arrivals_by_capture ON arrivals (capture_id);
  CREATE INDEX arrivals_by_file ON arrivals (file_sha256);

  CREATE TABLE jobs (
    stage       TEXT NOT NULL,
    key         TEXT NOT NULL,
    capture_id  TEXT,
    input       TEXT NOT NULL,
    bytes       INTEGER NOT NULL DEFAULT 0,
    events      INTEGER NOT NULL DEFAULT 0,
    status      TEXT NOT NULL DEFAULT 'ready',
    attempts    INTEGER NOT NULL DEFAULT 0,
    crashes     INTEGER NOT NULL DEFAULT 0,
    alone       INTEGER NOT NULL DEFAULT 0,    -- failed in company: is tried on its own next
    not_before  INTEGER NOT NULL DEFAULT 0,
    lease       TEXT,
    lease_owner TEXT,
    lease_until INTEGER,
    note        TEXT,
    progress    TEXT,
    error_code  TEXT,
    error       TEXT,
    outputs     TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (stage, key)
  ) STRICT;
  CREATE INDEX jobs_open ON jobs (stage, status, created_at);
  CREATE INDEX jobs_running ON jobs (lease_until) WHERE status = 'running';
  CREATE INDEX jobs_by_capture ON jobs (capture_id, status);
  CREATE INDEX jobs_by_lease ON jobs (lease) WHERE lease IS NOT NULL;

  -- directories and files in the spool that a finished job made for the next one
  CREATE TABLE artifacts (
    path       TEXT PRIMARY KEY,               -- below the data directory
    stage      TEXT NOT NULL,
    capture_id TEXT,
    released   INTEGER NOT NULL DEFAULT 0      -- taken over: to be removed
  ) STRICT;

  -- what the engine made of a capture
  CREATE TABLE records (
    capture_id TEXT NOT NULL,
    log_type   TEXT NOT NULL,
    records    INTEGER NOT NULL,
    PRIMARY KEY (capture_id, log_type)
  ) STRICT, WITHOUT ROWID;

  -- a commit is one atomic hand-over to the readers: its files are renamed into place after it is recorded
  CREATE TABLE commits (
    id           TEXT PRIMARY KEY,
    state        TEXT NOT NULL,                -- committed, published
    owner        TEXT NOT NULL,
    committed_at INTEGER NOT NULL,
    published_at INTEGER
  ) STRICT;
  CREATE INDEX commits_open ON commits (state) WHERE state = 'committed';

  CREATE TABLE commit_files (
    path      TEXT PRIMARY KEY,                -- below the data directory, as readers see it
    commit_id TEXT NOT NULL,
    staged    TEXT NOT NULL,                   -- where it was written, below the data directory
    log_type  TEXT,                            -- absent for files of quarantined lines
    rows      INTEGER NOT NULL,
    bytes     INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX commit_files_by_commit ON commit_files (commit_id);

  CREATE TABLE commit_counts (
    commit_id   TEXT NOT NULL,
    capture_id  TEXT NOT NULL,
    log_type    TEXT NOT NULL,
    rows        INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    reasons     TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (commit_id, capture_id, log_type)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX commit_counts_by_capture ON commit_counts (capture_id);

  -- work that must not run twice at once (rewriting the dataset)
  CREATE TABLE locks (
    name  TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL
  ) STRICT;
  `,
  `
  -- where a job came from that another process handed over: topic/partition/offset; NULL for work of this ledger's own
  ALTER TABLE jobs ADD COLUMN origin TEXT;
  DROP INDEX jobs_open;
  CREATE INDEX jobs_open ON jobs (stage, status, origin, created_at);

  -- finished work whose commit lies with the bus: recorded here before it is asked for, applied or undone after
  CREATE TABLE prepared (
    lease       TEXT PRIMARY KEY,
    transaction_id TEXT NOT NULL,              -- the producer that asks for the commit
    owner       TEXT NOT NULL,
    completion  TEXT NOT NULL,
    prepared_at INTEGER NOT NULL
  ) STRICT;

  -- how far this ledger has read a topic of records that all ledgers share
  CREATE TABLE bus_positions (
    topic    TEXT PRIMARY KEY,                 -- its name and the id that it was created with
    position INTEGER NOT NULL                  -- the next offset
  ) STRICT;

  -- chunks of a capture whose events were published for any upload process to take; gone once all are rows
  CREATE TABLE published_chunks (
    capture_id    TEXT NOT NULL,
    log_type      TEXT NOT NULL,
    first_ordinal INTEGER NOT NULL,
    lines         INTEGER NOT NULL,
    PRIMARY KEY (capture_id, log_type, first_ordinal)
  ) STRICT, WITHOUT ROWID;

  -- which ledger this is, among those that share a bus
  CREATE TABLE identity (
    id TEXT PRIMARY KEY
  ) STRICT;
  INSERT INTO identity VALUES (lower(hex(randomblob(8))));
  `,
  `
  -- what became of a batch's records in a sink beside the tables
  CREATE TABLE sink_counts (
    sink       TEXT NOT NULL,                   -- elasticsearch
    batch      TEXT NOT NULL,                   -- the key of the batch's job
    capture_id TEXT NOT NULL,
    log_type   TEXT NOT NULL,
    documents  INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,                -- of the documents, those that were there already
    rejected   INTEGER NOT NULL,
    reasons    TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (sink, batch, capture_id, log_type)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX sink_counts_by_capture ON sink_counts (capture_id);

  -- the indices that may be made
  CREATE TABLE sink_indices (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

  -- receipts that a sink has, in the state that it has them in
  CREATE TABLE sink_receipts (
    sink       TEXT NOT NULL,
    capture_id TEXT NOT NULL,
    digest     TEXT NOT NULL,
    PRIMARY KEY (sink, capture_id)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- who is watched, and by what they are known; a change counts from the next load on, and for the past by a rescan
  CREATE TABLE watch_employees (
    key     TEXT PRIMARY KEY,
    name    TEXT NOT NULL,
    watched INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE watch_computers (
    id         INTEGER PRIMARY KEY,
    comp_id    TEXT NOT NULL,
    employee   TEXT NOT NULL,
    mac        TEXT,
    ip         TEXT,
    hostname   TEXT,
    valid_from INTEGER,
    valid_to   INTEGER
  ) STRICT;
  CREATE UNIQUE INDEX watch_computers_once ON watch_computers
    (comp_id, employee, coalesce(mac, ''), coalesce(ip, ''), coalesce(hostname, ''), coalesce(valid_from, 0), coalesce(valid_to, 0));
  CREATE INDEX watch_computers_by_employee ON watch_computers (employee);

  CREATE TABLE watch_indicators (
    id    INTEGER PRIMARY KEY,
    list  TEXT NOT NULL,
    kind  TEXT NOT NULL,                       -- ip, cidr, domain, hash, ja3, ja4, mac
    value TEXT NOT NULL,
    note  TEXT NOT NULL DEFAULT '',
    UNIQUE (list, kind, value)
  ) STRICT;

  -- what a load or a rescan flagged, summed up; those of a load count once its commit is there
  CREATE TABLE watch_hits (
    id         INTEGER PRIMARY KEY,
    run        TEXT NOT NULL,                  -- the commit, or the rescan
    at         INTEGER NOT NULL,
    employee   TEXT,
    list       TEXT NOT NULL,
    reason     TEXT NOT NULL,
    log_type   TEXT NOT NULL,
    capture_id TEXT,
    rows       INTEGER NOT NULL,
    first_time INTEGER,
    last_time  INTEGER
  ) STRICT;
  CREATE INDEX watch_hits_by_run ON watch_hits (run);
  CREATE INDEX watch_hits_by_employee ON watch_hits (employee);
  CREATE INDEX watch_hits_by_capture ON watch_hits (capture_id);

  -- leases of addresses that were seen in the traffic
  CREATE TABLE watch_leases (
    ip         TEXT NOT NULL,
    mac        TEXT NOT NULL,
    valid_from INTEGER NOT NULL,
    valid_to   INTEGER NOT NULL,
    capture_id TEXT,
    PRIMARY KEY (ip, mac, valid_from)
  ) STRICT, WITHOUT ROWID;

  -- one row: grows with each change of the lists
  CREATE TABLE watch_version (version INTEGER NOT NULL) STRICT;
  INSERT INTO watch_version VALUES (0);

  -- of the page's users
  CREATE TABLE accounts (
    name       TEXT PRIMARY KEY,
    password   TEXT NOT NULL,                  -- scrypt: parameters, salt and hash
    created_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE audit (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    user   TEXT,
    remote TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
  ) STRICT;

  CREATE TABLE saved_queries (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    sql        TEXT NOT NULL,
    about      TEXT NOT NULL,
    user       TEXT,
    updated_at INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE query_history (
    id         INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    user       TEXT,
    sql        TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    rows       INTEGER,
    elapsed_ms REAL
  ) STRICT;
  `,

  // what happened of late, and what failed, without reading years of finished work
  `
  CREATE INDEX jobs_by_update ON jobs (updated_at);
  CREATE INDEX jobs_with_errors ON jobs (stage, updated_at) WHERE error IS NOT NULL;
  `,
  `
  -- added to the times of the capture's packets, microseconds: the clock of its source was wrong
  ALTER TABLE captures ADD COLUMN clock_offset_us INTEGER NOT NULL DEFAULT 0;
  `,
  `
  -- TLS keys that came beside the capture (KeyLog), the hash of those that it was converted with, and what they led to
  ALTER TABLE captures ADD COLUMN key_log TEXT;
  ALTER TABLE captures ADD COLUMN keys_converted TEXT;
  ALTER TABLE captures ADD COLUMN tls TEXT;                -- TlsAccount
  CREATE INDEX arrivals_by_name ON arrivals (source, name);
  `,
  `
  -- records of a topic that feeds the watch lists, and the row that each stands for
  CREATE TABLE watch_feed (
    list TEXT NOT NULL,                        -- employees, computers
    key  TEXT NOT NULL,                        -- the record's
    row  TEXT NOT NULL,                        -- an employee's key, a computer's id
    PRIMARY KEY (list, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX watch_feed_by_row ON watch_feed (list, row);

  -- files of the dataset whose rows have changed since a sink was told of them
  CREATE TABLE sink_changes (
    sink TEXT NOT NULL,
    path TEXT NOT NULL,                        -- below the data directory
    mark INTEGER NOT NULL,                     -- grows with each change
    PRIMARY KEY (sink, path)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- work space that is promised to a job while it runs; with its lease it is given back
  ALTER TABLE jobs ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0;

  -- processes that take nothing in, and why; a row is renewed while that holds
  CREATE TABLE space_waits (
    owner  TEXT PRIMARY KEY,
    stage  TEXT NOT NULL,
    wanted INTEGER NOT NULL,                   -- bytes
    why    TEXT NOT NULL,                      -- budget, floor, backlog
    since  INTEGER NOT NULL,
    at     INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- what retention took: of a capture its file, of its rows those of old hours
  ALTER TABLE captures ADD COLUMN file_removed_at INTEGER;
  ALTER TABLE captures ADD COLUMN file_stored_at INTEGER;          -- where that is later than its acceptance
  CREATE INDEX captures_stored ON captures (state, accepted_at, bytes) WHERE file_removed_at IS NULL;
  CREATE TABLE removed_rows (
    capture_id TEXT NOT NULL,
    log_type   TEXT NOT NULL,
    rows       INTEGER NOT NULL,
    removed_at INTEGER NOT NULL,
    PRIMARY KEY (capture_id, log_type)
  ) STRICT, WITHOUT ROWID;

  -- files that are out of the books and still to be deleted
  CREATE TABLE leaving_files (
    path     TEXT PRIMARY KEY,                 -- below the data directory
    identity TEXT NOT NULL                     -- another file may have come to its name
  ) STRICT, WITHOUT ROWID;

  -- files of the dataset that are being joined into one: begun, joined (the books name the new one)
  CREATE TABLE joins (
    id           TEXT PRIMARY KEY,             -- becomes the commit of the new file
    state        TEXT NOT NULL,
    path         TEXT NOT NULL,
    staged       TEXT NOT NULL,
    log_type     TEXT NOT NULL,
    rows         INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    committed_at INTEGER NOT NULL,             -- of the newest of the files
    sources      TEXT NOT NULL,                -- paths
    captures     TEXT NOT NULL                 -- ids of those that have rows in it
  ) STRICT, WITHOUT ROWID;

  -- whose rows are in a file that was joined: its commit knows none
  CREATE TABLE joined_captures (
    path       TEXT NOT NULL,
    capture_id TEXT NOT NULL,
    PRIMARY KEY (path, capture_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX joined_captures_by_capture ON joined_captures (capture_id);
  `,
]
