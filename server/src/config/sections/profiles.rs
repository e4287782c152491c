//! `[profiles.NAME]`: what certificates of devices say.

use serde::{Deserialize, Serialize};
use signalbeam_domain::ProfileName;

/// The types of key that devices can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKeyType {
    /// RSA with 2048 to 3071 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with 3072 to 4095 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    /// ECDSA on P-256.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA on P-384.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
    /// Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519,
}

/// `[profiles.NAME]`: a profile of devices' certificates. What is left out is as in the profile `device`, which is always
/// there and may be changed by `[profiles.device]`. A name has 1 to 64 characters of `a-z`, `0-9`, `-` and `_`; in the
/// environment, the variables below have it in the place of `DEVICE`: `SIGNALBEAM__PROFILES__SENSOR__VALIDITY_DAYS`. Takes
/// effect on SIGHUP, for what is issued from then on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// For how many days a certificate holds where nobody asks for anything else.
    /// `SIGNALBEAM__PROFILES__DEVICE__VALIDITY_DAYS`, default as `certificates.default_validity_days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity_days: Option<u16>,
    /// The fewest days for which a certificate may be asked. `SIGNALBEAM__PROFILES__DEVICE__MIN_VALIDITY_DAYS`, default as
    /// `certificates.min_validity_days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_validity_days: Option<u16>,
    /// The most days for which a certificate may be asked, at most 3,650. `SIGNALBEAM__PROFILES__DEVICE__MAX_VALIDITY_DAYS`,
    /// default as `certificates.max_validity_days`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_validity_days: Option<u16>,
    /// How many days before its end a certificate may be renewed: at least 1 and fewer than `validity_days`.
    /// `SIGNALBEAM__PROFILES__DEVICE__RENEWAL_WINDOW_DAYS`, default as `certificate_renewal.renewal_threshold_days`; in other
    /// profiles than `device` a third of `validity_days` where those are not more than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_window_days: Option<u16>,
    /// How many minutes before the moment of issuance a certificate begins, for devices whose clocks are slow: 0 to 1,440.
    /// `SIGNALBEAM__PROFILES__DEVICE__BACKDATING_MINUTES`, default `5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backdating_minutes: Option<u16>,
    /// The types of key that are certified: `rsa-2048`, `rsa-3072`, `rsa-4096`, `ecdsa-p256`, `ecdsa-p384`, `ed25519`. An RSA
    /// key of another length counts as the next shorter one. `SIGNALBEAM__PROFILES__DEVICE__KEY_TYPES` (comma-separated),
    /// default `rsa-2048,rsa-3072,rsa-4096,ecdsa-p256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_types: Option<Vec<DeviceKeyType>>,
    /// The type of a key that the server makes, where a request brings none; one of `key_types`.
    /// `SIGNALBEAM__PROFILES__DEVICE__SERVER_KEY_TYPE`, default `rsa-2048` where that is one of `key_types`, otherwise the
    /// first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_key_type: Option<DeviceKeyType>,
    /// What certificates are for: `client_auth`, which is never missing, `server_auth` for devices that serve TLS themselves,
    /// and dotted object identifiers; at most 8. `SIGNALBEAM__PROFILES__DEVICE__EXTENDED_KEY_USAGES` (comma-separated),
    /// default `client_auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_key_usages: Option<Vec<String>>,
    /// The subject: attributes of CN, O, OU, C, L, ST and serialNumber, a CN among them, with `{deviceId}` in one of them;
    /// `{tenantId}` may stand there too. `SIGNALBEAM__PROFILES__DEVICE__SUBJECT`, default
    /// `CN=device-{deviceId}, O=SignalBeam`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Host names for devices that serve TLS themselves, each with `{deviceId}`, such as `{deviceId}.devices.example.com`; at
    /// most 8. `SIGNALBEAM__PROFILES__DEVICE__DNS_NAMES` (comma-separated), default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// Extensions of your own, never critical: an object identifier and the value's DER in hex, such as
    /// `1.3.6.1.4.1.99999.1=0403010203`; at most 8. `SIGNALBEAM__PROFILES__DEVICE__EXTENSIONS` (comma-separated), default
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Vec<String>>,
}

impl Profile {
    /// A profile with a value of the right kind by every key.
    pub(in crate::config) fn of_every_key() -> Self {
        Self {
            validity_days: Some(1),
            min_validity_days: Some(1),
            max_validity_days: Some(1),
            renewal_window_days: Some(1),
            backdating_minutes: Some(1),
            key_types: Some(vec![]),
            server_key_type: Some(DeviceKeyType::Rsa2048),
            extended_key_usages: Some(vec![]),
            subject: Some(String::new()),
            dns_names: Some(vec![]),
            extensions: Some(vec![]),
        }
    }

    /// The key by which this one of any profile is known: that of `device`. `None` where the key is no profile's.
    pub(in crate::config) fn canonical(key: &str) -> Option<(String, String)> {
        let rest = key.strip_prefix("profiles.")?;
        let alike = match rest.split_once('.') {
            Some((_, setting)) => format!("profiles.{}.{setting}", ProfileName::DEVICE),
            // A profile that says nothing of its own.
            None => format!("profiles.{}", ProfileName::DEVICE),
        };
        Some((key.to_owned(), alike))
    }
}
