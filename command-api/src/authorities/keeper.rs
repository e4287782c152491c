//! Makes, opens and reloads the certificate authorities that the log knows, with the keys that belong to them.

use std::sync::Arc;

use serde::Deserialize;
use signalbeam_authn::draw;
use signalbeam_domain::authority::{AuthorityActivated, AuthorityCreated, AuthorityEvent, AuthorityStatus};
use signalbeam_domain::event::NoDetails;
use signalbeam_domain::{
    Actor, AuthorityId, CorrelationId, Event, Fingerprint, Position, StreamId, Timestamp, Version,
};
use signalbeam_event_store::{
    AppendError, Batch, Clock, CommandMetadata, EventStore, ExpectedVersion, LoadError, StreamWrite, SubscriptionItem,
    new_events,
};
use signalbeam_pki::{
    Authorities, AuthorityError, AuthoritySet, AuthoritySetError, AuthoritySettings, AuthorityStanding, CaKeyStore,
    CaKeyStores, CaMaterial, CertificateAuthority, FIRST_ROOT, Intermediate, InvalidKeySlot, KeySlot, KeyStoreError,
    NewAuthority, TrustedAuthority, certificates_from_pem, fingerprint,
};
use signalbeam_projections::authorities::{KnownAuthority, known_authorities};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::service_certificates::{IntentError, intend_intermediate};

/// The slot of the first intermediate's key.
const FIRST_ISSUING_SLOT: &str = "issuing-1";
/// The first intermediate's common name.
const FIRST_ISSUING: &str = "SignalBeam Issuing CA 1";

/// Who signs devices' certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hierarchy {
    /// A root itself.
    #[default]
    Root,
    /// An issuing authority under a root.
    Intermediate,
}

