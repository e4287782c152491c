//! The statements that patch rows. Each takes one JSON text: an object that maps a row's key to its patch, where a field
//! that is null leaves its column as it is.

/// By device id.
pub(super) const PATCH_DEVICES: &str = "
UPDATE devices SET
    name = coalesce(patch ->> 'name', name),
    metadata = coalesce(patch ->> 'metadata', metadata),
    allowed_networks = coalesce(patch ->> 'allowed_networks', allowed_networks),
    tags = coalesce(patch ->> 'tags', tags),
    approved_at = coalesce(patch ->> 'approved_at', approved_at),
    approved_by = coalesce(patch ->> 'approved_by', approved_by),
    api_key_validity_days = coalesce(patch ->> 'api_key_validity_days', api_key_validity_days),
    certificate_profile = coalesce(patch ->> 'certificate_profile', certificate_profile),
    rejected_at = coalesce(patch ->> 'rejected_at', rejected_at),
    rejected_by = coalesce(patch ->> 'rejected_by', rejected_by),
    rejection_reason = coalesce(patch ->> 'rejection_reason', rejection_reason),
    status = coalesce(patch ->> 'status', status),
    status_changed_at = coalesce(patch ->> 'status_changed_at', status_changed_at),
    status_changed_by = coalesce(patch ->> 'status_changed_by', status_changed_by),
    status_reason = iif(patch ->> 'status' IS NULL, status_reason, patch ->> 'status_reason')
FROM (SELECT key AS patched, value AS patch FROM jsonb_each($1))
WHERE device_id = patched";

/// Takes an object that maps device ids to their tags, which are all written anew.
pub(super) const CLEAR_TAGS: &str = "
DELETE FROM device_tags WHERE device_id IN (SELECT key FROM jsonb_each($1))";

/// Takes the same object, once the devices themselves are there.
pub(super) const INSERT_TAGS: &str = "
INSERT INTO device_tags (device_id, tag, device_tenant_id, device_registered_at)
SELECT devices.device_id, tag.value, devices.tenant_id, devices.registered_at
FROM jsonb_each($1) AS tagged
CROSS JOIN devices ON devices.device_id = tagged.key
CROSS JOIN json_each(tagged.value) AS tag";

/// By key id.
pub(super) const PATCH_API_KEYS: &str = "
UPDATE device_api_keys SET
    first_used_at = coalesce(first_used_at, patch ->> 'first_used_at'),
    last_used_at = coalesce(last_used_at, patch ->> 'first_used_at'),
    revoked_at = coalesce(revoked_at, patch ->> 'revoked_at'),
    revocation_cause = coalesce(patch ->> 'revocation_cause', revocation_cause),
    revocation_reason = iif(patch ->> 'revocation_cause' IS NULL, revocation_reason, patch ->> 'revocation_reason'),
    noticed_days = coalesce(patch ->> 'noticed_days', noticed_days)
FROM (SELECT key AS patched, value AS patch FROM jsonb_each($1))
WHERE id = patched";

/// By prefix.
pub(super) const PATCH_TOKENS: &str = "
UPDATE device_registration_tokens SET
    is_used = iif(patch ->> 'used_at' IS NULL, is_used, 1),
    used_at = coalesce(patch ->> 'used_at', used_at),
    used_by_device_id = coalesce(patch ->> 'used_by_device_id', used_by_device_id),
    revoked_at = coalesce(patch ->> 'revoked_at', revoked_at),
    revoked_by = coalesce(patch ->> 'revoked_by', revoked_by),
    revocation_reason = coalesce(patch ->> 'revocation_reason', revocation_reason)
FROM (SELECT key AS patched, value AS patch FROM jsonb_each($1))
WHERE token_prefix = patched";

/// By serial number.
pub(super) const PATCH_CERTIFICATES: &str = "
UPDATE device_certificates SET
    superseded_by = coalesce(patch ->> 'superseded_by', superseded_by),
    first_used_at = coalesce(first_used_at, patch ->> 'first_used_at'),
    noticed_days = coalesce(patch ->> 'noticed_days', noticed_days),
    renewal_window_start = coalesce(patch ->> 'renewal_window_start', renewal_window_start),
    renewal_window_end = coalesce(patch ->> 'renewal_window_end', renewal_window_end),
    reuse_suspected_at = coalesce(reuse_suspected_at, patch ->> 'reuse_suspected_at'),
    standing = coalesce(patch ->> 'standing', standing),
    revoked_at = coalesce(revoked_at, patch ->> 'revoked_at'),
    revoked_by = coalesce(patch ->> 'revoked_by', revoked_by),
    revocation_reason = iif(patch ->> 'standing' IS NULL, revocation_reason, patch ->> 'revocation_reason'),
    revocation_reason_code = coalesce(patch ->> 'revocation_reason_code', revocation_reason_code),
    ended_position = coalesce(ended_position, patch ->> 'ended_position'),
    revocation_position = coalesce(revocation_position, patch ->> 'revocation_position')
FROM (SELECT key AS patched, value AS patch FROM jsonb_each($1))
WHERE serial_number = patched";

/// Takes a JSON array of authorities in whose place others sign.
pub(super) const ROTATE_AUTHORITIES: &str = "
UPDATE device_certificates SET rotated_at = coalesce(device_certificates.rotated_at, rotated ->> 'rotated_at')
FROM (SELECT value AS rotated FROM jsonb_each($1))
WHERE authority_id = rotated ->> 'authority_id' AND type <> 'Device'";

/// Takes a JSON array of authorities that are trusted no longer.
pub(super) const END_AUTHORITIES: &str = "
UPDATE device_certificates SET
    standing = 'revoked',
    revoked_at = coalesce(revoked_at, ended ->> 'revoked_at'),
    revoked_by = ended ->> 'revoked_by',
    revocation_reason_code = coalesce(revocation_reason_code, ended ->> 'revocation_reason_code'),
    ended_position = coalesce(ended_position, ended ->> 'ended_position'),
    revocation_position = coalesce(revocation_position, ended ->> 'ended_position')
FROM (SELECT value AS ended FROM jsonb_each($1))
WHERE authority_id = ended ->> 'authority_id' AND type <> 'Device'";
