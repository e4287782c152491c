
-- How credentials are used, counted from the authentication log a moment after the fact: nothing is written for it on a
-- request. Covers what the authentication log still holds when these tables are first filled, and everything since.

INSERT INTO checkpoints (projection, position) VALUES ('usage', 0); -- here the position is a row of the authentication log

-- One row a device.
CREATE TABLE device_usage (
    device_id       TEXT NOT NULL PRIMARY KEY,
    tenant_id       TEXT NOT NULL,
    last_seen_at    TEXT NOT NULL,             -- when it last authenticated
    last_seen_from  TEXT NOT NULL,             -- its address then
    last_method     TEXT NOT NULL              -- Certificate or ApiKey
) WITHOUT ROWID;

CREATE INDEX device_usage_by_sight ON device_usage (last_seen_at);

-- One row a credential of a device.
CREATE TABLE credential_usage (
    device_id    TEXT    NOT NULL,
    method       TEXT    NOT NULL,             -- Certificate or ApiKey
    credential   TEXT    NOT NULL,             -- the serial number, or the key's prefix
    tenant_id    TEXT,
    last_used_at TEXT,                         -- when it last authenticated
    successes    INTEGER NOT NULL,
    failures     INTEGER NOT NULL,
    PRIMARY KEY (device_id, method, credential)
) WITHOUT ROWID;

-- One row a device, day (in UTC) and method.
CREATE TABLE device_usage_by_day (
    device_id TEXT    NOT NULL,
    day       TEXT    NOT NULL,                -- such as 2026-01-31
    method    TEXT    NOT NULL,
    successes INTEGER NOT NULL,
    failures  INTEGER NOT NULL,
    PRIMARY KEY (device_id, day, method)
) WITHOUT ROWID;

-- One row a tenant, day and method. The tenant is empty for attempts with credentials that nobody has.
CREATE TABLE tenant_usage_by_day (
    tenant_id TEXT    NOT NULL,
    day       TEXT    NOT NULL,
    method    TEXT    NOT NULL,
    devices   INTEGER NOT NULL,                -- how many devices tried
    successes INTEGER NOT NULL,
    failures  INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, day, method)
) WITHOUT ROWID;

CREATE INDEX tenant_usage_by_day_of_all ON tenant_usage_by_day (day, method);
