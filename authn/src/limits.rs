//! How often clients, devices and tenants may do what costs something, and from where.
//!
//! A limit on failures never harms a good caller who shares an address with bad ones: credentials are judged first, and
//! only who has failed meets it. Limits live in memory, of each node its own.
//!
//! The arithmetic is that of the crate `governor`. It is written out here because its keyed stores grow without bound
//! between sweeps, and because what is taken must be given back where hashing shows that a credential was good.

mod client;
pub mod headers;
mod keyed;
pub mod quota;
pub mod tenants;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::StatusCode;
use signalbeam_domain::{DeviceId, Prefix, TenantId};

use self::client::Client;
use self::headers::{note, seconds};
use self::keyed::Keyed;
use self::quota::{Quota, Standing};
use self::tenants::TenantPolicy;
use crate::code::ErrorCode;
use crate::http::problem::Problem;

/// How many groups of tenants are told apart where one registration or token of a tenant waits for another.
const TENANT_GATES: usize = 64;

/// Something that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Failed attempts to authenticate, by client.
    FailedAttempts,
    /// Failed attempts to authenticate, by the public prefix of the credential.
    FailedAttemptsPerCredential,
    /// Registrations of devices, by client.
    Registrations,
    /// Claims of API keys, by client.
    Claims,
    /// API keys and certificates that a device asks for.
    Issuances,
    /// Requests that need no credential, by client.
    PublicRequests,
    /// OCSP answers that are signed for one client.
    OcspSignatures,
    /// Requests of a tenant.
    TenantRequests,
}

impl Limit {
    /// Every limit, as metrics and headers name it.
    pub const NAMES: &'static [&'static str] = &[
        Self::FailedAttempts.as_str(),
        Self::FailedAttemptsPerCredential.as_str(),
        Self::Registrations.as_str(),
        Self::Claims.as_str(),
        Self::Issuances.as_str(),
        Self::PublicRequests.as_str(),
        Self::OcspSignatures.as_str(),
        Self::TenantRequests.as_str(),
    ];

    /// As metrics and headers name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailedAttempts => "failed_attempts",
            Self::FailedAttemptsPerCredential => "failed_attempts_per_credential",
            Self::Registrations => "registrations",
            Self::Claims => "claims",
            Self::Issuances => "issuances",
            Self::PublicRequests => "public_requests",
            Self::OcspSignatures => "ocsp_signatures",
            Self::TenantRequests => "tenant_requests",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::FailedAttempts | Self::FailedAttemptsPerCredential => {
                "too many failed attempts to authenticate; wait before the next one"
            }
            Self::Registrations => "too many registrations from this address; the token is still good",
            Self::Claims => "too many claims from this address; the claim is still open",
            Self::Issuances => "the device has asked for too many credentials",
            Self::PublicRequests => "too many requests from this address",
            Self::OcspSignatures => "too many OCSP answers were signed for this address",
            Self::TenantRequests => "the tenant has sent too many requests",
        }
    }
}

/// The quotas that an operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Of failed attempts, for each client.
    pub failed_attempts: Quota,
    /// Of failed attempts, for each prefix of an API key or a registration token.
    pub failed_attempts_per_credential: Quota,
    /// Of registrations, for each client.
    pub registrations: Quota,
    /// Of claims, for each client.
    pub claims: Quota,
    /// Of API keys and certificates that a device asks for, for each device.
    pub issuances_per_device: Quota,
    /// Of OCSP answers that are signed, for each client.
    pub ocsp_signatures: Quota,
    /// Of requests that need no credential, for each client; `None` for no limit.
    pub public_requests: Option<Quota>,
    /// How many keys each limit remembers.
    pub max_tracked_keys: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            failed_attempts: Quota::per_minute(600, 300),
            failed_attempts_per_credential: Quota::per_minute(300, 60),
            registrations: Quota::per_minute(1_000, 600),
            claims: Quota::per_minute(1_000, 600),
            issuances_per_device: Quota::new(60, 60, Duration::from_hours(1)),
            ocsp_signatures: Quota::per_minute(6_000, 6_000),
            public_requests: None,
            max_tracked_keys: 65_536,
        }
    }
}

/// All limits of this node.
#[derive(Debug)]
pub struct Limits {
    /// `None` where rates are not limited.
    settings: RwLock<Option<Arc<LimitSettings>>>,
    tenants: RwLock<Arc<TenantPolicy>>,
    failures_by_client: Keyed<Client>,
    failures_by_prefix: Keyed<Prefix>,
    registrations: Keyed<Client>,
    claims: Keyed<Client>,
    issuances: Keyed<DeviceId>,
    ocsp_signatures: Keyed<Client>,
    public_requests: Keyed<Client>,
    tenant_requests: Keyed<TenantId>,
    tenant_gates: [tokio::sync::Mutex<()>; TENANT_GATES],
}

