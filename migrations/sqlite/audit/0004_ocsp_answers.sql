-- What was said of certificates in signed OCSP answers. Beyond a limit the answers of a minute are counted: such a row has
-- no serial number and says how many it stands for. Dropped after audit.retention_days, as the attempts are.
CREATE TABLE ocsp_answers (
    row            INTEGER PRIMARY KEY AUTOINCREMENT,
    produced_at    TEXT    NOT NULL, -- when it was signed; UTC, such as 2026-01-31T12:00:00.000000Z: sorts as text
    authority_id   TEXT    NOT NULL, -- whose certificate it is
    serial_number  TEXT,             -- 40 lower-case hex digits
    status         TEXT    NOT NULL, -- good, revoked or unknown
    complete_to    INTEGER NOT NULL, -- the answer takes account of every event up to this position of the log
    this_update    TEXT    NOT NULL,
    next_update    TEXT    NOT NULL,
    has_nonce      INTEGER NOT NULL, -- 1 where it was made for one request alone
    client_address TEXT,             -- who asked, where it has a nonce
    answers        INTEGER NOT NULL  -- how many answers the row stands for
) STRICT;

CREATE INDEX ocsp_answers_by_time ON ocsp_answers (produced_at);
CREATE INDEX ocsp_answers_of_certificate ON ocsp_answers (serial_number, produced_at) WHERE serial_number IS NOT NULL;