/// Why there is no certificate authority to serve with.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityStartError {
    /// The log knows an authority whose key is gone. A new one would make every certificate in the field invalid.
    #[error(
        "the event log knows the certificate authority {fingerprint}, but the key store does not hold its key and \
         certificate (key slot `{slot}`): restore them from a backup, or put them back with `signalbeam ca import`"
    )]
    Missing {
        /// The authority that the log knows.
        fingerprint: Fingerprint,
        /// Where its key belongs.
        slot: KeySlot,
    },
    /// The key store holds another authority than the log knows.
    #[error(
        "the event log knows the certificate authority {fingerprint}, but the key store holds another one, {found} (key \
         slot `{slot}`): restore the keys that belong to this log"
    )]
    Different {
        /// The authority that the log knows.
        fingerprint: Fingerprint,
        /// The one that was found.
        found: Fingerprint,
        /// Where its key belongs.
        slot: KeySlot,
    },
    /// The log says that no authority signs any more.
    #[error("the event log knows certificate authorities, and none of them signs: {0} was the last to")]
    NoneActive(Fingerprint),
    /// The log names a key slot that cannot be one.
    #[error(transparent)]
    Slot(#[from] InvalidKeySlot),
    /// What the log has of an authority's certificates cannot be read.
    #[error("the event log's certificates of the authority {0} cannot be read")]
    Unreadable(Fingerprint),
    /// The key store failed.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// An authority could not be opened or made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The authorities do not make a whole.
    #[error(transparent)]
    Set(#[from] AuthoritySetError),
    /// What the log knows of authorities cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The authority could not be recorded.
    #[error("the certificate authority could not be recorded")]
    Record(#[from] AppendError),
    /// What an authority is about to sign could not be recorded.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// No serial number could be drawn.
    #[error(transparent)]
    Draw(#[from] draw::DrawError),
}

/// The authorities of a server that starts.
#[derive(Debug)]
pub struct Opened {
    /// The authorities.
    pub set: AuthoritySet,
    /// Whether this very call made them.
    pub is_new: bool,
}

/// Knows where the authorities' keys are and what the log says of them.
#[derive(Debug)]
pub struct AuthorityKeeper {
    keys: Arc<dyn CaKeyStores>,
    settings: AuthoritySettings,
    /// Held from the reading of the log until what it says is in force.
    refreshing: Mutex<()>,
}

impl AuthorityKeeper {
    /// Takes the keys' place, and what new certificates are made by.
    pub fn new(keys: Arc<dyn CaKeyStores>, settings: AuthoritySettings) -> Self {
        Self { keys, settings, refreshing: Mutex::default() }
    }

    /// The key store of a slot.
    pub(crate) fn store(&self, slot: &KeySlot) -> Result<Arc<dyn CaKeyStore>, KeyStoreError> {
        self.keys.open(slot)
    }

    /// What new certificates are made by.
    pub(crate) fn settings(&self) -> &AuthoritySettings {
        &self.settings
    }

    /// Opens the authorities that the log knows, or makes the first where it knows none, and records it.
    ///
    /// # Errors
    /// [`AuthorityStartError`], above all where log and keys do not belong to each other.
    pub async fn open(
        &self,
        store: &dyn EventStore,
        clock: &dyn Clock,
        hierarchy: Hierarchy,
    ) -> Result<Opened, AuthorityStartError> {
        let known = known_authorities(store).await?;
        if let Some(active) = known.iter().find(|one| one.status == AuthorityStatus::Active) {
            self.check_key(&active.created).await?;
            return Ok(Opened { set: self.set_of(&known)?, is_new: false });
        }
        let ended = known.iter().rev().find(|one| one.status != AuthorityStatus::Prepared);
        if let Some(last) = ended {
            return Err(AuthorityStartError::NoneActive(last.created.fingerprint));
        }
        let is_new = self.make_first(store, clock, hierarchy, &known).await?;
        Ok(Opened { set: self.load(store).await?, is_new })
    }

    /// Puts in force what the log says of the authorities now. One after the other, so that what was read earlier never
    /// takes the place of what was read later.
    ///
    /// # Errors
    /// [`AuthorityStartError`]; what was in force stays so.
    pub async fn refresh(&self, store: &dyn EventStore, authorities: &Authorities) -> Result<(), AuthorityStartError> {
        let _turn = self.refreshing.lock().await;
        authorities.replace(self.load(store).await?);
        Ok(())
    }

    /// Follows the log from a position on, so that what another process does to the authorities holds here too. Begins with
    /// what was done to them before it; where they cannot be read or opened, it tries again until they can.
    pub async fn follow(&self, store: &dyn EventStore, after: Position, authorities: &Authorities) {
        let mut items = store.subscribe(after);
        let (mut is_behind, mut is_failing) = (true, false);
        // Something comes every second, also while nothing happens: so often it is tried again.
        while let Some(item) = items.next().await {
            if let SubscriptionItem::Events(events) = &item {
                is_behind |= events.iter().any(|recorded| is_of_concern(&recorded.envelope.event_type));
            }
            if !is_behind {
                continue;
            }
            let refreshed = self.refresh(store, authorities).await;
            is_behind = refreshed.is_err();
            if let Err(error) = &refreshed {
                metrics::counter!("signalbeam_ca_errors_total").increment(1);
                if !is_failing {
                    let error = error as &dyn std::error::Error;
                    tracing::error!(error, "the certificate authorities cannot be read or opened; trying again");
                }
            }
            is_failing = is_behind;
        }
    }

    async fn load(&self, store: &dyn EventStore) -> Result<AuthoritySet, AuthorityStartError> {
        self.set_of(&known_authorities(store).await?)
    }

    /// The key of the authority that signs must be the one that the log knows. While its store is out of reach nobody can
    /// tell, and everything but signing works: each signature is held against the certificate that the log knows.
    async fn check_key(&self, created: &AuthorityCreated) -> Result<(), AuthorityStartError> {
        let slot = slot_of(created)?;
        let material = match self.store(&slot)?.load().await {
            Err(error) if error.is_out_of_reach() => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "nothing can be issued until the certificate authority's key store is back");
                return Ok(());
            }
            outcome => outcome?,
        };
        match material {
            CaMaterial::Complete { certificate, .. } if fingerprint(&certificate) == created.fingerprint => Ok(()),
            CaMaterial::Complete { certificate, .. } => {
                let found = fingerprint(&certificate);
                Err(AuthorityStartError::Different { fingerprint: created.fingerprint, found, slot })
            }
            CaMaterial::Absent | CaMaterial::KeyOnly(_) => {
                Err(AuthorityStartError::Missing { fingerprint: created.fingerprint, slot })
            }
        }
    }

    fn set_of(&self, known: &[KnownAuthority]) -> Result<AuthoritySet, AuthorityStartError> {
        let (mut trusted, mut retired) = (Vec::new(), Vec::new());
        for one in known {
            let standing = match one.status {
                AuthorityStatus::Prepared => AuthorityStanding::Prepared,
                AuthorityStatus::Active => AuthorityStanding::Active,
                AuthorityStatus::Rotated => {
                    let at = one.rotated_at.unwrap_or(one.created_at).to_offset_date_time();
                    AuthorityStanding::Rotated { at }
                }
                AuthorityStatus::Retired => {
                    match self.authority_of(one, known) {
                        Ok(authority) => retired.push(authority),
                        // Nobody depends on it any more.
                        Err(error) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(error, "a retired authority cannot be opened: its last list is not served");
                        }
                    }
                    continue;
                }
            };
            trusted.push(TrustedAuthority { authority: self.authority_of(one, known)?, standing });
        }
        Ok(AuthoritySet::new(trusted)?.with_retired(retired))
    }

    fn authority_of(
        &self,
        one: &KnownAuthority,
        known: &[KnownAuthority],
    ) -> Result<Arc<CertificateAuthority>, AuthorityStartError> {
        let store = self.store(&slot_of(&one.created)?)?;
        let certificates =
            chain_of(&one.created, known).ok_or(AuthorityStartError::Unreadable(one.created.fingerprint))?;
        Ok(Arc::new(CertificateAuthority::from_certificates(store, self.settings.clone(), certificates)?))
    }

    /// Makes the first authority, or completes what an interrupted start has begun. Answers whether a root was made.
    async fn make_first(
        &self,
        store: &dyn EventStore,
        clock: &dyn Clock,
        hierarchy: Hierarchy,
        known: &[KnownAuthority],
    ) -> Result<bool, AuthorityStartError> {
        let now = clock.now();
        let new = |common_name| {
            let serial = draw::serial_number()?;
            Ok::<_, draw::DrawError>(NewAuthority { common_name, serial, now: now.to_offset_date_time() })
        };
        let main = self.store(&KeySlot::main())?;
        let root = CertificateAuthority::root(main, self.settings.clone(), new(FIRST_ROOT)?).await?;
        let mut writes = vec![created(&root, None, &KeySlot::main(), None)];
        if hierarchy == Hierarchy::Intermediate {
            // What the root signs must be known before it is signed, and so must the root.
            if !known.iter().any(|one| one.created.authority_id == root.id()) {
                store.append(Batch { metadata: metadata(), writes }).await?;
            }
            let slot = KeySlot::parse(FIRST_ISSUING_SLOT)?;
            let (keys, settings) = (self.store(&slot)?, self.settings.clone());
            let issuing = match Intermediate::find(keys, settings, &root, new(FIRST_ISSUING)?).await? {
                Intermediate::Made(issuing) => *issuing,
                Intermediate::Draft(draft) => {
                    intend_intermediate(store, root.id(), &draft, now).await?;
                    draft.sign(&root).await?
                }
            };
            writes = vec![created(&issuing, Some(root.id()), &slot, None)];
        }
        let activated = AuthorityEvent::from(AuthorityActivated(NoDetails {}));
        for write in &mut writes {
            // An interrupted start may have recorded it before.
            if let Some(one) = known.iter().find(|one| write.stream.id() == one.created.authority_id.to_string()) {
                (write.expected, write.events) = (ExpectedVersion::Exact(one.version), vec![]);
            }
        }
        if let Some(last) = writes.last_mut() {
            last.events.extend(new_events(None, [activated]));
        }
        store.append(Batch { metadata: metadata(), writes }).await?;
        Ok(root.is_new())
    }
}

