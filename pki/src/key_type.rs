//! The types of key that devices can have, as the configuration names them.

use std::fmt;

/// The type of a device's key. An RSA key of any other length counts as the longest of these that is not longer than it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum DeviceKeyType {
    /// RSA with 2048 to 3071 bits.
    #[default]
    Rsa2048,
    /// RSA with 3072 to 4095 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519 (RFC 8410).
    Ed25519,
}

impl DeviceKeyType {
    /// Every type.
    pub const ALL: [Self; 6] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::EcdsaP256, Self::EcdsaP384, Self::Ed25519];

    /// As it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The type that an RSA key with so many bits counts as; at least 2048.
    pub(crate) const fn of_rsa(bits: usize) -> Self {
        match bits {
            0..3072 => Self::Rsa2048,
            3072..4096 => Self::Rsa3072,
            _ => Self::Rsa4096,
        }
    }
}

impl fmt::Display for DeviceKeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
