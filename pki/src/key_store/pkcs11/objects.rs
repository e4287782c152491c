//! The objects of one label in a token.

use std::time::Duration;

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, CertificateType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::SessionState;
use ring::rand::{SecureRandom as _, SystemRandom};
use rsa::pkcs8::der::Decode as _;
use rsa::pkcs8::der::asn1::OctetStringRef;

use super::module::{LoggedIn, rest};
use crate::certificate;
use crate::key_store::{CaKeyType, KeyStoreError, foreign};
use crate::public_key::CaPublicKey;

/// The DER names of the curves, as `CKA_EC_PARAMS` has them (RFC 5480, section 2.1.1.1).
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];

/// Why a job in a session failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The token did not do it: the session is not used again.
    Token(Error),
    /// The token is well; what was asked for cannot be.
    Store(KeyStoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Token(error)
    }
}

impl From<KeyStoreError> for Failure {
    fn from(error: KeyStoreError) -> Self {
        Self::Store(error)
    }
}

/// The objects of one label, seen through a session.
pub(super) struct Objects<'s> {
    pub(super) session: &'s mut LoggedIn,
    pub(super) label: &'s str,
    pub(super) settling: Duration,
}

/// A private key.
pub(super) struct Key {
    handle: ObjectHandle,
    id: Vec<u8>,
}