impl Default for Limits {
    fn default() -> Self {
        Self::new(Some(LimitSettings::default()), TenantPolicy::default())
    }
}

impl Limits {
    /// Begins with whole quotas. Without settings only the tenants' bounds hold.
    pub fn new(settings: Option<LimitSettings>, tenants: TenantPolicy) -> Self {
        let keys = tracked_keys(settings.as_ref());
        Self {
            settings: RwLock::new(settings.map(Arc::new)),
            tenants: RwLock::new(Arc::new(tenants)),
            failures_by_client: Keyed::new(keys),
            failures_by_prefix: Keyed::new(keys),
            registrations: Keyed::new(keys),
            claims: Keyed::new(keys),
            issuances: Keyed::new(keys),
            ocsp_signatures: Keyed::new(keys),
            public_requests: Keyed::new(keys),
            tenant_requests: Keyed::new(keys),
            tenant_gates: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        }
    }

    /// Puts other bounds in force. A quota that changes begins whole; of one that does not, what was used up stays used up.
    pub fn reconfigure(&self, settings: Option<LimitSettings>, tenants: TenantPolicy) {
        let (before, keys) = (self.settings(), tracked_keys(settings.as_ref()));
        let has_changed = |quota: fn(&LimitSettings) -> Option<Quota>| {
            before.as_deref().and_then(quota) != settings.as_ref().and_then(quota)
        };
        self.failures_by_client.adapt(keys, has_changed(|settings| Some(settings.failed_attempts)));
        self.failures_by_prefix.adapt(keys, has_changed(|settings| Some(settings.failed_attempts_per_credential)));
        self.registrations.adapt(keys, has_changed(|settings| Some(settings.registrations)));
        self.claims.adapt(keys, has_changed(|settings| Some(settings.claims)));
        self.issuances.adapt(keys, has_changed(|settings| Some(settings.issuances_per_device)));
        self.ocsp_signatures.adapt(keys, has_changed(|settings| Some(settings.ocsp_signatures)));
        self.public_requests.adapt(keys, has_changed(|settings| settings.public_requests));
        self.tenant_requests.adapt(keys, false);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings.map(Arc::new);
        *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tenants);
    }

    fn settings(&self) -> Option<Arc<LimitSettings>> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bounds of tenants that are in force.
    pub fn tenants(&self) -> Arc<TenantPolicy> {
        Arc::clone(&self.tenants.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a failed attempt is answered with: its own problem, or 429 `RATE_LIMITED` where the client, or anybody with the
    /// same prefix, has failed too often. The 429 says nothing of the credential, not even whether its prefix exists.
    ///
    /// Where the credential is genuine and something else stands against it (it has been revoked, its device may not come
    /// in, its token has been used), its holder is told so at any time: that was no guess, and a device that knows why it
    /// is refused can help itself.
    #[must_use]
    pub fn failed(&self, address: IpAddr, prefix: Option<Prefix>, problem: Problem) -> Problem {
        let Some(settings) = self.settings().filter(|_| is_guess(problem.code())) else { return problem };
        let by_client = self.failures_by_client.take(address.into(), settings.failed_attempts);
        let by_client = judge(Limit::FailedAttempts, by_client);
        let by_prefix = prefix.map_or(Ok(()), |prefix| {
            let taken = self.failures_by_prefix.take(prefix, settings.failed_attempts_per_credential);
            judge(Limit::FailedAttemptsPerCredential, taken)
        });
        by_client.and(by_prefix).err().unwrap_or(problem)
    }

    /// Asks whether a slow hash may be computed for a credential that only it can judge. It counts as a failure until
    /// [`HashingPermit::judged`], so that however many come at once, or go away before they are answered, no more are hashed
    /// than may fail.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED` where the client, or anybody with the same prefix, has failed too often.
    pub fn before_hashing(&self, address: IpAddr, prefix: Prefix) -> Result<HashingPermit<'_>, Problem> {
        let Some(settings) = self.settings() else { return Ok(HashingPermit(None)) };
        let client = Client::from(address);
        judge(Limit::FailedAttempts, self.failures_by_client.take(client, settings.failed_attempts))?;
        let by_prefix = self.failures_by_prefix.take(prefix, settings.failed_attempts_per_credential);
        if let Err(problem) = judge(Limit::FailedAttemptsPerCredential, by_prefix) {
            self.failures_by_client.give_back(client, settings.failed_attempts);
            return Err(problem);
        }
        Ok(HashingPermit(Some(Held { limits: self, settings, client, prefix })))
    }

    /// Counts a registration that is about to be recorded.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED`
    pub fn registration(&self, address: IpAddr) -> Result<(), Problem> {
        self.by_client(Limit::Registrations, &self.registrations, address, |settings| Some(settings.registrations))
    }

    /// Takes a registration back that came to nothing.
    pub fn registration_failed(&self, address: IpAddr) {
        if let Some(settings) = self.settings() {
            self.registrations.give_back(address.into(), settings.registrations);
        }
    }

    /// Counts a claim of an API key: for the client, and for the device, whose issuance it is.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED`
    pub fn claim(&self, address: IpAddr, device_id: DeviceId) -> Result<(), Problem> {
        self.by_client(Limit::Claims, &self.claims, address, |settings| Some(settings.claims))?;
        self.issuance(device_id)
    }

    /// Counts an API key or a certificate that a device asks for. Repetitions, which get what was issued before, do not
    /// count.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED`
    pub fn issuance(&self, device_id: DeviceId) -> Result<(), Problem> {
        let Some(settings) = self.settings() else { return Ok(()) };
        judge(Limit::Issuances, self.issuances.take(device_id, settings.issuances_per_device))
    }

    /// Counts a request that needs no credential.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED`
    pub fn public_request(&self, address: IpAddr) -> Result<(), Problem> {
        let quota = |settings: &LimitSettings| settings.public_requests;
        self.by_client(Limit::PublicRequests, &self.public_requests, address, quota)
    }

    /// Counts an OCSP answer that is about to be signed. What was signed before costs nothing.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED`
    pub fn ocsp_signature(&self, address: IpAddr) -> Result<(), Problem> {
        let quota = |settings: &LimitSettings| Some(settings.ocsp_signatures);
        self.by_client(Limit::OcspSignatures, &self.ocsp_signatures, address, quota)
    }

    /// Counts a request of one of the tenant's devices, or of an admin who is confined to it.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED`
    pub fn tenant_request(&self, tenant_id: TenantId) -> Result<(), Problem> {
        let Some(rate) = self.tenants().of(tenant_id).requests_per_second else { return Ok(()) };
        let quota = Quota::new(rate, rate, Duration::from_secs(1));
        judge(Limit::TenantRequests, self.tenant_requests.take(tenant_id, quota))
    }

    /// Whether the tenant's devices may come from an address.
    pub fn tenant_permits_address(&self, tenant_id: TenantId, address: IpAddr) -> bool {
        self.tenants().of(tenant_id).permit_address(address)
    }

    /// What whoever adds to a number that the tenant's bounds limit holds from counting until it has added: one at a time.
    pub fn tenant_gate(&self, tenant_id: TenantId) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        tenant_id.hash(&mut hasher);
        let gates = TENANT_GATES as u64;
        &self.tenant_gates[usize::try_from(hasher.finish() % gates).unwrap_or_default()]
    }

    fn by_client(
        &self,
        limit: Limit,
        keyed: &Keyed<Client>,
        address: IpAddr,
        quota: impl Fn(&LimitSettings) -> Option<Quota>,
    ) -> Result<(), Problem> {
        let Some(quota) = self.settings().and_then(|settings| quota(&settings)) else { return Ok(()) };
        judge(limit, keyed.take(address.into(), quota))
    }
}

