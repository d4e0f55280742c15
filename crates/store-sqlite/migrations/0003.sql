-- What was written last: keys of archived messages and counts of streams, in the order in which they came, until they go to
-- their places, many of an account at a time. The number is that of the stanza; without an id nothing was archived.
CREATE TABLE fresh (
    number INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    id INTEGER,
    talk INTEGER,
    reference INTEGER,
    named INTEGER,
    repeatable INTEGER NOT NULL,
    session BLOB,
    count INTEGER,
    at INTEGER NOT NULL
) STRICT;

-- What archived messages are referred to by. A message that has an origin-id may have an id beside it, which is named.
ALTER TABLE archive ADD COLUMN named INTEGER;
CREATE TABLE names (
    account INTEGER NOT NULL,
    reference INTEGER NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (account, reference, id)
) STRICT, WITHOUT ROWID;
INSERT INTO names (account, reference, id)
    SELECT account, reference, id FROM archive WHERE reference IS NOT NULL ORDER BY account, reference, id;
