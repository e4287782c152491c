//! The keys that an issuer publishes (RFC 7517). Each key decides which algorithms it may verify: a token's header never
//! does.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, Serialize};

/// The most keys of a set that are looked at.
const MAX_KEYS: usize = 64;

/// An algorithm by which an issuer may sign (RFC 7518, section 3.1; RFC 8037). None is symmetric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    #[serde(rename = "RS384")]
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    #[serde(rename = "RS512")]
    Rs512,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl SigningAlgorithm {
    /// Every one of them.
    pub const ALL: [Self; 7] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// As `alg` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) const fn of_library(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Rs384 => Algorithm::RS384,
            Self::Rs512 => Algorithm::RS512,
            Self::Ps256 => Algorithm::PS256,
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text)
    }
}

/// The document is no key set, or none of its keys can verify a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidKeySet {
    /// It is not JSON of the form `{"keys": [...]}`.
    #[error("not a JSON Web Key Set")]
    Malformed(#[source] serde_json::Error),
    /// It has more keys than are looked at.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// Every key is of another kind or for another use.
    #[error("none of its keys can verify a signature")]
    Unusable,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// One key.
pub(super) struct PublishedKey {
    kid: Option<String>,
    algorithms: Vec<SigningAlgorithm>,
    pub(super) key: DecodingKey,
}

/// All keys of a set that can verify signatures.
pub(super) struct KeySet(Vec<PublishedKey>);

impl KeySet {
    /// Reads a key set. Keys of other kinds and for other uses are passed over, as RFC 7517 (section 5) asks.
    pub(super) fn parse(json: &[u8]) -> Result<Self, InvalidKeySet> {
        let Document { keys } = serde_json::from_slice(json).map_err(InvalidKeySet::Malformed)?;
        if keys.len() > MAX_KEYS {
            return Err(InvalidKeySet::TooMany);
        }
        let keys: Vec<_> = keys.into_iter().filter_map(PublishedKey::read).collect();
        if keys.is_empty() { Err(InvalidKeySet::Unusable) } else { Ok(Self(keys)) }
    }

    /// The keys that a token may have been signed by. A token that names none may only mean the only one there is.
    pub(super) fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: SigningAlgorithm,
    ) -> impl Iterator<Item = &PublishedKey> {
        let is_only = self.0.len() == 1;
        self.0.iter().filter(move |key| {
            let is_named = match kid {
                Some(kid) => key.kid.as_deref() == Some(kid),
                None => is_only,
            };
            is_named && key.algorithms.contains(&algorithm)
        })
    }
}

impl PublishedKey {
    fn read(value: serde_json::Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let is_for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !is_for_signatures {
            return None;
        }
        let (mut algorithms, key) = jwk.material()?;
        if let Some(only) = &jwk.alg {
            algorithms.retain(|algorithm| algorithm.as_str() == only);
        }
        (!algorithms.is_empty()).then_some(Self { kid: jwk.kid, algorithms, key })
    }
}

impl Jwk {
    fn material(&self) -> Option<(Vec<SigningAlgorithm>, DecodingKey)> {
        use SigningAlgorithm::{EdDsa, Es256, Es384, Ps256, Rs256, Rs384, Rs512};
        let curve = |algorithm| {
            let key = DecodingKey::from_ec_components(self.x.as_deref()?, self.y.as_deref()?).ok()?;
            Some((vec![algorithm], key))
        };
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => {
                let key = DecodingKey::from_rsa_components(self.n.as_deref()?, self.e.as_deref()?).ok()?;
                Some((vec![Rs256, Rs384, Rs512, Ps256], key))
            }
            ("EC", Some("P-256")) => curve(Es256),
            ("EC", Some("P-384")) => curve(Es384),
            ("OKP", Some("Ed25519")) => Some((vec![EdDsa], DecodingKey::from_ed_components(self.x.as_deref()?).ok()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(keys: &serde_json::Value) -> Result<KeySet, InvalidKeySet> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn a_key_verifies_what_its_kind_and_its_alg_allow_and_nothing_else() {
        use SigningAlgorithm::{EdDsa, Es256, Es384, Ps256, Rs256, Rs384, Rs512};
        let rsa = json!({"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"});
        let with = |key: &serde_json::Value, name: &str, value: serde_json::Value| {
            let mut key = key.clone();
            key[name] = value;
            key
        };
        let p256 = json!({"kty": "EC", "kid": "k", "crv": "P-256", "x": "AQ", "y": "AQ"});
        for (key, expected) in [
            (rsa.clone(), vec![Rs256, Rs384, Rs512, Ps256]),
            (with(&rsa, "alg", json!("RS512")), vec![Rs512]),
            (with(&rsa, "use", json!("sig")), vec![Rs256, Rs384, Rs512, Ps256]),
            (p256.clone(), vec![Es256]),
            (with(&p256, "crv", json!("P-384")), vec![Es384]),
            (json!({"kty": "OKP", "kid": "k", "crv": "Ed25519", "x": "AQ"}), vec![EdDsa]),
        ] {
            let set = of(&json!([key])).unwrap();
            let allowed = |algorithm: &SigningAlgorithm| set.candidates(Some("k"), *algorithm).count() == 1;
            assert_eq!(SigningAlgorithm::ALL.into_iter().filter(allowed).collect::<Vec<_>>(), expected, "{key}");
        }
        for useless in [
            json!({"kty": "oct", "kid": "k", "k": "AQAB", "alg": "HS256"}),
            with(&rsa, "alg", json!("HS256")),
            with(&rsa, "alg", json!("none")),
            with(&rsa, "alg", json!("RSA-OAEP")),
            with(&rsa, "use", json!("enc")),
            with(&rsa, "key_ops", json!(["encrypt"])),
            with(&rsa, "n", json!("not base64!")),
            with(&p256, "crv", json!("P-521")),
            with(&p256, "alg", json!("ES384")),
            json!({"kty": "RSA", "kid": 7, "n": "AQAB", "e": "AQAB"}),
            json!("AQAB"),
        ] {
            assert!(matches!(of(&json!([useless])), Err(InvalidKeySet::Unusable)), "{useless}");
            assert!(of(&json!([useless, rsa])).is_ok(), "passed over: {useless}");
        }
    }

    #[test]
    fn a_token_that_names_no_key_means_the_only_one() {
        let key = |kid: &str| json!({"kty": "RSA", "kid": kid, "n": "AQAB", "e": "AQAB"});
        let one = of(&json!([key("a")])).unwrap();
        assert_eq!(one.candidates(None, SigningAlgorithm::Rs256).count(), 1);
        let two = of(&json!([key("a"), key("b")])).unwrap();
        assert_eq!(two.candidates(None, SigningAlgorithm::Rs256).count(), 0);
        assert_eq!(two.candidates(Some("b"), SigningAlgorithm::Rs256).count(), 1);
        assert_eq!(two.candidates(Some("../a"), SigningAlgorithm::Rs256).count(), 0);
    }

    #[test]
    fn what_is_no_key_set_is_said_so() {
        for bad in ["", "[]", "{}", r#"{"keys": 1}"#, "<html>"] {
            assert!(matches!(KeySet::parse(bad.as_bytes()), Err(InvalidKeySet::Malformed(_))), "{bad}");
        }
        assert!(matches!(of(&json!([])), Err(InvalidKeySet::Unusable)));
        assert!(matches!(of(&json!(vec![json!({}); 65])), Err(InvalidKeySet::TooMany)));
    }
}
