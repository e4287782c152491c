//! Whether an elliptic curve's public key is one: points that do not lie on their curve, and those of small order, give
//! nobody's possession away.

use std::sync::LazyLock;

use num_bigint_dig::BigUint;

use crate::csr::CsrError;
use crate::weak_keys::KeyWeakness;

/// A curve y^2 = x^3 - 3x + b over a prime field; its cofactor is 1, so every point on it is of full order.
pub(crate) struct Curve {
    prime: BigUint,
    b: BigUint,
    octets: usize,
}

/// P-256 (FIPS 186-4, appendix D.1.2.3).
pub(crate) static P256: LazyLock<Curve> = LazyLock::new(|| {
    Curve::new(
        "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
        "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
    )
});

/// P-384 (FIPS 186-4, appendix D.1.2.4).
pub(crate) static P384: LazyLock<Curve> = LazyLock::new(|| {
    Curve::new(
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
        "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
    )
});

impl Curve {
    fn new(prime: &str, b: &str) -> Self {
        let number = |hex: &str| BigUint::parse_bytes(hex.as_bytes(), 16).unwrap_or_default();
        Self { prime: number(prime), b: number(b), octets: prime.len() / 2 }
    }

    /// Judges an encoded point (SEC 1, section 2.3.3). Only the uncompressed form is widely understood; RFC 5480, section
    /// 2.2, makes the other optional.
    pub(crate) fn check(&self, point: &[u8]) -> Result<(), CsrError> {
        let Some((0x04, coordinates)) = point.split_first().map(|(form, rest)| (*form, rest)) else {
            return Err(CsrError::InvalidCsr("its elliptic curve key is not an uncompressed point"));
        };
        let off_curve = CsrError::InvalidCsr("its elliptic curve key is not a point on its curve");
        if coordinates.len() != 2 * self.octets {
            return Err(off_curve);
        }
        let (x, y) = coordinates.split_at(self.octets);
        let (x, y) = (BigUint::from_bytes_be(x), BigUint::from_bytes_be(y));
        if x >= self.prime || y >= self.prime {
            return Err(off_curve);
        }
        let left = &y * &y % &self.prime;
        // x^3 - 3x + b = x (x^2 - 3) + b, with the prime added so that nothing becomes negative.
        let right = (&x * (&x * &x + &self.prime - 3_u8) + &self.b) % &self.prime;
        if left == right { Ok(()) } else { Err(off_curve) }
    }
}

/// The encodings of Ed25519's eight points of small order, sign bit aside: under such a key everybody can make signatures
/// (RFC 8032, section 8.9, leaves the check to the protocol). The last two are spelt beyond the prime.
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Judges an Ed25519 key (RFC 8032, section 5.1.5). Whether it decodes to a point at all shows with the first signature.
pub(crate) fn check_ed25519(key: &[u8]) -> Result<(), CsrError> {
    let mut key: [u8; 32] = key.try_into().map_err(|_| CsrError::InvalidCsr("its Ed25519 key has not 32 octets"))?;
    key[31] &= 0x7f;
    let number = BigUint::from_bytes_be(&key);
    let is_small = |hex: &str| BigUint::parse_bytes(hex.as_bytes(), 16).as_ref() == Some(&number);
    if SMALL_ORDER.into_iter().any(is_small) { Err(KeyWeakness::SmallOrder.into()) } else { Ok(()) }
}
