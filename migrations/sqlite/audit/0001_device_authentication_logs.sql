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

-- An index ends with the row's number, and rows are in the order of time: each serves "newest first" as well.
CREATE INDEX device_authentication_logs_by_device ON device_authentication_logs (device_id) WHERE device_id IS NOT NULL;
CREATE INDEX device_authentication_logs_by_tenant ON device_authentication_logs (tenant_id) WHERE tenant_id IS NOT NULL;

-- The earliest and the latest moment in each block of 4,096 rows: finds the rows of a span of time without an index on
-- time, and is right also where the clock was set back.
CREATE TABLE device_authentication_log_blocks (
    block    INTEGER PRIMARY KEY, -- the row's number divided by 4,096
    earliest TEXT    NOT NULL,
    latest   TEXT    NOT NULL
) STRICT;
