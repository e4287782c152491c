//! What the files of a data directory tell of its certificate authorities; nothing is changed, and no server is asked.

use std::path::Path;

use signalbeam_domain::authority::AuthorityStatus;
use signalbeam_domain::{AuthorityId, Timestamp};
use signalbeam_event_store::{Clock, SqliteEventReader, SystemClock};
use signalbeam_projections::authorities::{KnownAuthority, known_authorities};
use signalbeam_projections::{ReadModel, Tables};

use super::{DataDirArgs, Failure};
use crate::serve::{EVENTS_FILE, PROJECTIONS_FILE};

/// The authorities at one moment.
pub(super) struct Survey {
    /// In the order in which they came into being.
    pub(super) authorities: Vec<Surveyed>,
    pub(super) now: Timestamp,
    tables: Option<Tables>,
}

/// An authority, and who depends on it.
pub(super) struct Surveyed {
    pub(super) known: KnownAuthority,
    /// How many certificates of devices, signed by it, are active; `None` where the derived tables do not tell.
    pub(super) live: Option<u64>,
    /// Whether it vouches for another one that is trusted.
    pub(super) vouches: bool,
}

impl Surveyed {
    pub(super) fn id(&self) -> AuthorityId {
        self.known.created.authority_id
    }

    /// As people read it: a root that vouches for who signs waits for nothing.
    pub(super) fn status_word(&self) -> &'static str {
        match (self.known.status, self.vouches) {
            (AuthorityStatus::Prepared, true) => "Vouching",
            (status, _) => status_name(status),
        }
    }
}

/// As the API names it.
pub(super) fn status_name(status: AuthorityStatus) -> &'static str {
    match status {
        AuthorityStatus::Prepared => "Prepared",
        AuthorityStatus::Active => "Active",
        AuthorityStatus::Rotated => "Rotated",
        AuthorityStatus::Retired => "Retired",
    }
}

impl Survey {
    /// Reads the log, and counts in the derived tables where they are there and fit.
    pub(super) async fn of(data_dir: &DataDirArgs) -> Result<Self, Failure> {
        let folder = data_dir.with(&[EVENTS_FILE])?;
        let log = SqliteEventReader::open(folder.join(EVENTS_FILE)).await.map_err(Failure::of)?;
        let known = known_authorities(&log).await.map_err(Failure::of)?;
        log.close().await;
        let now = SystemClock.now();
        let tables = derived(folder).await;
        let mut authorities = Vec::with_capacity(known.len());
        for one in &known {
            let id = one.created.authority_id;
            let live = match &tables {
                Some(tables) => ReadModel::new(tables.clone()).live_certificates_of_authority(id, now).await.ok(),
                None => None,
            };
            authorities.push(Surveyed { known: one.clone(), live, vouches: vouches(id, &known) });
        }
        Ok(Self { authorities, now, tables })
    }

    /// Who signs.
    pub(super) fn signing(&self) -> Option<&Surveyed> {
        self.of_status(AuthorityStatus::Active).next()
    }

    /// Who is prepared to sign.
    pub(super) fn waiting(&self) -> Option<&Surveyed> {
        self.of_status(AuthorityStatus::Prepared).find(|one| !one.vouches && !self.once_vouched(one))
    }

    /// Who could be retired: another one signs in its place, or nobody is left for whom it vouched.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &Surveyed> {
        let rotated = self.of_status(AuthorityStatus::Rotated);
        let bereft = self.of_status(AuthorityStatus::Prepared).filter(|one| self.once_vouched(one));
        rotated.chain(bereft).filter(|one| !one.vouches)
    }

    /// How many certificates of devices are live, and how many of those were issued since a moment.
    pub(super) async fn live_since(&self, since: Timestamp) -> Option<(u64, u64)> {
        let model = ReadModel::new(self.tables.clone()?);
        model.live_certificates_since(since, self.now).await.ok()
    }

    /// The certificate of an authority's root, PEM, as far as the log has it.
    pub(super) fn root_of<'s>(&'s self, one: &'s Surveyed) -> &'s KnownAuthority {
        let mut known = &one.known;
        while let Some(issuer) = known.created.issuer_id.and_then(|id| self.by_id(id)) {
            known = &issuer.known;
        }
        known
    }

    pub(super) fn by_id(&self, id: AuthorityId) -> Option<&Surveyed> {
        self.authorities.iter().find(|one| one.id() == id)
    }

    fn once_vouched(&self, one: &Surveyed) -> bool {
        self.authorities.iter().any(|other| other.known.created.issuer_id == Some(one.id()))
    }

    fn of_status(&self, status: AuthorityStatus) -> impl Iterator<Item = &Surveyed> {
        self.authorities.iter().filter(move |one| one.known.status == status)
    }
}

fn vouches(id: AuthorityId, known: &[KnownAuthority]) -> bool {
    known.iter().any(|other| other.created.issuer_id == Some(id) && other.status != AuthorityStatus::Retired)
}

/// The derived tables, as they are: of a server of another version nothing is known.
async fn derived(folder: &Path) -> Option<Tables> {
    let (tables, is_of_this_version) = Tables::peek(&folder.join(PROJECTIONS_FILE)).await.ok()?;
    is_of_this_version.then_some(tables)
}
