-- Numbers that are never given twice (spool, outgoing): how far they are set aside.
CREATE TABLE numbers (
    last INTEGER NOT NULL
) STRICT;

-- Accounts that were deleted and whose larger tables are still being emptied, step by step.
CREATE TABLE erasures (
    account INTEGER PRIMARY KEY
) STRICT;

-- Archives. What a message costs is the pages it touches, not its bytes: so the key is thin, its stanza lies at the end of a
-- table that all accounts fill together, and with whom it was is found by hours of talk, which are written once for many
-- messages. An id is 42 bits of milliseconds and 21 bits below; `hours` is what is left of it without its lowest 43 bits (70
-- minutes). No foreign keys here: a large archive is erased step by step, see erasures.
CREATE TABLE archive (
    account INTEGER NOT NULL,
    id INTEGER NOT NULL,
    talk INTEGER NOT NULL,
    reference INTEGER,
    repeatable INTEGER NOT NULL,
    body INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE bodies (
    number INTEGER PRIMARY KEY,
    resource TEXT,
    stanza BLOB NOT NULL
) STRICT;
CREATE TABLE talks (
    number INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    partner TEXT NOT NULL,
    hours INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX talks_by_partner ON talks (account, partner, hours);

-- Marks of what is recognised when it is sent again and is not archived. Written in the order of time, so the second index
-- grows at its end.
CREATE TABLE marks (
    account INTEGER NOT NULL,
    at INTEGER NOT NULL,
    reference INTEGER NOT NULL,
    PRIMARY KEY (account, at, reference)
) STRICT, WITHOUT ROWID;
CREATE INDEX marks_by_age ON marks (at);

-- What can be searched for, filled when an account first searches and brought up to date by each search. The number is the
-- account's in the upper half and a running one in the lower: an account's words are one range, in the order of its archive.
CREATE TABLE searches (
    account INTEGER PRIMARY KEY,
    last_id INTEGER NOT NULL,
    last_number INTEGER NOT NULL
) STRICT;
CREATE TABLE searched (
    number INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    id INTEGER NOT NULL,
    words TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX searched_by_id ON searched (account, id);
CREATE VIRTUAL TABLE search_words USING fts5 (
    words, content = 'searched', content_rowid = 'number', columnsize = 0, tokenize = "unicode61 remove_diacritics 2"
);
INSERT INTO search_words (search_words, rank) VALUES ('secure-delete', 1);

-- The spool: messages for whoever comes first (session is null, number is the id), and those that a session was given and has
-- not acknowledged. Ids grow over all accounts, so that new rows lie at the end.
CREATE TABLE spool (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    session BLOB,
    number INTEGER NOT NULL,
    others INTEGER NOT NULL,
    at INTEGER NOT NULL,
    archive INTEGER,
    size INTEGER NOT NULL,
    stanza BLOB NOT NULL
) STRICT;
CREATE INDEX spool_by_holder ON spool (account, session, number, size);

INSERT INTO spool (id, account, session, number, others, at, archive, size, stanza)
    SELECT place, account, NULL, place, 0, at, NULL, length(stanza), stanza
    FROM (SELECT row_number() OVER (ORDER BY account, id) AS place, account, at, stanza FROM offline);
INSERT INTO numbers (last) SELECT max(
    (SELECT coalesce(max(id), 0) FROM spool),
    (SELECT coalesce(max(last_id), 0) FROM offline_counters)
);
DROP TABLE offline;
DROP TABLE offline_counters;

-- How many stanzas of a session's stream were handled.
CREATE TABLE counted (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    session BLOB NOT NULL,
    count INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (account, session)
) STRICT, WITHOUT ROWID;

-- Sessions saved at an orderly end.
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    session BLOB NOT NULL,
    until INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
CREATE INDEX sessions_by_account ON sessions (account);

-- Messages on their way to other domains.
CREATE TABLE outgoing (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    at INTEGER NOT NULL,
    remote TEXT NOT NULL,
    stanza BLOB NOT NULL
) STRICT;
CREATE INDEX outgoing_by_account ON outgoing (account);

-- Block lists.
CREATE TABLE blocked (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    jid TEXT NOT NULL,
    PRIMARY KEY (account, jid)
) STRICT, WITHOUT ROWID;

-- Registrations for push.
CREATE TABLE push (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    service TEXT NOT NULL,
    node TEXT NOT NULL,
    options BLOB,
    resource TEXT NOT NULL,
    PRIMARY KEY (account, service, node)
) STRICT, WITHOUT ROWID;

-- Devices and what their tokens are derived from.
CREATE TABLE devices (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    software TEXT,
    name TEXT,
    mechanism TEXT,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE tokens (
    account INTEGER NOT NULL,
    device TEXT NOT NULL,
    seed BLOB NOT NULL,
    mechanism TEXT NOT NULL,
    issued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (account, device, seed),
    FOREIGN KEY (account, device) REFERENCES devices (account, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
