//! Making an issuing authority under another one, in two steps: what is to be signed is told first, so that it can be
//! recorded before it is.

use std::sync::Arc;

use signalbeam_domain::{Digest, SerialNumber};

use crate::authority::{
    AuthorityError, AuthoritySettings, CertificateAuthority, Found, NewAuthority, key_of, years_after,
};
use crate::certificate::sha256;
use crate::key_store::CaKeyStore;
use crate::profile;
use crate::public_key::CaPublicKey;
use crate::validity::Validity;

const INTERMEDIATE_YEARS: i32 = 5;

/// An issuing authority that is asked for.
#[derive(Debug)]
pub enum Intermediate {
    /// It is there: an earlier attempt was interrupted after it was signed.
    Made(Box<CertificateAuthority>),
    /// Its key is there, and its certificate is still to be signed.
    Draft(Box<IntermediateDraft>),
}

/// An issuing authority whose certificate is still to be signed.
#[derive(Debug)]
pub struct IntermediateDraft {
    store: Arc<dyn CaKeyStore>,
    settings: AuthoritySettings,
    public_key: CaPublicKey,
    common_name: String,
    serial: SerialNumber,
    validity: Validity,
}

impl Intermediate {
    /// Looks for the issuing authority under `issuer` in `store`, and makes its key where there is none. It will hold for
    /// five years, and never past its issuer's end, with a path length of 0.
    ///
    /// # Errors
    /// [`AuthorityError`] where the store fails, or holds something that cannot be a certificate authority under `issuer`.
    pub async fn find(
        store: Arc<dyn CaKeyStore>,
        settings: AuthoritySettings,
        issuer: &CertificateAuthority,
        new: NewAuthority<'_>,
    ) -> Result<Self, AuthorityError> {
        let public_key = match key_of(&*store, &settings).await? {
            Found::Whole(own) => {
                let made = CertificateAuthority::from_certificates(store, settings, chain(own, issuer))?;
                return Ok(Self::Made(Box::new(made)));
            }
            Found::Key(public_key) => public_key,
        };
        let end = years_after(new.now, INTERMEDIATE_YEARS);
        let wanted = Validity::new(new.now.saturating_sub(settings.backdating), end);
        let validity = issuer.within_own(wanted)?;
        let (common_name, serial) = (new.common_name.to_owned(), new.serial);
        Ok(Self::Draft(Box::new(IntermediateDraft { store, settings, public_key, common_name, serial, validity })))
    }
}

impl IntermediateDraft {
    /// The serial number that its certificate will have.
    pub fn serial_number(&self) -> SerialNumber {
        self.serial
    }

    /// The subject that its certificate will have, such as `CN=SignalBeam Issuing CA 1, O=SignalBeam, C=US`.
    pub fn subject(&self) -> String {
        profile::authority_subject(&self.common_name)
    }

    /// The SHA-256 of its key's DER `SubjectPublicKeyInfo`.
    pub fn public_key_sha256(&self) -> Digest {
        Digest(sha256(self.public_key.spki_der()))
    }

    /// When its certificate will hold.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Lets `issuer` sign it. Several that create at once all end with the same authority.
    ///
    /// # Errors
    /// [`AuthorityError`] where a store fails.
    pub async fn sign(self, issuer: &CertificateAuthority) -> Result<CertificateAuthority, AuthorityError> {
        let urls = issuer.urls_for_authorities();
        let params = profile::intermediate(&self.common_name, &self.serial, self.validity, urls)?;
        let signed = issuer.issue(&params, &self.public_key, self.public_key.spki_der(), self.serial).await?;
        let stored = self.store.store_certificate(&signed.der).await?;
        CertificateAuthority::from_certificates(self.store, self.settings, chain(stored, issuer))
    }
}

fn chain(own: Vec<u8>, issuer: &CertificateAuthority) -> Vec<Vec<u8>> {
    std::iter::once(own).chain(issuer.chain().map(<[u8]>::to_vec)).collect()
}
