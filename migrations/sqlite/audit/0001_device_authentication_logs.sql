-- Every attempt to authenticate, one row each, in the order in which they were recorded.

CREATE TABLE device_authentication_logs (
    row                       INTEGER PRIMARY KEY AUTOINCREMENT, -- also after old rows were dropped a number never returns
    id                        TEXT    NOT NULL,                  -- UUID of version 7
    device_id                 TEXT,
    tenant_id                 TEXT,
    ip_address                TEXT    NOT NULL,
    user_agent                TEXT,
    success                   INTEGER NOT NULL,                  -- 1 or 0
    failure_reason            TEXT,
    failure_code              TEXT,
    timestamp                 TEXT    NOT NULL,                  -- UTC, such as 2026-01-31T12:00:00.000000Z: sorts as text
    api_key_prefix            TEXT,
    authentication_method     TEXT    NOT NULL,
    certificate_serial_number TEXT,
    correlation_id            TEXT    NOT NULL
) STRICT;

-- Rows come in blocks of 16,384: block n holds the rows whose number divided by 16,384 is n. The earliest and the latest
-- moment of each find the rows of a span of time without an index on time, also where the clock was set back.
CREATE TABLE device_authentication_log_blocks (
    block    INTEGER PRIMARY KEY,
    earliest TEXT    NOT NULL,
    latest   TEXT    NOT NULL
) STRICT;

-- Which rows of a block are a device's, or a tenant's. Filled for a whole block at once, in order, when the first row of a
-- later block is written: an index over the whole table would touch a page of its own for nearly every row, and cost more
-- than all the rest. So every block but the newest is indexed; the newest is searched row by row. To find a device's rows:
--   SELECT logs.* FROM device_authentication_log_devices AS found JOIN device_authentication_logs AS logs USING (row)
--   WHERE found.block IN (SELECT block FROM device_authentication_log_blocks) AND found.device_id = '...'
CREATE TABLE device_authentication_log_devices (
    block     INTEGER NOT NULL,
    device_id TEXT    NOT NULL,
    row       INTEGER NOT NULL,
    PRIMARY KEY (block, device_id, row)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_authentication_log_tenants (
    block     INTEGER NOT NULL,
    tenant_id TEXT    NOT NULL,
    row       INTEGER NOT NULL,
    PRIMARY KEY (block, tenant_id, row)
) STRICT, WITHOUT ROWID;
