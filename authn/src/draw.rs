//! What is drawn at random: prefixes, secrets, serial numbers. All from the operating system's generator.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use signalbeam_domain::credential::PREFIX_ALPHABET;
use signalbeam_domain::{ApiKey, ClaimSecret, InvalidCredential, Prefix, RegistrationToken, SerialNumber};

/// The operating system gave no random octets, or they made no credential. Nothing was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct DrawError;

impl From<ring::error::Unspecified> for DrawError {
    fn from(_: ring::error::Unspecified) -> Self {
        Self
    }
}

impl From<InvalidCredential> for DrawError {
    fn from(_: InvalidCredential) -> Self {
        Self
    }
}

fn octets<const N: usize>() -> Result<[u8; N], DrawError> {
    let mut octets = [0; N];
    SystemRandom::new().fill(&mut octets)?;
    Ok(octets)
}

fn prefix() -> Result<Prefix, DrawError> {
    let mut characters = String::with_capacity(8);
    while characters.len() < 8 {
        // Six bits name one of 64; the two that the alphabet lacks are drawn again, so that all stay equally likely.
        for octet in octets::<16>()? {
            if let Some(character) = PREFIX_ALPHABET.get(usize::from(octet & 0x3f))
                && characters.len() < 8
            {
                characters.push(char::from(*character));
            }
        }
    }
    Ok(Prefix::parse(&characters)?)
}

fn secret() -> Result<zeroize::Zeroizing<String>, DrawError> {
    let octets = zeroize::Zeroizing::new(octets::<32>()?);
    Ok(zeroize::Zeroizing::new(URL_SAFE_NO_PAD.encode(octets.as_slice())))
}

/// A new registration token.
///
/// # Errors
/// [`DrawError`]; so for all functions here.
pub fn registration_token() -> Result<RegistrationToken, DrawError> {
    Ok(RegistrationToken::new(prefix()?, &secret()?)?)
}

/// A new API key.
pub fn api_key() -> Result<ApiKey, DrawError> {
    Ok(ApiKey::new(prefix()?, &secret()?)?)
}

/// A new claim secret.
pub fn claim_secret() -> Result<ClaimSecret, DrawError> {
    Ok(ClaimSecret::new(&secret()?)?)
}

/// A new serial number.
pub fn serial_number() -> Result<SerialNumber, DrawError> {
    Ok(SerialNumber::from_random(octets()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_is_drawn_reads_back_and_never_repeats() {
        let keys: HashSet<String> = (0..200).map(|_| api_key().unwrap().expose()).collect();
        assert_eq!(keys.len(), 200);
        assert!(keys.iter().all(|key| ApiKey::parse(key).is_ok()));
        let serials: HashSet<SerialNumber> = (0..200).map(|_| serial_number().unwrap()).collect();
        assert_eq!(serials.len(), 200);
    }

    #[test]
    fn every_character_of_the_alphabet_is_drawn() {
        let seen: HashSet<char> =
            (0..500).flat_map(|_| prefix().unwrap().as_str().chars().collect::<Vec<_>>()).collect();
        assert_eq!(seen.len(), 62);
    }
}
