//! How secrets are kept and judged: a MAC under a key that is not in the database decides, bcrypt stands beside it.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use signalbeam_domain::{ClaimSecret, Digest, SecretVerifier};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// A key file's text is not 32 octets in base64url.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 octets in base64url without padding")]
pub struct InvalidKey;

/// A key of 32 octets, read from the base64url that its file holds. Neither prints nor serialises.
pub struct KeyOctets(Zeroizing<[u8; 32]>);

impl KeyOctets {
    /// Reads the text of a key file; white space around it does not matter.
    ///
    /// # Errors
    /// [`InvalidKey`] where it is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| InvalidKey)?);
        let octets: [u8; 32] = decoded.as_slice().try_into().map_err(|_| InvalidKey)?;
        Ok(Self(Zeroizing::new(octets)))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl fmt::Debug for KeyOctets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyOctets([redacted])")
    }
}

struct MacKey {
    id: String,
    key: hmac::Key,
}

impl MacKey {
    fn new(octets: &KeyOctets) -> Self {
        let digest = digest::digest(&digest::SHA256, octets.as_slice());
        let id = digest.as_ref()[..8].iter().fold(String::new(), |id, octet| id + &format!("{octet:02x}"));
        Self { id, key: hmac::Key::new(hmac::HMAC_SHA256, octets.as_slice()) }
    }

    fn mac(&self, text: &str) -> Digest {
        let tag = hmac::sign(&self.key, text.as_bytes());
        let mut mac = [0; 32];
        mac.copy_from_slice(tag.as_ref());
        Digest(mac)
    }
}

/// What a MAC says of a presented secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacVerdict {
    /// It is the one.
    Matches,
    /// It is another one.
    Differs,
    /// The MAC was made under a key that is gone: only bcrypt can tell.
    KeyUnknown,
}

/// Makes and judges verifiers of secrets.
pub struct SecretKeeper {
    /// The first one makes new MACs; all of them judge.
    keys: Vec<MacKey>,
    bcrypt_cost: u32,
    bcrypt_slots: Arc<Semaphore>,
}

impl fmt::Debug for SecretKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKeeper").field("bcrypt_cost", &self.bcrypt_cost).finish_non_exhaustive()
    }
}

/// bcrypt could not hash: its cost is out of range, or the process is ending.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret could not be hashed: {0}")]
pub struct HashError(String);

/// A text's MAC under the present key, computed once and compared with many.
pub struct PresentedSecret<'a> {
    keeper: &'a SecretKeeper,
    text: &'a str,
    mac: Digest,
}

impl SecretKeeper {
    /// `current` makes new MACs; `former` keys still judge old ones. `bcrypt_slots` hashes run at a time, no more.
    pub fn new(current: &KeyOctets, former: &[KeyOctets], bcrypt_cost: u32, bcrypt_slots: usize) -> Self {
        let keys = std::iter::once(current).chain(former).map(MacKey::new).collect();
        Self { keys, bcrypt_cost, bcrypt_slots: Arc::new(Semaphore::new(bcrypt_slots)) }
    }

    /// What is kept of a secret. Hashing takes its time (cost 12: 0.2 s of a processor) and happens off the async threads.
    ///
    /// # Errors
    /// [`HashError`] where bcrypt refuses; nothing is kept then.
    pub async fn verifier(&self, text: &str) -> Result<SecretVerifier, HashError> {
        let cost = self.bcrypt_cost;
        let owned = Zeroizing::new(text.to_owned());
        let bcrypt = self.blocking(move || bcrypt::non_truncating_hash(owned.as_bytes(), cost)).await?;
        let key = &self.keys[0];
        Ok(SecretVerifier { bcrypt, mac: key.mac(text), mac_key_id: key.id.clone() })
    }

    /// Takes a presented secret, to be compared.
    pub fn present<'a>(&'a self, text: &'a str) -> PresentedSecret<'a> {
        PresentedSecret { keeper: self, text, mac: self.keys[0].mac(text) }
    }

