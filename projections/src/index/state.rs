//! The maps of the index, and how a fact changes them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;

use signalbeam_domain::certificate::{RenewalWindow, Standing};
use signalbeam_domain::{
    AdminTokenId, AllowedNetworks, ApiKeyId, AuthorityId, DeviceId, DeviceStatus, Fingerprint, Prefix, SerialNumber,
    TenantId, Timestamp, TokenIssuer,
};

use super::admin_tokens::RevokedTokens;
use super::entries::{ApiKeyEntry, CertificateEntry, DeviceEntry};
use super::fact::Fact;

/// How long after its expiry an ended credential stays known.
const KNOWN_AFTER_EXPIRY_DAYS: i64 = 30;

/// An ended credential that expired before this moment is forgotten by an event that was recorded at `moment`.
pub(super) fn forgotten_before(moment: Timestamp) -> Timestamp {
    moment.plus_days(-KNOWN_AFTER_EXPIRY_DAYS)
}

/// Everything that the index knows. Two states that were made of the same log are equal.
#[derive(Debug, Default)]
pub(super) struct State {
    devices: HashMap<DeviceId, Device>,
    /// The devices of each tenant that are in service or wait for it.
    in_service: HashMap<TenantId, usize>,
    certificates: HashMap<Fingerprint, CertificateEntry>,
    serial_numbers: HashMap<SerialNumber, Fingerprint>,
    /// When active certificates should be renewed earlier than their ends demand.
    requested_renewals: HashMap<SerialNumber, RenewalWindow>,
    /// Since when authorities do not sign any more.
    rotated_authorities: HashMap<AuthorityId, Timestamp>,
    api_keys: HashMap<Prefix, Vec<ApiKeyEntry>>,
    pub(super) admin_tokens: RevokedTokens,
    /// What has ended, by its expiry.
    ended: BinaryHeap<Reverse<(Timestamp, Ended)>>,
}

#[derive(Debug, Default)]
struct Device {
    entry: Option<DeviceEntry>,
    /// `None` for everywhere, as almost always.
    allowed_networks: Option<Box<AllowedNetworks>>,
    active_certificate: Option<Fingerprint>,
    /// In the order of issue.
    api_keys: Vec<(ApiKeyId, Prefix)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Certificate(Fingerprint),
    ApiKey(DeviceId, ApiKeyId),
    AdminToken(TokenIssuer, AdminTokenId),
}

impl State {
    /// An empty state with room for so many devices, certificates and keys.
    pub(super) fn with_capacity(devices: usize, certificates: usize, api_keys: usize) -> Self {
        Self {
            devices: HashMap::with_capacity(devices),
            in_service: HashMap::new(),
            certificates: HashMap::with_capacity(certificates),
            serial_numbers: HashMap::with_capacity(certificates),
            requested_renewals: HashMap::new(),
            rotated_authorities: HashMap::new(),
            api_keys: HashMap::with_capacity(api_keys),
            admin_tokens: RevokedTokens::default(),
            ended: BinaryHeap::new(),
        }
    }

    pub(super) fn device(&self, id: DeviceId) -> Option<DeviceEntry> {
        self.devices.get(&id)?.entry
    }

    pub(super) fn permits_address(&self, id: DeviceId, address: IpAddr) -> bool {
        let allowed = self.devices.get(&id).and_then(|device| device.allowed_networks.as_ref());
        allowed.is_none_or(|allowed| allowed.permit(address))
    }

    pub(super) fn devices_in_service(&self, tenant_id: TenantId) -> usize {
        self.in_service.get(&tenant_id).copied().unwrap_or_default()
    }

    pub(super) fn certificate(&self, fingerprint: &Fingerprint) -> Option<CertificateEntry> {
        self.certificates.get(fingerprint).copied()
    }

    pub(super) fn certificate_by_serial(&self, serial_number: SerialNumber) -> Option<CertificateEntry> {
        self.certificate(self.serial_numbers.get(&serial_number)?)
    }

    pub(super) fn active_certificate(&self, id: DeviceId) -> Option<CertificateEntry> {
        self.certificate(self.devices.get(&id)?.active_certificate.as_ref()?)
    }

    pub(super) fn requested_renewal(&self, serial_number: SerialNumber) -> Option<RenewalWindow> {
        self.requested_renewals.get(&serial_number).copied()
    }

    pub(super) fn has_used_successor(&self, certificate: &CertificateEntry) -> bool {
        let mut standing = certificate.standing;
        // Nothing is superseded by what it superseded itself; the bound is for a log that says so all the same.
        for _ in 0..self.certificates.len() {
            let Standing::Superseded { by } = standing else { return false };
            match self.certificate_by_serial(by) {
                Some(successor) if successor.is_used => return true,
                Some(successor) => standing = successor.standing,
                None => return false,
            }
        }
        false
    }

