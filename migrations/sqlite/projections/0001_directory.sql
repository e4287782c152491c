-- The read models of SignalBeam: projections.db. Everything in here is derived from the event log and may be deleted at
-- any time; the next start rebuilds it. A change of this file makes the next start rebuild it too.
--
-- Times are RFC 3339 in UTC with six digits (2026-01-31T12:00:00.000000Z), so that texts sort like moments. Ids are
-- hyphenated lower-case UUIDs. A `..._by` column names who did it as `kind:id`, such as `admin:alice` or
-- `device:018f3c5e-7b1a-7cc2-9d3e-0123456789ab`. References are declared for readers and not enforced: the log decides.

-- How far each projection has read. The rows of a projection and its checkpoint change in one transaction.
CREATE TABLE checkpoints (
    projection  TEXT    NOT NULL PRIMARY KEY,
    position    INTEGER NOT NULL,              -- of the last event applied; 0 before the first
    event_id    TEXT,                          -- that event, by which another log is told apart
    recorded_at TEXT                           -- when that event was recorded
) WITHOUT ROWID;

INSERT INTO checkpoints (projection, position) VALUES ('directory', 0);

-- One row a device.
CREATE TABLE devices (
    device_id             TEXT NOT NULL PRIMARY KEY,
    tenant_id             TEXT NOT NULL,
    name                  TEXT NOT NULL,       -- a label, not unique
    status                TEXT NOT NULL CHECK (status IN ('Pending', 'Approved', 'Rejected', 'Suspended', 'Decommissioned')),
    metadata              TEXT NOT NULL,       -- a JSON object
    tags                  TEXT NOT NULL,       -- a JSON array of texts, sorted
    registered_at         TEXT NOT NULL,
    token_prefix          TEXT,                -- of the registration token that it came with; NULL where it was imported
    claim_secret_sha256   TEXT,                -- with that secret it fetches its API key; NULL where it was imported
    approved_at           TEXT,
    approved_by           TEXT,
    api_key_validity_days INTEGER,             -- how long a claimed API key lives; known from the approval on
    certificate_profile   TEXT,                -- of its certificates; NULL: `device`
    rejected_at           TEXT,
    rejected_by           TEXT,
    rejection_reason      TEXT,
    status_changed_at     TEXT NOT NULL,
    status_changed_by     TEXT NOT NULL,
    status_reason         TEXT,                -- what was said at the last change of status
    allowed_networks      TEXT                 -- a JSON array of CIDR blocks: from where it may authenticate; NULL or empty: everywhere
) WITHOUT ROWID;

CREATE INDEX devices_by_registration ON devices (registered_at, device_id);
CREATE INDEX devices_of_tenant ON devices (tenant_id, registered_at, device_id);
CREATE INDEX devices_of_tenant_by_name ON devices (tenant_id, name);
CREATE INDEX devices_by_status ON devices (status, registered_at, device_id);

-- One row for each tag of a device: what finds the devices of a tag in the order of their lists.
CREATE TABLE device_tags (
    device_id            TEXT NOT NULL REFERENCES devices (device_id),
    tag                  TEXT NOT NULL,
    device_tenant_id     TEXT NOT NULL,
    device_registered_at TEXT NOT NULL,
    PRIMARY KEY (device_id, tag)
) WITHOUT ROWID;

CREATE INDEX device_tags_by_registration ON device_tags (tag, device_registered_at, device_id);
CREATE INDEX device_tags_of_tenant ON device_tags (device_tenant_id, tag, device_registered_at, device_id);

-- One row an API key.
CREATE TABLE device_api_keys (
    id                TEXT NOT NULL PRIMARY KEY,
    device_id         TEXT NOT NULL REFERENCES devices (device_id),
    key_hash          TEXT NOT NULL,           -- bcrypt
    key_prefix        TEXT NOT NULL,           -- the key's public part
    expires_at        TEXT NOT NULL,           -- the first moment at which it no longer authenticates
    revoked_at        TEXT,
    last_used_at      TEXT,                    -- counted from the authentication log, a second or so behind
    created_at        TEXT NOT NULL,
    created_by        TEXT NOT NULL,
    tenant_id         TEXT NOT NULL,
    mac               TEXT NOT NULL,           -- HMAC-SHA256 of the key under a secret that is not in any database
    mac_key_id        TEXT NOT NULL,           -- which secret that was
    origin            TEXT NOT NULL CHECK (origin IN ('claim', 'admin_rotation', 'device_rotation')),
    first_used_at     TEXT,
    revocation_cause  TEXT CHECK (revocation_cause IN ('superseded', 'admin', 'decommissioned', 'retired')),
    revocation_reason TEXT,                    -- what an admin said of it
    noticed_days      INTEGER                  -- the last expiry threshold that was told, in days before the end
);

