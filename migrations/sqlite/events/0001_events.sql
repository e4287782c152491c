-- The event log. Its truth is the order of positions, which is the order of commits, without gaps.

CREATE TABLE events (
    position       INTEGER PRIMARY KEY,
    event_id       BLOB    NOT NULL UNIQUE CHECK (length(event_id) = 16),
    stream         TEXT    NOT NULL,
    version        INTEGER NOT NULL CHECK (version > 0),
    event_type     TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,                  -- microseconds since 1970, UTC; never runs backwards
    tenant_id      BLOB,
    actor_kind     TEXT    NOT NULL,
    actor_id       TEXT    NOT NULL,
    command_id     BLOB,
    correlation_id TEXT    NOT NULL,
    causation_id   BLOB,
    data           BLOB    NOT NULL,                  -- the payload's exact bytes, UTF-8 JSON
    hash           BLOB    NOT NULL CHECK (length(hash) = 32), -- SHA-256 of the envelope's canonical encoding
    UNIQUE (stream, version)
) STRICT;

-- Commands that their callers named: the same name again gets the first outcome.
CREATE TABLE commands (
    command_id  BLOB    PRIMARY KEY,
    body_sha256 BLOB    NOT NULL,
    position    INTEGER NOT NULL, -- what the append answered
    events      INTEGER NOT NULL  -- how many events it appended: those up to and including position
) STRICT, WITHOUT ROWID;

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed');
END;

CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never deleted');
END;
