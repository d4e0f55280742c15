-- Accounts. AUTOINCREMENT: an id is never given twice, so that a new owner of a name inherits nothing.
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    jid TEXT NOT NULL UNIQUE,
    domain TEXT NOT NULL,
    locked INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    last_at INTEGER,
    last_status TEXT
) STRICT;
CREATE INDEX accounts_by_domain ON accounts (domain, jid);

-- Names that were deleted, and when.
CREATE TABLE tombstones (
    jid TEXT PRIMARY KEY,
    deleted INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- SCRAM keys: hash is 1, 256 or 512.
CREATE TABLE credentials (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash INTEGER NOT NULL,
    salt BLOB NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key BLOB NOT NULL,
    server_key BLOB NOT NULL,
    PRIMARY KEY (account, hash)
) STRICT, WITHOUT ROWID;

-- Rosters. flags: 1 to, 2 from, 4 pending out, 8 pending in, 16 approved, 32 listed. Groups are separated by U+001F, which no
-- XML text can have.
CREATE TABLE roster (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    contact TEXT NOT NULL,
    name TEXT,
    groups TEXT NOT NULL,
    flags INTEGER NOT NULL,
    request BLOB,
    version INTEGER NOT NULL,
    PRIMARY KEY (account, contact)
) STRICT, WITHOUT ROWID;
CREATE TABLE roster_versions (
    account INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    horizon INTEGER NOT NULL
) STRICT;
CREATE TABLE roster_removed (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    contact TEXT NOT NULL,
    PRIMARY KEY (account, version, contact)
) STRICT, WITHOUT ROWID;

-- Messages for those who are away, clustered by account and order; the counters spare counting.
CREATE TABLE offline (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    stanza BLOB NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE offline_counters (
    account INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    last_id INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

-- Private XML (kind 1) and vCards (kind 2).
CREATE TABLE documents (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind INTEGER NOT NULL,
    key TEXT NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (account, kind, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
