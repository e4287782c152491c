//! Certificates: profiles, signing requests, issuing, chain checks, and the certificate authority's key store.
//!
//! Nothing here reads a clock or draws a serial number: both come in from the caller, who records them before anything
//! is signed.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod authorities;
pub mod authority;
pub mod blocking;
pub mod certificate;
pub mod chain;
pub mod cms;
pub mod crl;
pub mod csr;
mod curve;
pub mod device_key;
pub mod enrolment;
pub mod foreign;
mod intermediate;
pub mod key_store;
pub mod key_type;
pub mod ocsp;
mod pem;
pub mod profile;
pub mod public_key;
mod server_certificate;
mod service_key;
mod signing;
pub mod spiffe;
pub mod validity;
mod weak_keys;

pub use authorities::{Authorities, AuthoritySet, AuthoritySetError, AuthorityStanding, TrustedAuthority};
pub use authority::{
    AuthorityError, AuthoritySettings, CertificateAuthority, DeviceCertificateRequest, FIRST_ROOT, IssuedCertificate,
    NewAuthority,
};
pub use blocking::BlockingPool;
pub use certificate::{certificate_pem, certificates_from_pem, fingerprint, peek_validity};
pub use chain::{AnchorError, ChainError, ChainVerifier, VerifiedDeviceCertificate};
pub use crl::{CrlEntry, ReasonCode, RevocationList, SignedCrl};
pub use csr::CsrError;
pub use device_key::{DeviceKeyError, DeviceKeyGenerator};
pub use foreign::{ForeignCertificate, ForeignCertificateError};
pub use intermediate::{Intermediate, IntermediateDraft};
pub use key_store::{
    CaKeyStore, CaKeyStores, CaKeyType, CaMaterial, FileKeyStore, FileKeyStores, InvalidKeySlot, KeySlot,
    KeyStoreError, KeyStoreSecret, MemoryKeyStore, MemoryKeyStores, Pkcs11KeyStore, Pkcs11KeyStores, Pkcs11Token,
    Pkcs11TokenSettings, PortableKey, UnreadableKey,
};
#[cfg(feature = "azure")]
pub use key_store::{KeyVault, KeyVaultIdentity, KeyVaultKeyStore, KeyVaultKeyStores, KeyVaultSettings};
pub use key_type::DeviceKeyType;
pub use pem::{InvalidPem, PrivateKeyPem};
pub use profile::{InvalidProfile, Profile, ProfileSet, ProfileSettings, Profiles, PublishedUrl};
pub use public_key::{CaPublicKey, DeviceKeyAlgorithm, DevicePublicKey};
pub use server_certificate::{
    IssuedServerCertificate, RenewalReason, ServerCertificateRequest, server_certificate_needs_renewal,
};
pub use service_key::ServiceKey;
pub use spiffe::{DeviceIdentity, TrustDomain};
pub use validity::{Timeliness, Validity};
pub use weak_keys::KeyWeakness;

pub use rustls_pki_types::ServerName;
