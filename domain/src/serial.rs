//! Certificate serial numbers and fingerprints.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a serial number or a fingerprint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHex {
    /// The number of hexadecimal digits is wrong.
    #[error("expected {expected} hexadecimal digits")]
    Length {
        /// How many digits there must be.
        expected: usize,
    },
    /// A character that is no hexadecimal digit.
    #[error("not a hexadecimal digit at position {at}")]
    Digit {
        /// Its index among the digits, from 0.
        at: usize,
    },
    /// A serial number that is not positive, or shorter than its 20 octets (RFC 5280, 4.1.2.2).
    #[error("a serial number is positive and has its top bit clear")]
    NotPositive,
}

/// A certificate's serial number: 20 octets, positive (RFC 5280, section 4.1.2.2). Written as 40 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber([u8; 20]);

impl SerialNumber {
    /// Makes a serial number from 20 random octets: the top bit is cleared (positive) and the next one set, so that the
    /// encoding always has 20 octets. 158 bits of randomness remain.
    pub fn from_random(mut octets: [u8; 20]) -> Self {
        octets[0] = octets[0] & 0x7f | 0x40;
        Self(octets)
    }

    /// The name of a certificate that another authority issued: the first 20 octets of its fingerprint, with the same two
    /// bits set and cleared as in a serial number that is drawn.
    pub fn of_imported(fingerprint: &Fingerprint) -> Self {
        let mut octets = [0; 20];
        octets.copy_from_slice(&fingerprint.as_octets()[..20]);
        Self::from_random(octets)
    }

    /// Reads 40 hex digits, in either case, with or without colons between the octets.
    ///
    /// Whatever is written so can be asked for; that it is positive is required where a certificate is read.
    ///
    /// # Errors
    /// [`InvalidHex`] where it is anything else.
    pub fn from_hex(text: &str) -> Result<Self, InvalidHex> {
        octets_from_hex::<20>(text).map(Self)
    }

    /// Takes the octets as they stand in a certificate.
    ///
    /// # Errors
    /// [`InvalidHex::NotPositive`] where the top bit is set or all octets are zero.
    pub fn from_octets(octets: [u8; 20]) -> Result<Self, InvalidHex> {
        if octets[0] & 0x80 != 0 || octets == [0; 20] {
            return Err(InvalidHex::NotPositive);
        }
        Ok(Self(octets))
    }

    /// The 20 octets, most significant first.
    pub const fn as_octets(&self) -> &[u8; 20] {
        &self.0
    }
}

/// The SHA-256 of a certificate's DER. Written as `SHA256:` and 64 upper-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Wraps a digest that was computed elsewhere.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads the written form; the `SHA256:` in front may be missing, digits may be in either case and separated by colons.
    ///
    /// # Errors
    /// [`InvalidHex`] for everything else.
    pub fn parse(text: &str) -> Result<Self, InvalidHex> {
        octets_from_hex::<32>(text.strip_prefix("SHA256:").unwrap_or(text)).map(Self)
    }

    /// The digest's octets.
    pub const fn as_octets(&self) -> &[u8; 32] {
        &self.0
    }
}

fn octets_from_hex<const N: usize>(text: &str) -> Result<[u8; N], InvalidHex> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    if digits.len() != N * 2 {
        return Err(InvalidHex::Length { expected: N * 2 });
    }
    let mut octets = [0; N];
    for (at, digit) in digits.iter().enumerate() {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return Err(InvalidHex::Digit { at }),
        };
        octets[at / 2] = octets[at / 2] << 4 | value;
    }
    Ok(octets)
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(71);
        text.push_str("SHA256:");
        for octet in self.0 {
            write!(text, "{octet:02X}")?;
        }
        f.write_str(&text)
    }
}

macro_rules! text_form {
    ($name:ident, $parse:path) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

text_form!(SerialNumber, SerialNumber::from_hex);
text_form!(Fingerprint, Fingerprint::parse);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_serial_is_positive_and_has_twenty_octets_on_the_wire() {
        for first in 0..=255 {
            let mut octets = [0xff; 20];
            octets[0] = first;
            let serial = SerialNumber::from_random(octets);
            assert_eq!(serial.as_octets()[0] & 0x80, 0, "positive");
            assert_ne!(serial.as_octets()[0] & 0x40, 0, "no leading zero octet");
        }
    }

    #[test]
    fn a_serial_reads_every_common_spelling_and_writes_one() {
        let written = "4a2b3c4d5e6f708192a3b4c5d6e7f80910111213";
        let spelled = "4A:2B:3C:4D:5E:6F:70:81:92:A3:B4:C5:D6:E7:F8:09:10:11:12:13";
        assert_eq!(SerialNumber::from_hex(spelled).unwrap().to_string(), written);
        assert_eq!(SerialNumber::from_hex(written).unwrap(), SerialNumber::from_hex(&written.to_uppercase()).unwrap());
    }

    #[test]
    fn what_is_no_serial_is_refused() {
        assert_eq!(SerialNumber::from_hex("1a2b"), Err(InvalidHex::Length { expected: 40 }));
        assert_eq!(SerialNumber::from_octets([0; 20]), Err(InvalidHex::NotPositive));
        assert_eq!(SerialNumber::from_octets([0xff; 20]), Err(InvalidHex::NotPositive));
        assert_eq!(SerialNumber::from_hex(&format!("{}g", "1".repeat(39))), Err(InvalidHex::Digit { at: 39 }));
        assert!(SerialNumber::from_hex(&"é".repeat(20)).is_err());
    }

    #[test]
    fn a_fingerprint_is_written_in_upper_case_behind_its_algorithm() {
        let fingerprint = Fingerprint::from_digest([0xab; 32]);
        assert_eq!(fingerprint.to_string(), format!("SHA256:{}", "AB".repeat(32)));
        assert_eq!(Fingerprint::parse(&"ab".repeat(32)).unwrap(), fingerprint);
    }
}