    pub(super) fn authority_rotated_at(&self, id: AuthorityId) -> Option<Timestamp> {
        self.rotated_authorities.get(&id).copied()
    }

    pub(super) fn newest_api_key(&self, id: DeviceId) -> Option<&ApiKeyEntry> {
        let keys = self.devices.get(&id)?.api_keys.iter().rev();
        keys.filter_map(|(key_id, prefix)| self.api_keys(*prefix).iter().find(|key| key.key_id == *key_id))
            .find(|key| !key.is_revoked)
    }

    pub(super) fn api_keys(&self, prefix: Prefix) -> &[ApiKeyEntry] {
        self.api_keys.get(&prefix).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.devices.len(), self.api_keys.values().map(Vec::len).sum(), self.certificates.len())
    }

    /// Applies what happened at a moment.
    pub(super) fn apply(&mut self, fact: Fact, moment: Timestamp) {
        match fact {
            Fact::DeviceRegistered(id, entry) => self.add_device(id, entry),
            Fact::DeviceBecame(id, status) => self.set_status(id, status),
            Fact::DeviceRestricted(id, networks) => self.restrict_device(id, networks),
            Fact::KeyIssued(entry) => self.add_api_key(entry),
            Fact::KeyUsed(device_id, key_id) => {
                self.with_api_key(device_id, key_id, |key| key.is_used = true);
            }
            Fact::KeyRevoked(device_id, key_id) => self.revoke_api_key(device_id, key_id),
            Fact::CertificateIssued(entry) => self.add_certificate(entry),
            Fact::CertificateUsed(serial_number) => {
                self.with_certificate(serial_number, |certificate| certificate.is_used = true);
            }
            Fact::CertificateEnded(serial_number, standing) => self.end_certificate(serial_number, standing),
            Fact::RenewalRequested(serial_number, window) => self.request_renewal(serial_number, window),
            Fact::ReuseSuspected(serial_number) => {
                self.with_certificate(serial_number, |certificate| certificate.is_reuse_suspected = true);
            }
            Fact::AuthorityRotated(id) => self.rotate_authority(id, moment),
            Fact::AdminTokenRevoked(issuer, jti, expires_at) => self.revoke_admin_token(issuer, jti, expires_at),
            Fact::AdminTokensRevokedBefore(moment) => self.admin_tokens.revoke_before(moment),
            Fact::Nothing => {}
        }
        self.forget(forgotten_before(moment));
    }

    pub(super) fn add_device(&mut self, id: DeviceId, entry: DeviceEntry) {
        let before = self.devices.entry(id).or_default().entry.replace(entry);
        self.recount(before, entry);
    }

    pub(super) fn restrict_device(&mut self, id: DeviceId, networks: AllowedNetworks) {
        let networks = (!networks.is_everywhere()).then(|| Box::new(networks));
        self.devices.entry(id).or_default().allowed_networks = networks;
    }

    fn set_status(&mut self, id: DeviceId, status: DeviceStatus) {
        if let Some(entry) = self.devices.get_mut(&id).and_then(|device| device.entry.as_mut()) {
            let before = *entry;
            entry.status = status;
            let after = *entry;
            self.recount(Some(before), after);
        }
    }

    fn recount(&mut self, before: Option<DeviceEntry>, after: DeviceEntry) {
        let count = |entry: DeviceEntry| usize::from(entry.status.is_in_service());
        let (left, joined) = (before.map_or(0, count), count(after));
        if left != joined {
            let number = self.in_service.entry(after.tenant_id).or_default();
            *number = (*number + joined).saturating_sub(left);
        }
    }

    pub(super) fn add_api_key(&mut self, entry: ApiKeyEntry) {
        let keys = &mut self.devices.entry(entry.device_id).or_default().api_keys;
        keys.reserve_exact(1);
        keys.push((entry.key_id, entry.prefix));
        if entry.is_revoked {
            self.ended.push(Reverse((entry.expires_at, Ended::ApiKey(entry.device_id, entry.key_id))));
        }
        let colliding = self.api_keys.entry(entry.prefix).or_default();
        colliding.reserve_exact(1);
        colliding.push(entry);
    }

    fn with_api_key<R>(
        &mut self,
        device_id: DeviceId,
        key_id: ApiKeyId,
        change: impl FnOnce(&mut ApiKeyEntry) -> R,
    ) -> Option<R> {
        let keys = &self.devices.get(&device_id)?.api_keys;
        let (_, prefix) = keys.iter().find(|(id, _)| *id == key_id)?;
        self.api_keys.get_mut(prefix)?.iter_mut().find(|key| key.key_id == key_id).map(change)
    }

    fn revoke_api_key(&mut self, device_id: DeviceId, key_id: ApiKeyId) {
        let revoke = |key: &mut ApiKeyEntry| (!std::mem::replace(&mut key.is_revoked, true)).then_some(key.expires_at);
        if let Some(expires_at) = self.with_api_key(device_id, key_id, revoke).flatten() {
            self.ended.push(Reverse((expires_at, Ended::ApiKey(device_id, key_id))));
        }
    }

    pub(super) fn add_certificate(&mut self, entry: CertificateEntry) {
        match entry.standing {
            Standing::Active => {
                self.devices.entry(entry.device_id).or_default().active_certificate = Some(entry.fingerprint);
            }
            Standing::Superseded { .. } | Standing::Revoked => {
                self.ended.push(Reverse((entry.not_after, Ended::Certificate(entry.fingerprint))));
            }
        }
        self.serial_numbers.insert(entry.serial_number, entry.fingerprint);
        self.certificates.insert(entry.fingerprint, entry);
    }

    fn with_certificate<R>(
        &mut self,
        serial_number: SerialNumber,
        change: impl FnOnce(&mut CertificateEntry) -> R,
    ) -> Option<R> {
        let fingerprint = self.serial_numbers.get(&serial_number)?;
        self.certificates.get_mut(fingerprint).map(change)
    }

    fn end_certificate(&mut self, serial_number: SerialNumber, standing: Standing) {
        let ended = self.with_certificate(serial_number, |certificate| {
            let before = std::mem::replace(&mut certificate.standing, standing);
            (before == Standing::Active).then_some(*certificate)
        });
        let Some(certificate) = ended.flatten() else { return };
        self.requested_renewals.remove(&serial_number);
        if let Some(device) = self.devices.get_mut(&certificate.device_id)
            && device.active_certificate == Some(certificate.fingerprint)
        {
            device.active_certificate = None;
        }
        self.ended.push(Reverse((certificate.not_after, Ended::Certificate(certificate.fingerprint))));
    }

    /// What has ended is not renewed.
    pub(super) fn request_renewal(&mut self, serial_number: SerialNumber, window: RenewalWindow) {
        let standing = self.with_certificate(serial_number, |certificate| certificate.standing);
        if standing == Some(Standing::Active) {
            self.requested_renewals.insert(serial_number, window);
        }
    }

    /// The first moment counts.
    pub(super) fn rotate_authority(&mut self, id: AuthorityId, moment: Timestamp) {
        self.rotated_authorities.entry(id).or_insert(moment);
    }

    pub(super) fn revoke_admin_token(&mut self, issuer: TokenIssuer, jti: AdminTokenId, expires_at: Option<Timestamp>) {
        if let Some(expires_at) = expires_at {
            self.ended.push(Reverse((expires_at, Ended::AdminToken(issuer.clone(), jti.clone()))));
        }
        self.admin_tokens.revoke(issuer, jti);
    }

    /// Forgets what has ended and expired before a moment.
    fn forget(&mut self, before: Timestamp) {
        while let Some(Reverse((expiry, _))) = self.ended.peek()
            && *expiry < before
        {
            match self.ended.pop() {
                Some(Reverse((_, Ended::Certificate(fingerprint)))) => self.forget_certificate(&fingerprint),
                Some(Reverse((_, Ended::ApiKey(device_id, key_id)))) => self.forget_api_key(device_id, key_id),
                Some(Reverse((_, Ended::AdminToken(issuer, jti)))) => self.admin_tokens.forget(&issuer, &jti),
                None => {}
            }
        }
    }

    fn forget_certificate(&mut self, fingerprint: &Fingerprint) {
        if let Some(certificate) = self.certificates.remove(fingerprint) {
            self.serial_numbers.remove(&certificate.serial_number);
        }
    }

    fn forget_api_key(&mut self, device_id: DeviceId, key_id: ApiKeyId) {
        let Some(device) = self.devices.get_mut(&device_id) else { return };
        let Some(at) = device.api_keys.iter().position(|(id, _)| *id == key_id) else { return };
        let (_, prefix) = device.api_keys.remove(at);
        if let Some(colliding) = self.api_keys.get_mut(&prefix) {
            colliding.retain(|key| key.key_id != key_id);
            if colliding.is_empty() {
                self.api_keys.remove(&prefix);
            }
        }
    }
}
