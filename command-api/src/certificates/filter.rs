//! Which certificates a command on many of them means. The tables find them; whoever carries the command out judges each
//! by its own stream.

use serde::Deserialize;
use signalbeam_authn::{AdminPrincipal, Problem};
use signalbeam_domain::{AuthorityId, DeviceId, SerialNumber, TenantId, Timestamp};
use signalbeam_projections::{CertificateFilter, CertificateRow, CertificateStatus, CertificateType, Cursor};
use utoipa::ToSchema;

use crate::command::store_unavailable;
use crate::state::CommandApi;

/// The most devices that a filter names.
const MAX_DEVICES: usize = 1_000;
/// The most characters of a profile's name.
const MAX_PROFILE_CHARACTERS: usize = 64;
/// How many certificates are found at a time.
const PAGE: usize = 500;

/// Which certificates are meant: those that fit everything that is named. Without anything, all that the caller may see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CertificateSelection {
    /// Only this tenant's.
    #[schema(value_type = Option<Uuid>)]
    tenant_id: Option<TenantId>,
    /// Only those of this profile.
    #[schema(max_length = 64)]
    profile: Option<String>,
    /// Only those that were issued at this moment or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    issued_after: Option<Timestamp>,
    /// Only those that were issued before this moment.
    #[schema(value_type = Option<String>, format = DateTime)]
    issued_before: Option<Timestamp>,
    /// Only these devices': 1 to 1,000. A device that does not exist has none.
    #[schema(value_type = Option<Vec<Uuid>>, min_items = 1, max_items = 1000)]
    device_ids: Option<Vec<DeviceId>>,
    /// Only those that this certificate authority signed.
    #[schema(value_type = Option<Uuid>)]
    authority_id: Option<AuthorityId>,
}

/// Which of the selected certificates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Neither superseded nor revoked, and not past their end.
    Active,
    /// Neither superseded nor revoked, whether or not they are past their end.
    Unrevoked,
}

/// A device's certificate that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) device_id: DeviceId,
    pub(crate) tenant_id: TenantId,
    pub(crate) serial_number: SerialNumber,
}

impl CertificateSelection {
    /// What must hold before anything is looked for. The pointers name the member `filter` of the request's body.
    ///
    /// # Errors
    /// 400 `INVALID_REQUEST`; 403 `FORBIDDEN` where it names a tenant that the admin is not of.
    pub(crate) fn check(&self, admin: &AdminPrincipal) -> Result<(), Problem> {
        self.tenant_id.map_or(Ok(()), |tenant_id| admin.require_tenant(tenant_id))?;
        if self.device_ids.as_ref().is_some_and(|ids| !(1..=MAX_DEVICES).contains(&ids.len())) {
            return Err(Problem::invalid("/filter/deviceIds", format!("must name 1 to {MAX_DEVICES} devices")));
        }
        if self.profile.as_ref().is_some_and(|name| !(1..=MAX_PROFILE_CHARACTERS).contains(&name.chars().count())) {
            let detail = format!("must have 1 to {MAX_PROFILE_CHARACTERS} characters");
            return Err(Problem::invalid("/filter/profile", detail));
        }
        match (self.issued_after, self.issued_before) {
            (Some(after), Some(before)) if after >= before => {
                Err(Problem::invalid("/filter/issuedBefore", "must be later than issuedAfter"))
            }
            _ => Ok(()),
        }
    }

    /// Looks for them, as the tables stand now. What is issued meanwhile is not found.
    pub(crate) fn find<'a>(&'a self, api: &'a CommandApi, confined_to: Option<TenantId>, scope: Scope) -> Targets<'a> {
        Targets { api, filter: self.filter(scope), confined_to, next: Next::First }
    }

    fn filter(&self, scope: Scope) -> CertificateFilter {
        CertificateFilter {
            status: (scope == Scope::Active).then_some(CertificateStatus::Active),
            unrevoked: scope == Scope::Unrevoked,
            tenant_id: self.tenant_id,
            kind: Some(CertificateType::Device),
            profile: self.profile.clone(),
            issued_from: self.issued_after,
            issued_before: self.issued_before,
            device_ids: self.device_ids.clone().unwrap_or_default(),
            authority_id: self.authority_id,
            ..CertificateFilter::default()
        }
    }
}

/// What was found, page by page, the newest certificates first.
pub(crate) struct Targets<'a> {
    api: &'a CommandApi,
    filter: CertificateFilter,
    confined_to: Option<TenantId>,
    next: Next,
}

enum Next {
    First,
    After(Cursor),
    Nothing,
}

impl Targets<'_> {
    /// The next ones; `None` after the last.
    ///
    /// # Errors
    /// 503 `PROJECTION_BEHIND` or `STORE_UNAVAILABLE`
    pub(crate) async fn page(&mut self) -> Result<Option<Vec<Target>>, Problem> {
        let after = match self.next {
            Next::First => None,
            Next::After(cursor) => Some(cursor),
            Next::Nothing => return Ok(None),
        };
        let tables = self.api.tables().await?;
        let found = tables.certificates(self.confined_to, &self.filter, self.api.now(), after, PAGE).await;
        let found = found.map_err(|error| store_unavailable(&error))?;
        self.next = found.next.map_or(Next::Nothing, Next::After);
        Ok(Some(found.items.iter().filter_map(target).collect()))
    }
}

/// Every certificate of the type that is looked for is a device's.
fn target(row: &CertificateRow) -> Option<Target> {
    let (device_id, tenant_id) = row.device_id.zip(row.tenant_id)?;
    Some(Target { device_id, tenant_id, serial_number: row.serial_number })
}