/// What is recorded of an authority that came into being.
pub(super) fn created(
    authority: &CertificateAuthority,
    issuer_id: Option<AuthorityId>,
    slot: &KeySlot,
    issuers_pem: Option<String>,
) -> StreamWrite {
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
        issuer_id,
        key_slot: (!slot.is_main()).then(|| slot.to_string()),
        issuers_pem,
    };
    StreamWrite {
        stream: StreamId::certificate_authority(created.authority_id),
        expected: ExpectedVersion::Exact(Version::default()),
        events: new_events(None, [Event::from(AuthorityEvent::from(created))]),
    }
}

/// Where an authority's key is.
pub(super) fn slot_of(created: &AuthorityCreated) -> Result<KeySlot, InvalidKeySlot> {
    created.key_slot.as_deref().map_or_else(|| Ok(KeySlot::main()), KeySlot::parse)
}

/// An authority's certificate and those of its issuers, up to the root.
fn chain_of(created: &AuthorityCreated, known: &[KnownAuthority]) -> Option<Vec<Vec<u8>>> {
    let mut chain = certificates_from_pem(&created.certificate_pem)?;
    if let Some(issuers) = &created.issuers_pem {
        chain.extend(certificates_from_pem(issuers)?);
    }
    if let Some(issuer_id) = created.issuer_id {
        let issuer = known.iter().find(|one| one.created.authority_id == issuer_id)?;
        // Authorities are signed by those that were there before them, so this ends.
        chain.extend(chain_of(&issuer.created, known)?);
    }
    Some(chain)
}

/// Publishing lists and the like changes nothing about who is trusted.
fn is_of_concern(event_type: &str) -> bool {
    ["created", "activated", "rotated", "retired"]
        .iter()
        .any(|name| event_type.strip_prefix("certificate_authority.") == Some(name))
}

fn metadata() -> CommandMetadata {
    CommandMetadata {
        actor: Actor::system("server"),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        idempotency: None,
    }
}
