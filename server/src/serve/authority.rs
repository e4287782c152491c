//! Which certificate authority this server is: the one that its log knows, or a new one where it knows none.

use std::path::PathBuf;
use std::sync::Arc;

use signalbeam_authn::draw;
use signalbeam_domain::authority::{Authority, AuthorityCommand, AuthorityCreated, AuthorityError, AuthorityStatus};
use signalbeam_domain::{Actor, CorrelationId, Fingerprint, Position, StreamId, Timestamp};
use signalbeam_event_store::{
    Clock, CommandMetadata, EventStore, ExecuteError, Filter, LoadError, StoreError, execute, load,
};
use signalbeam_pki::{
    AuthoritySettings, BlockingPool, CaKeyStore, CaMaterial, CertificateAuthority, FileKeyStore, KeyStoreError,
};
use uuid::Uuid;

/// How many events are looked at in one go.
const PAGE: usize = 1_000;

/// Why there is no certificate authority to serve with.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityStartError {
    /// The log knows an authority whose key files are gone. A new one would make every certificate in the field invalid.
    #[error(
        "the event log knows the certificate authority {fingerprint}, but {} does not hold its key and certificate: \
         restore that folder from a backup", folder.display()
    )]
    Missing {
        /// The authority that the log knows.
        fingerprint: Fingerprint,
        /// Where its files belong.
        folder: PathBuf,
    },
    /// The key files are those of another authority than the log knows.
    #[error(
        "the event log knows the certificate authority {fingerprint}, but {} holds another one, {found}: \
         restore the folder that belongs to this log", folder.display()
    )]
    Different {
        /// The authority that the log knows.
        fingerprint: Fingerprint,
        /// The one that was found.
        found: Fingerprint,
        /// Where its files belong.
        folder: PathBuf,
    },
    /// The authority was replaced or retired.
    #[error("the certificate authority {0} in the data directory does not sign any more")]
    NotActive(Fingerprint),
    /// The key store failed.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// The authority could not be opened or made.
    #[error(transparent)]
    Authority(#[from] signalbeam_pki::AuthorityError),
    /// The log failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the log knows of authorities cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The authority could not be recorded.
    #[error("the certificate authority could not be recorded")]
    Record(#[from] ExecuteError<AuthorityError>),
    /// No serial number could be drawn.
    #[error(transparent)]
    Draw(#[from] draw::DrawError),
}

/// Opens the authority in `folder`, or makes one where the log knows none, and records it.
///
/// # Errors
/// [`AuthorityStartError`], above all where log and key files do not belong to each other.
pub(super) async fn open(
    folder: PathBuf,
    settings: AuthoritySettings,
    store: &dyn EventStore,
    clock: &dyn Clock,
) -> Result<Arc<CertificateAuthority>, AuthorityStartError> {
    let keys = FileKeyStore::new(folder.clone(), BlockingPool::per_processor());
    let material = keys.load().await?;
    if !matches!(material, CaMaterial::Complete { .. })
        && let Some(known) = active_in_log(store).await?
    {
        return Err(AuthorityStartError::Missing { fingerprint: known.fingerprint, folder });
    }
    let now = clock.now();
    let root_serial = draw::serial_number()?;
    let authority =
        CertificateAuthority::open_or_create(Arc::new(keys), settings, now.to_offset_date_time(), root_serial).await?;
    let stream = StreamId::certificate_authority(authority.id());
    let (recorded, _) = load::<Authority>(store, &stream).await?;
    match recorded.status() {
        Some(AuthorityStatus::Active) => {}
        Some(AuthorityStatus::Rotated | AuthorityStatus::Retired) => {
            return Err(AuthorityStartError::NotActive(authority.fingerprint()));
        }
        None | Some(AuthorityStatus::Prepared) => {
            if let Some(known) = active_in_log(store).await? {
                let found = authority.fingerprint();
                return Err(AuthorityStartError::Different { fingerprint: known.fingerprint, found, folder });
            }
            record(&authority, &stream, store, now).await?;
        }
    }
    Ok(Arc::new(authority))
}

/// The authority that signs, as far as the log knows.
async fn active_in_log(store: &dyn EventStore) -> Result<Option<AuthorityCreated>, AuthorityStartError> {
    let filter = Filter { event_types: vec!["certificate_authority.activated".to_owned()], ..Filter::default() };
    let mut after = Position::default();
    loop {
        let page = store.read_all(after, PAGE, &filter).await?;
        for event in &page.events {
            let (authority, _) = load::<Authority>(store, &event.envelope.stream).await?;
            if authority.status() == Some(AuthorityStatus::Active) {
                return Ok(authority.created().cloned());
            }
        }
        if page.reached == after {
            return Ok(None);
        }
        after = page.reached;
    }
}

async fn record(
    authority: &CertificateAuthority,
    stream: &StreamId,
    store: &dyn EventStore,
    now: Timestamp,
) -> Result<(), AuthorityStartError> {
    let metadata = CommandMetadata {
        actor: Actor::system("server"),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    };
    let validity = authority.own_validity();
    let created = AuthorityCreated {
        authority_id: authority.id(),
        subject: authority.subject().to_owned(),
        serial_number: authority.serial_number(),
        fingerprint: authority.fingerprint(),
        key_type: authority.public_key().key_type().as_str().to_owned(),
        not_before: Timestamp::from_offset_date_time(validity.not_before),
        not_after: Timestamp::from_offset_date_time(validity.not_after),
        certificate_pem: authority.certificate_pem(),
        issuer_id: None,
        key_slot: None,
    };
    let create = || AuthorityCommand::Create(created.clone());
    execute::<Authority>(store, stream, None, &metadata, now, create).await?;
    execute::<Authority>(store, stream, None, &metadata, now, || AuthorityCommand::Activate).await?;
    Ok(())
}
