//! All the certificate authorities of an installation: the one that signs, those that came before it and are still
//! trusted, and those that are prepared to come after it.

use std::sync::Arc;

use signalbeam_domain::AuthorityId;
use time::{Duration, OffsetDateTime};
use tokio::sync::watch;

use crate::authority::CertificateAuthority;
use crate::chain::{AnchorError, ChainVerifier};
use crate::pem;

/// An authority that signs our own server's certificate lives at least so much longer.
const SERVER_RESERVE: Duration = Duration::days(120);

/// Where a trusted authority stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityStanding {
    /// It signs nothing for devices: it will one day, or vouches for another one that does.
    Prepared,
    /// It signs devices' certificates.
    Active,
    /// Another one signs since then; what it signed still counts.
    Rotated {
        /// Since when.
        at: OffsetDateTime,
    },
}

/// An authority with its standing.
#[derive(Debug, Clone)]
pub struct TrustedAuthority {
    /// The authority.
    pub authority: Arc<CertificateAuthority>,
    /// Where it stands.
    pub standing: AuthorityStanding,
}

/// The authorities at one moment: one of them signs.
#[derive(Debug)]
pub struct AuthoritySet {
    /// In the order in which they came into being.
    trusted: Vec<TrustedAuthority>,
    signing: Arc<CertificateAuthority>,
    verifier: ChainVerifier,
    retired: Vec<Arc<CertificateAuthority>>,
}

/// Authorities that make no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritySetError {
    /// None or several sign.
    #[error("there must be exactly one certificate authority that signs, and there are {0}")]
    NotOneActive(usize),
    /// A certificate cannot be an anchor.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
}

impl AuthoritySet {
    /// Puts a set together, in the order in which the authorities came into being.
    ///
    /// # Errors
    /// [`AuthoritySetError`]
    pub fn new(trusted: Vec<TrustedAuthority>) -> Result<Self, AuthoritySetError> {
        let mut active = trusted.iter().filter(|one| one.standing == AuthorityStanding::Active);
        let signing = match (active.next(), active.count()) {
            (Some(one), 0) => Arc::clone(&one.authority),
            (None, _) => return Err(AuthoritySetError::NotOneActive(0)),
            (Some(_), more) => return Err(AuthoritySetError::NotOneActive(more + 1)),
        };
        // Only those who sign for devices: a root does not vouch here for what an authority under it signs that is retired.
        let issuing = trusted.iter().filter(|one| one.standing != AuthorityStanding::Prepared);
        let anchors = issuing.map(|one| (one.authority.certificate_der(), one.authority.own_validity()));
        let verifier = ChainVerifier::with_validities(anchors)?;
        Ok(Self { trusted, signing, verifier, retired: Vec::new() })
    }

    /// With those that are trusted no longer: their certificates and last revocation lists are still asked for.
    #[must_use]
    pub fn with_retired(self, retired: Vec<Arc<CertificateAuthority>>) -> Self {
        Self { retired, ..self }
    }

    /// Those that are trusted no longer.
    pub fn retired(&self) -> &[Arc<CertificateAuthority>] {
        &self.retired
    }

    /// The authority that signs devices' certificates.
    pub fn signing(&self) -> &Arc<CertificateAuthority> {
        &self.signing
    }

    /// All of them, in the order in which they came into being.
    pub fn trusted(&self) -> &[TrustedAuthority] {
        &self.trusted
    }

    /// One of them.
    pub fn by_id(&self, id: AuthorityId) -> Option<&TrustedAuthority> {
        self.trusted.iter().find(|one| one.authority.id() == id)
    }

    /// Since when another one signs in its place; `None` where it signs, will sign, or is not trusted.
    pub fn rotated_at(&self, id: AuthorityId) -> Option<OffsetDateTime> {
        match self.by_id(id)?.standing {
            AuthorityStanding::Rotated { at } => Some(at),
            AuthorityStanding::Prepared | AuthorityStanding::Active => None,
        }
    }

    /// Judges devices' certificates: one of the issuing authorities must have signed them itself.
    pub fn verifier(&self) -> &ChainVerifier {
        &self.verifier
    }

    /// What devices trust, each in DER and once: the signing authority's root, what leads from it to the signing authority,
    /// then the same of the others.
    pub fn certificates(&self) -> Vec<&[u8]> {
        let others = self.trusted.iter().map(|one| &one.authority).filter(|one| !Arc::ptr_eq(one, &self.signing));
        let mut certificates: Vec<&[u8]> = Vec::new();
        for authority in std::iter::once(&self.signing).chain(others) {
            let chain: Vec<_> = authority.chain().collect();
            for der in chain.into_iter().rev() {
                if !certificates.contains(&der) {
                    certificates.push(der);
                }
            }
        }
        certificates
    }

    /// [`AuthoritySet::certificates`] in PEM, the signing authority's root first.
    pub fn certificates_pem(&self) -> String {
        self.certificates().into_iter().map(|der| pem::encode("CERTIFICATE", der)).collect()
    }

    /// The names of the authorities that issue for devices, and of their roots, DER.
    pub fn issuer_names(&self) -> Vec<Vec<u8>> {
        self.trusted.iter().map(|one| one.authority.subject_der().to_vec()).collect()
    }

    /// Who may sign our own server's certificate, the best first: the eldest that has signed for devices and lasts, since all
    /// devices know that one, also those that have not heard of its successor yet. The others are for when its key is out
    /// of reach. At least one.
    pub fn for_servers(&self, now: OffsetDateTime) -> Vec<&Arc<CertificateAuthority>> {
        let issuing = self.trusted.iter().filter(|one| one.standing != AuthorityStanding::Prepared);
        let lasting = issuing.filter(|one| one.authority.own_validity().not_after > now + SERVER_RESERVE);
        let lasting: Vec<_> = lasting.map(|one| &one.authority).collect();
        if lasting.is_empty() { vec![&self.signing] } else { lasting }
    }
}

/// The authorities of a running server, which change while it runs. Clones share them.
#[derive(Debug, Clone)]
pub struct Authorities(watch::Sender<Arc<AuthoritySet>>);

impl Authorities {
    /// Begins with a set.
    pub fn new(set: AuthoritySet) -> Self {
        Self(watch::Sender::new(Arc::new(set)))
    }

    /// A single authority that signs.
    ///
    /// # Errors
    /// [`AuthoritySetError::Anchor`]
    pub fn of_one(authority: Arc<CertificateAuthority>) -> Result<Self, AuthoritySetError> {
        let one = TrustedAuthority { authority, standing: AuthorityStanding::Active };
        AuthoritySet::new(vec![one]).map(Self::new)
    }

    /// The set that is in force. Whoever does several things with it takes it once.
    pub fn current(&self) -> Arc<AuthoritySet> {
        Arc::clone(&self.0.borrow())
    }

    /// Puts another set in force.
    pub fn replace(&self, set: AuthoritySet) {
        self.0.send_replace(Arc::new(set));
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<Arc<AuthoritySet>> {
        self.0.subscribe()
    }
}