    /// Whether the text's bcrypt hash is this one. For MACs whose key is gone; takes as long as hashing.
    ///
    /// # Errors
    /// [`HashError`] where the hash is malformed.
    pub async fn bcrypt_matches(&self, text: &str, hash: &str) -> Result<bool, HashError> {
        let text = Zeroizing::new(text.to_owned());
        let hash = hash.to_owned();
        self.blocking(move || bcrypt::non_truncating_verify(text.as_bytes(), &hash)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, bcrypt::BcryptError> + Send + 'static,
    ) -> Result<T, HashError> {
        let slots = Arc::clone(&self.bcrypt_slots);
        let slot = slots.acquire_owned().await.map_err(|error| HashError(error.to_string()))?;
        let work = move || {
            let result = work();
            drop(slot);
            result
        };
        let result = tokio::task::spawn_blocking(work).await.map_err(|error| HashError(error.to_string()))?;
        result.map_err(|error| HashError(error.to_string()))
    }
}

impl PresentedSecret<'_> {
    /// Compares in constant time.
    pub fn judge(&self, mac: &Digest, mac_key_id: &str) -> MacVerdict {
        let Some(at) = self.keeper.keys.iter().position(|key| key.id == mac_key_id) else {
            return MacVerdict::KeyUnknown;
        };
        let own = if at == 0 { self.mac } else { self.keeper.keys[at].mac(self.text) };
        if bool::from(own.0.ct_eq(&mac.0)) { MacVerdict::Matches } else { MacVerdict::Differs }
    }
}

/// The SHA-256 of a claim secret, which is all that is kept of it: its 32 random octets need no slow hash.
pub fn claim_secret_sha256(secret: &ClaimSecret) -> Digest {
    let text = Zeroizing::new(secret.expose());
    sha256(text.as_bytes())
}

/// Whether a claim secret is the one whose digest was kept; in constant time.
pub fn claim_secret_matches(secret: &ClaimSecret, kept: &Digest) -> bool {
    claim_secret_sha256(secret).0.ct_eq(&kept.0).into()
}

/// The SHA-256 of some octets.
pub fn sha256(octets: &[u8]) -> Digest {
    let mut value = [0; 32];
    value.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    Digest(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: u8) -> KeyOctets {
        KeyOctets(Zeroizing::new([fill; 32]))
    }

    #[tokio::test]
    async fn the_mac_decides_while_its_key_is_known_and_bcrypt_after_that() {
        let old = SecretKeeper::new(&key(1), &[], 4, 1);
        let verifier = old.verifier("sb_device_x").await.unwrap();
        assert!(verifier.bcrypt.starts_with("$2b$04$"));
        let judge = |keeper: &SecretKeeper, text: &str| keeper.present(text).judge(&verifier.mac, &verifier.mac_key_id);
        assert_eq!(judge(&old, "sb_device_x"), MacVerdict::Matches);
        assert_eq!(judge(&old, "sb_device_y"), MacVerdict::Differs);
        let rotated = SecretKeeper::new(&key(2), &[key(1)], 4, 1);
        assert_eq!(judge(&rotated, "sb_device_x"), MacVerdict::Matches);
        assert_eq!(judge(&rotated, "sb_device_y"), MacVerdict::Differs);
        let bereft = SecretKeeper::new(&key(2), &[], 4, 1);
        assert_eq!(judge(&bereft, "sb_device_x"), MacVerdict::KeyUnknown);
        assert!(bereft.bcrypt_matches("sb_device_x", &verifier.bcrypt).await.unwrap());
        assert!(!bereft.bcrypt_matches("sb_device_y", &verifier.bcrypt).await.unwrap());
    }

    #[tokio::test]
    async fn what_bcrypt_would_cut_off_or_end_at_is_refused() {
        let keeper = SecretKeeper::new(&key(1), &[], 4, 1);
        assert!(keeper.verifier(&"x".repeat(72)).await.is_err());
        assert!(
            keeper.verifier("a\0b").await.is_err()
                || !keeper.bcrypt_matches("a\0c", &keeper.verifier("a\0b").await.unwrap().bcrypt).await.unwrap()
        );
    }

    #[test]
    fn keys_do_not_print() {
        let keeper = SecretKeeper::new(&key(0x41), &[], 4, 1);
        let printed = format!("{:?} {keeper:?}", key(0x41));
        assert!(!printed.contains("65") && !printed.contains("AAAA"), "{printed}");
        assert!(KeyOctets::parse("short").is_err());
    }
}