/// A slow hash may be computed.
#[derive(Debug)]
#[must_use]
pub struct HashingPermit<'a>(Option<Held<'a>>);

#[derive(Debug)]
struct Held<'a> {
    limits: &'a Limits,
    settings: Arc<LimitSettings>,
    client: Client,
    prefix: Prefix,
}

impl HashingPermit<'_> {
    /// The credential was let in by the hash, or its failure is counted otherwise. Whoever is refused for another reason
    /// has had its try: a hash costs too much to be computed again and again for nothing.
    pub fn judged(self) {
        if let Some(Held { limits, settings, client, prefix }) = self.0 {
            limits.failures_by_client.give_back(client, settings.failed_attempts);
            limits.failures_by_prefix.give_back(prefix, settings.failed_attempts_per_credential);
        }
    }
}

fn tracked_keys(settings: Option<&LimitSettings>) -> usize {
    settings.map_or_else(|| LimitSettings::default().max_tracked_keys, |settings| settings.max_tracked_keys)
}

/// Whether a failure may have been a guess at a credential.
fn is_guess(code: ErrorCode) -> bool {
    let is_genuine =
        matches!(code, ErrorCode::CertificateRevoked | ErrorCode::ApiKeyRevoked | ErrorCode::ApiKeyExpired);
    code.status() == StatusCode::UNAUTHORIZED && !is_genuine
}

/// Notes the standing for the answer's headers, and refuses where nothing is left.
fn judge(limit: Limit, taken: Result<Standing, Standing>) -> Result<(), Problem> {
    let (standing, is_refused) = match taken {
        Ok(standing) => (standing, false),
        Err(standing) => (standing, true),
    };
    note(limit, standing);
    if !is_refused {
        return Ok(());
    }
    metrics::counter!("signalbeam_rate_limited_total", "limit" => limit.as_str()).increment(1);
    let wait = seconds(standing.reset).max(1);
    Err(Problem::new(ErrorCode::RateLimited, limit.detail()).retry_after(wait))
}

#[cfg(test)]
mod tests;