CREATE INDEX device_api_keys_by_prefix ON device_api_keys (key_prefix);
CREATE INDEX device_api_keys_of_device ON device_api_keys (device_id, revoked_at, expires_at);
CREATE INDEX device_api_keys_by_expiry ON device_api_keys (expires_at, revoked_at) WHERE revoked_at IS NULL;

-- One row a registration token.
CREATE TABLE device_registration_tokens (
    id                TEXT    NOT NULL PRIMARY KEY,
    tenant_id         TEXT    NOT NULL,
    token_hash        TEXT    NOT NULL,        -- bcrypt
    token_prefix      TEXT    NOT NULL UNIQUE, -- the token's public part
    expires_at        TEXT    NOT NULL,        -- the first moment at which it no longer registers anything
    is_used           INTEGER NOT NULL DEFAULT 0 CHECK (is_used IN (0, 1)),
    used_at           TEXT,
    used_by_device_id TEXT REFERENCES devices (device_id),
    created_at        TEXT    NOT NULL,
    created_by        TEXT    NOT NULL,
    description       TEXT,
    mac               TEXT    NOT NULL,
    mac_key_id        TEXT    NOT NULL,
    revoked_at        TEXT,
    revoked_by        TEXT,
    revocation_reason TEXT
) WITHOUT ROWID;

CREATE INDEX device_registration_tokens_by_creation ON device_registration_tokens (created_at, id);
CREATE INDEX device_registration_tokens_of_tenant ON device_registration_tokens (tenant_id, created_at, id);
CREATE INDEX device_registration_tokens_open ON device_registration_tokens (tenant_id, expires_at)
    WHERE is_used = 0 AND revoked_at IS NULL;

-- One row a certificate: the devices' and the certificate authorities' own.
CREATE TABLE device_certificates (
    id                TEXT NOT NULL PRIMARY KEY, -- of the event that recorded it
    device_id         TEXT REFERENCES devices (device_id), -- NULL for a certificate authority
    serial_number     TEXT NOT NULL,           -- 40 lower-case hex digits
    fingerprint       TEXT NOT NULL,           -- SHA256: and 64 upper-case hex digits, over the DER
    subject           TEXT NOT NULL,
    type              TEXT NOT NULL CHECK (type IN ('RootCA', 'IntermediateCA', 'Device')),
    issued_at         TEXT NOT NULL,
    expires_at        TEXT NOT NULL,           -- the last moment of its validity
    revoked_at        TEXT,                    -- when it ended before its time: superseded, revoked, or its authority retired
    tenant_id         TEXT,                    -- NULL for a certificate authority
    standing          TEXT NOT NULL DEFAULT 'active' CHECK (standing IN ('active', 'superseded', 'revoked')),
    revocation_reason TEXT,                    -- what an admin said of it
    superseded_by     TEXT,                    -- the serial number of the certificate that took its place
    revocation_reason_code TEXT,               -- why it ended, by its name in RFC 5280, section 5.3.1; NULL while it is active
    profile           TEXT,                    -- the profile that decided its contents
    public_key_sha256 TEXT,                    -- over the SubjectPublicKeyInfo
    renewal_of        TEXT,                    -- the serial number of the certificate that it renewed
    not_before        TEXT NOT NULL,           -- the first moment of its validity; back-dated for slow clocks
    authority_id      TEXT NOT NULL,           -- who signed it; a certificate authority's own id in its own row
    issuer_authority_id TEXT,                  -- in an intermediate authority's own row: who signed it, where that is one of ours
    issued_by         TEXT NOT NULL,
    origin            TEXT NOT NULL CHECK (origin IN ('issued', 'imported')), -- imported: by another authority
    foreign_serial_number TEXT,                -- of an imported one: the serial number that its own authority gave it
    issuer            TEXT,                    -- of an imported one: its own authority's name
    issuer_der        TEXT,                    -- the same name in DER, as hex digits
    revoked_by        TEXT,
    first_used_at     TEXT,
    noticed_days      INTEGER,                 -- the last expiry threshold that was told, in days before the end
    ended_position    INTEGER,                 -- of the event by which it ended before its time
    revocation_position INTEGER,               -- of its revocation, also where it had been superseded before
    renewal_window_start TEXT,                 -- from when on its device was asked to renew it
    renewal_window_end TEXT,                   -- and by when
    reuse_suspected_at TEXT,                   -- when it turned up although it was superseded
    rotated_at        TEXT,                    -- in an authority's own row: when another one began to sign in its place
    certificate_pem   TEXT NOT NULL            -- last, so that the columns before it are read without it
);

