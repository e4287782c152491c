//! Keys at rest under a passphrase: PKCS#8 `EncryptedPrivateKeyInfo` with PBES2 (RFC 8018), as `openssl pkey` reads it.

use ring::rand::{SecureRandom as _, SystemRandom};
use rsa::pkcs8::pkcs5::{pbes2, scrypt};
use rsa::pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo, SecretDocument};

use super::secret::KeyStoreSecret;

/// scrypt with 16 MiB, five times: as costly to guess as the usual 128 MiB once, and within the 32 MiB that OpenSSL
/// grants a file.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 5;
const KEY_OCTETS: usize = 32;

/// The most that opening a key may cost: what RFC 8018, section 4.2, has for especially critical keys, and a dozen times the
/// work of a key of our own. A file that asks for more would keep a start from ever ending, or take all memory.
const MAX_PBKDF2_ITERATIONS: u32 = 10_000_000;
const MAX_SCRYPT_OCTETS: u64 = 256 * 1024 * 1024;
const MAX_SCRYPT_WORK: u64 = 1 << 23;

/// Encrypts a key (PKCS#8 DER) with AES-256-CBC under a key that scrypt derives from the passphrase; `None` where there
/// are no random numbers.
pub(super) fn encrypt(pkcs8: &[u8], passphrase: &KeyStoreSecret) -> Option<SecretDocument> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    let random = SystemRandom::new();
    random.fill(&mut salt).and_then(|()| random.fill(&mut iv)).ok()?;
    let cost = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P, KEY_OCTETS).ok()?;
    let parameters = pbes2::Parameters::scrypt_aes256cbc(cost, &salt, &iv).ok()?;
    PrivateKeyInfo::try_from(pkcs8).ok()?.encrypt_with_params(parameters, passphrase.expose()).ok()
}

/// Decrypts a key (DER `EncryptedPrivateKeyInfo`).
pub(super) fn decrypt(der: &[u8], passphrase: &KeyStoreSecret) -> Result<SecretDocument, CannotDecrypt> {
    let encrypted = EncryptedPrivateKeyInfo::try_from(der).map_err(|_| CannotDecrypt::Unsupported)?;
    if !is_affordable(&encrypted) {
        return Err(CannotDecrypt::TooCostly);
    }
    // The padding tells a wrong passphrase with a chance of 255 in 256; what is left over is no key.
    let key = encrypted.decrypt(passphrase.expose()).map_err(|_| CannotDecrypt::WrongPassphrase)?;
    PrivateKeyInfo::try_from(key.as_bytes()).map_err(|_| CannotDecrypt::WrongPassphrase)?;
    Ok(key)
}

/// Judges what a file asks for before anything of it is computed; other schemes are refused later.
fn is_affordable(encrypted: &EncryptedPrivateKeyInfo<'_>) -> bool {
    match encrypted.encryption_algorithm.pbes2().map(|pbes2| &pbes2.kdf) {
        Some(pbes2::Kdf::Pbkdf2(asked)) => (1..=MAX_PBKDF2_ITERATIONS).contains(&asked.iteration_count),
        Some(pbes2::Kdf::Scrypt(asked)) => {
            let n = asked.cost_parameter;
            let (r, p) = (u64::from(asked.block_size), u64::from(asked.parallelization));
            let per_lane = n.checked_mul(r);
            let work = per_lane.and_then(|per_lane| per_lane.checked_mul(p));
            n > 1
                && n.is_power_of_two()
                && per_lane.is_some_and(|per_lane| per_lane <= MAX_SCRYPT_OCTETS / 128)
                && work.is_some_and(|work| (1..=MAX_SCRYPT_WORK).contains(&work))
        }
        _ => true,
    }
}

/// Why a key stays closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CannotDecrypt {
    /// It is no `EncryptedPrivateKeyInfo` with PBES2.
    Unsupported,
    /// Deriving the key from the passphrase would take too long or too much memory.
    TooCostly,
    /// It was encrypted under another passphrase.
    WrongPassphrase,
}