impl Objects<'_> {
    /// The key of the label: of several the one that has a certificate, else the one with the lowest id.
    pub(super) fn key(&self) -> Result<Option<Key>, Failure> {
        let mut keys = Vec::new();
        for handle in self.find(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])? {
            keys.push(Key { handle, id: self.octets(handle, AttributeType::Id)? });
        }
        if keys.is_empty() {
            self.expect_login()?;
        }
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        for place in 0..keys.len() {
            if self.certificate(&keys[place])?.is_some() {
                return Ok(Some(keys.swap_remove(place)));
            }
        }
        Ok(if keys.is_empty() { None } else { Some(keys.swap_remove(0)) })
    }

    /// Fails where the user is not logged in any more: private keys are then not seen, which must not be taken for
    /// "there is none".
    fn expect_login(&self) -> Result<(), Failure> {
        match self.session.session.get_session_info()?.session_state() {
            SessionState::RwUser | SessionState::RoUser => Ok(()),
            _ => Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::FindObjects).into()),
        }
    }

    pub(super) fn public_key(&self, key: &Key) -> Result<CaPublicKey, Failure> {
        let of_key = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(key.id.clone())];
        let handle = self.find(&of_key)?.first().copied();
        let handle = handle.ok_or_else(|| self.malformed("its private key has no public key object of the same id"))?;
        let unsupported = || self.malformed("neither an RSA key of 2048, 3072 or 4096 bits, nor P-256 or P-384");
        let public_key = match self.session.session.get_attributes(handle, &[AttributeType::KeyType])?.first() {
            Some(Attribute::KeyType(KeyType::RSA)) => self.rsa_key(handle)?,
            Some(Attribute::KeyType(KeyType::EC)) => self.ec_key(handle)?,
            _ => None,
        };
        Ok(public_key.ok_or_else(unsupported)?)
    }

    pub(super) fn certificate(&self, key: &Key) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.certificates(key)?.into_iter().next().map(|(value, _)| value))
    }

    pub(super) fn generate(&self, key_type: CaKeyType) -> Result<Key, Failure> {
        let mut id = vec![0; 16];
        let no_random = |_| KeyStoreError::Generation("no random numbers".to_owned());
        SystemRandom::new().fill(&mut id).map_err(no_random)?;
        let name =
            || [Attribute::Label(self.label.as_bytes().to_vec()), Attribute::Id(id.clone()), Attribute::Token(true)];
        let mut public = vec![Attribute::Verify(true), Attribute::Private(false)];
        public.extend(name());
        let mut private = vec![
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Decrypt(false),
            Attribute::Unwrap(false),
        ];
        private.extend(name());
        let mechanism = match key_type {
            CaKeyType::Rsa2048 => rsa(2048, &mut public),
            CaKeyType::Rsa3072 => rsa(3072, &mut public),
            CaKeyType::Rsa4096 => rsa(4096, &mut public),
            CaKeyType::EcdsaP256 => elliptic(&P256, &mut public),
            CaKeyType::EcdsaP384 => elliptic(&P384, &mut public),
        };
        let (_, handle) = self.session.session.generate_key_pair(&mechanism, &public, &private)?;
        Ok(Key { handle, id })
    }

    /// Waits for what other nodes create at the same time.
    pub(super) fn settle(&self) {
        rest(self.settling);
    }

    /// Removes a key that we have just made if another node's comes first.
    pub(super) fn give_way(&self, ours: &Key) -> Result<(), Failure> {
        if self.key()?.is_some_and(|first| first.id != ours.id) {
            for handle in self.find(&[Attribute::Id(ours.id.clone())])? {
                self.session.session.destroy_object(handle)?;
            }
        }
        Ok(())
    }

    pub(super) fn store_certificate(&self, key: &Key, der: &[u8]) -> Result<ObjectHandle, Failure> {
        let parsed = certificate::parse(der).ok_or_else(|| self.malformed("not a certificate that can be stored"))?;
        let template = [
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Label(self.label.as_bytes().to_vec()),
            Attribute::Id(key.id.clone()),
            Attribute::Subject(parsed.subject().as_raw().to_vec()),
            Attribute::Issuer(parsed.issuer().as_raw().to_vec()),
            Attribute::Value(der.to_vec()),
        ];
        Ok(self.session.session.create_object(&template)?)
    }

    /// Removes a certificate that we have just stored if another node's comes first.
    pub(super) fn give_way_with_certificate(
        &self,
        key: &Key,
        ours: &[u8],
        handle: ObjectHandle,
    ) -> Result<(), Failure> {
        if self.certificate(key)?.is_some_and(|first| first != ours) {
            self.session.session.destroy_object(handle)?;
        }
        Ok(())
    }

    /// Signs with the algorithm of the key. Tokens need not know ECDSA with a hash, so we hash ourselves.
    pub(super) fn sign(&mut self, to_be_signed: &[u8]) -> Result<Vec<u8>, Failure> {
        let (handle, key_type) = if let Some(known) = self.session.keys.get(self.label) {
            *known
        } else {
            let key = self.key()?.ok_or(KeyStoreError::NoKey)?;
            let found = (key.handle, self.public_key(&key)?.key_type());
            self.session.keys.insert(self.label.to_owned(), found);
            found
        };
        if foreign::is_rsa(key_type) {
            return Ok(self.session.session.sign(&Mechanism::Sha256RsaPkcs, handle, to_be_signed)?);
        }
        let hash = foreign::hash(key_type, to_be_signed);
        let raw = self.session.session.sign(&Mechanism::Ecdsa, handle, hash.as_ref())?;
        let malformed = || KeyStoreError::Signing("the token's ECDSA signature has an odd length".to_owned());
        Ok(foreign::ecdsa_to_der(&raw).ok_or_else(malformed)?)
    }

    /// The certificates of a key, the one that counts first.
    fn certificates(&self, key: &Key) -> Result<Vec<(Vec<u8>, ObjectHandle)>, Failure> {
        let of_key = [Attribute::Class(ObjectClass::CERTIFICATE), Attribute::Id(key.id.clone())];
        let mut found = Vec::new();
        for handle in self.find(&of_key)? {
            found.push((self.octets(handle, AttributeType::Value)?, handle));
        }
        found.sort_by(|a: &(Vec<u8>, _), b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn find(&self, what: &[Attribute]) -> Result<Vec<ObjectHandle>, Failure> {
        let mut template = vec![Attribute::Label(self.label.as_bytes().to_vec()), Attribute::Token(true)];
        template.extend_from_slice(what);
        Ok(self.session.session.find_objects(&template)?)
    }

    fn octets(&self, object: ObjectHandle, attribute: AttributeType) -> Result<Vec<u8>, Failure> {
        let found = self.session.session.get_attributes(object, &[attribute])?.into_iter().next();
        match found {
            Some(
                Attribute::Id(octets)
                | Attribute::Value(octets)
                | Attribute::Modulus(octets)
                | Attribute::PublicExponent(octets)
                | Attribute::EcParams(octets)
                | Attribute::EcPoint(octets),
            ) => Ok(octets),
            _ => Err(self.malformed("an object lacks an attribute that it must have").into()),
        }
    }

    fn rsa_key(&self, handle: ObjectHandle) -> Result<Option<CaPublicKey>, Failure> {
        let modulus = self.octets(handle, AttributeType::Modulus)?;
        let exponent = self.octets(handle, AttributeType::PublicExponent)?;
        Ok(foreign::rsa_public_key(&modulus, &exponent))
    }

    fn ec_key(&self, handle: ObjectHandle) -> Result<Option<CaPublicKey>, Failure> {
        let key_type = match self.octets(handle, AttributeType::EcParams)? {
            curve if curve == P256 => CaKeyType::EcdsaP256,
            curve if curve == P384 => CaKeyType::EcdsaP384,
            _ => return Ok(None),
        };
        let point = self.octets(handle, AttributeType::EcPoint)?;
        // An OCTET STRING by the standard; some tokens give the point bare.
        let bare = OctetStringRef::from_der(&point).map(|octets| octets.as_bytes().to_vec());
        Ok(CaPublicKey::from_raw(key_type, &bare.unwrap_or(point)).ok())
    }

    fn malformed(&self, problem: &'static str) -> KeyStoreError {
        KeyStoreError::Malformed {
            location: format!("the objects labelled `{}` in the PKCS#11 token", self.label),
            problem,
        }
    }
}

fn rsa(bits: u64, public: &mut Vec<Attribute>) -> Mechanism<'static> {
    public.extend([Attribute::ModulusBits(bits.into()), Attribute::PublicExponent(vec![1, 0, 1])]);
    Mechanism::RsaPkcsKeyPairGen
}

fn elliptic(curve: &[u8], public: &mut Vec<Attribute>) -> Mechanism<'static> {
    public.push(Attribute::EcParams(curve.to_vec()));
    Mechanism::EccKeyPairGen
}