CREATE UNIQUE INDEX device_certificates_by_serial_number ON device_certificates (serial_number);
CREATE UNIQUE INDEX device_certificates_by_fingerprint ON device_certificates (fingerprint);
CREATE INDEX device_certificates_of_device ON device_certificates (device_id, revoked_at, expires_at);
CREATE INDEX device_certificates_by_expiry ON device_certificates (expires_at, revoked_at) WHERE revoked_at IS NULL;
CREATE INDEX device_certificates_by_issue ON device_certificates (issued_at, id);
CREATE INDEX device_certificates_of_tenant ON device_certificates (tenant_id, issued_at, id);
CREATE INDEX device_certificates_unrevoked ON device_certificates (tenant_id, expires_at)
    WHERE revoked_at IS NULL AND type = 'Device';
-- What revocation lists are made of, found without reading the rows themselves.
CREATE INDEX device_certificates_ended_by_expiry ON device_certificates
    (authority_id, expires_at, ended_position, revocation_position, revoked_at, revocation_reason_code, serial_number)
    WHERE ended_position IS NOT NULL AND type = 'Device';
CREATE INDEX device_certificates_ended ON device_certificates (authority_id, ended_position)
    WHERE ended_position IS NOT NULL AND type = 'Device';
CREATE INDEX device_certificates_revoked ON device_certificates (authority_id, revocation_position)
    WHERE revocation_position IS NOT NULL AND type = 'Device';
CREATE INDEX device_certificates_ended_authorities ON device_certificates (issuer_authority_id, ended_position)
    WHERE ended_position IS NOT NULL AND type = 'IntermediateCA';

-- One row a revocation of admin tokens: of one by its id, or of all that this installation issued before a moment.
CREATE TABLE admin_token_revocations (
    id            TEXT NOT NULL PRIMARY KEY,   -- of the event that recorded it
    jti           TEXT,                        -- the token; NULL where all before a moment were revoked
    issuer        TEXT,                        -- who issued it
    expires_at    TEXT,                        -- when it would have expired anyway, where that was known
    issued_before TEXT,                        -- the first moment whose tokens are good
    reason        TEXT,
    revoked_at    TEXT NOT NULL,
    revoked_by    TEXT NOT NULL,
    CHECK ((jti IS NULL) = (issuer IS NULL) AND (jti IS NULL) <> (issued_before IS NULL))
) WITHOUT ROWID;

CREATE INDEX admin_token_revocations_by_time ON admin_token_revocations (revoked_at, id);

-- One row a certificate of our own: of the listener, of those that sign OCSP answers, and of issuing authorities under a
-- root of ours. It stands here before anything is signed; a certificate whose signing then failed exists nowhere.
CREATE TABLE service_certificates (
    serial_number     TEXT NOT NULL PRIMARY KEY, -- 40 lower-case hex digits
    purpose           TEXT NOT NULL CHECK (purpose IN ('ocsp_signer', 'tls_server', 'intermediate_ca')),
    subject           TEXT NOT NULL,
    public_key_sha256 TEXT NOT NULL,           -- over the SubjectPublicKeyInfo
    not_before        TEXT NOT NULL,
    expires_at        TEXT NOT NULL,           -- the last moment of its validity
    authority_id      TEXT NOT NULL,           -- who signs it
    intended_at       TEXT NOT NULL
) WITHOUT ROWID;

-- The certificates with which devices can authenticate right now: neither ended nor outside of their validity, and the
-- device is approved.
CREATE VIEW active_certificates AS
SELECT
    c.device_id,
    d.name AS device_name,
    c.tenant_id,
    c.serial_number,
    c.fingerprint,
    c.subject,
    c.profile,
    c.issued_at,
    c.expires_at,
    julianday(c.expires_at) - julianday('now') AS days_until_expiry
FROM device_certificates AS c
JOIN devices AS d ON d.device_id = c.device_id
WHERE c.type = 'Device'
  AND c.revoked_at IS NULL
  AND c.not_before <= strftime('%Y-%m-%dT%H:%M:%f', 'now') || '999Z'
  AND c.expires_at >= strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'
  AND d.status = 'Approved';

-- The certificates, authorities' included, that end within 90 days and have not ended yet, the most urgent first.
CREATE VIEW expiring_certificates AS
SELECT
    c.type,
    c.device_id,
    d.name AS device_name,
    c.tenant_id,
    c.serial_number,
    c.subject,
    c.expires_at,
    julianday(c.expires_at) - julianday('now') AS days_until_expiry
FROM device_certificates AS c
LEFT JOIN devices AS d ON d.device_id = c.device_id
WHERE c.revoked_at IS NULL
  AND c.expires_at >= strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'
  AND c.expires_at < strftime('%Y-%m-%dT%H:%M:%f', 'now', '+90 days') || '000Z'
ORDER BY c.expires_at;
