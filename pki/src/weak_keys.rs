//! RSA keys that look like any other and are not: each check here stands for a way in which real devices' keys fell.

use std::sync::LazyLock;

use num_bigint_dig::{BigInt, BigUint};
use rsa::pkcs1::RsaPublicKey;
use rsa::pkcs8::der::Decode;

use crate::csr::CsrError;
use crate::key_type::DeviceKeyType;

/// Why a well-formed key is not certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyWeakness {
    /// None of the kinds that any profile can allow.
    #[error("the key is neither RSA, nor ECDSA on P-256 or P-384, nor Ed25519")]
    Algorithm,
    /// A kind of key, or an RSA key of a length, that the profile does not allow.
    #[error("the profile does not allow {0} keys")]
    NotInProfile(DeviceKeyType),
    /// An Ed25519 key under which everybody can make signatures.
    #[error("the Ed25519 key is a point of small order")]
    SmallOrder,
    /// An RSA modulus shorter than 2048 or longer than 4096 bits.
    #[error("the RSA modulus has {bits} bits; 2048 to 4096 are allowed")]
    ModulusSize {
        /// Its length.
        bits: usize,
    },
    /// An RSA exponent other than 65537.
    #[error("the RSA exponent is not 65537")]
    Exponent,
    /// An RSA modulus that a small prime divides.
    #[error("the RSA modulus is divisible by {prime}")]
    SmallFactor {
        /// The smallest such prime.
        prime: u16,
    },
    /// An RSA modulus with the structure of CVE-2017-15361: made by certain smart cards and TPMs, practical to factor.
    #[error("the RSA modulus has the structure of CVE-2017-15361 (ROCA)")]
    Roca,
    /// An RSA modulus whose two primes are so close that Fermat's method finds them at once (CVE-2022-26320).
    #[error("the two primes of the RSA modulus are too close to each other (CVE-2022-26320)")]
    ClosePrimes,
}

const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
const EXPONENT: [u8; 3] = [1, 0, 1];
/// CVE-2017-15361: the generator with which the primes were built.
const ROCA_GENERATOR: u64 = 65537;
/// CVE-2017-15361: keys of 1984 bits and more were built over the product of the first 126 primes; longer ones over more.
const ROCA_PRIMES: usize = 126;
/// As many rounds as the CA/Browser Forum's baseline requirements ask for (section 6.1.1.3).
const FERMAT_ROUNDS: u32 = 100;
/// Odd primes that tell squares from other numbers; their product fits in 32 bits.
const SQUARE_SIEVE: [u64; 7] = [3, 5, 7, 11, 13, 17, 19];

/// The primes below 1000.
static SMALL_PRIMES: LazyLock<Vec<u16>> = LazyLock::new(|| {
    (2..1000)
        .filter(|candidate| (2..*candidate).take_while(|d| d * d <= *candidate).all(|d| candidate % d != 0))
        .collect()
});

/// Judges a DER `RSAPublicKey`, and tells the length of its modulus.
pub(crate) fn check_rsa(der: &[u8]) -> Result<usize, CsrError> {
    let key = RsaPublicKey::from_der(der).map_err(|_| CsrError::InvalidCsr("its RSA key cannot be read"))?;
    let modulus = BigUint::from_bytes_be(key.modulus.as_bytes());
    if !MODULUS_BITS.contains(&modulus.bits()) {
        return Err(KeyWeakness::ModulusSize { bits: modulus.bits() }.into());
    }
    if key.public_exponent.as_bytes() != EXPONENT {
        return Err(KeyWeakness::Exponent.into());
    }
    let residues = residues(&modulus);
    if let Some((prime, _)) = residues.iter().find(|(_, residue)| *residue == 0) {
        return Err(KeyWeakness::SmallFactor { prime: *prime }.into());
    }
    if residues.iter().take(ROCA_PRIMES).all(|(prime, residue)| is_power_of_generator(*residue, *prime)) {
        return Err(KeyWeakness::Roca.into());
    }
    if has_close_primes(&modulus) {
        return Err(KeyWeakness::ClosePrimes.into());
    }
    Ok(modulus.bits())
}

/// The length of the modulus of a DER `RSAPublicKey`.
pub(crate) fn rsa_modulus_bits(der: &[u8]) -> Option<usize> {
    RsaPublicKey::from_der(der).ok().map(|key| BigUint::from_bytes_be(key.modulus.as_bytes()).bits())
}

/// The modulus reduced by each small prime. The long number is divided by a product of several primes at a time; only the
/// short remainder by each of them.
fn residues(modulus: &BigUint) -> Vec<(u16, u64)> {
    let mut residues = Vec::with_capacity(SMALL_PRIMES.len());
    let mut group: Vec<u16> = Vec::new();
    let mut product: u64 = 1;
    let digits = modulus.to_bytes_be();
    let mut reduce = |group: &mut Vec<u16>, product: u64| {
        let remainder = remainder_u32(&digits, product);
        residues.extend(group.drain(..).map(|prime| (prime, remainder % u64::from(prime))));
    };
    for prime in SMALL_PRIMES.iter().copied() {
        if product * u64::from(prime) > u64::from(u32::MAX) {
            reduce(&mut group, product);
            product = 1;
        }
        product *= u64::from(prime);
        group.push(prime);
    }
    reduce(&mut group, product);
    residues
}

/// Long division of big-endian octets by a divisor of at most 32 bits.
fn remainder_u32(octets: &[u8], divisor: u64) -> u64 {
    let (head, rest) = octets.split_at(octets.len() % 4);
    let head = head.iter().fold(0, |remainder, octet| (remainder << 8 | u64::from(*octet)) % divisor);
    rest.as_chunks::<4>()
        .0
        .iter()
        .fold(head, |remainder, digit| (remainder << 32 | u64::from(u32::from_be_bytes(*digit))) % divisor)
}

/// Whether a residue is some power of 65537 modulo a prime, as every residue of a ROCA modulus is.
///
/// The units modulo a prime are a cyclic group, so the powers of an element of order d are just the roots of x^d = 1.
fn is_power_of_generator(residue: u64, prime: u16) -> bool {
    let prime = u64::from(prime);
    let generator = ROCA_GENERATOR % prime;
    let mut power = generator;
    let mut order = 1;
    while power != 1 {
        power = power * generator % prime;
        order += 1;
    }
    (0..order).fold(1, |product, _| product * residue % prime) == 1
}

/// Fermat's method: looks for a small b with N = a^2 - b^2, a starting at the square root of N.
fn has_close_primes(modulus: &BigUint) -> bool {
    let mut a = square_root(modulus);
    if &a * &a < *modulus {
        a += 1_u8;
    }
    let mut b_squared = &a * &a - modulus;
    for _ in 0..FERMAT_ROUNDS {
        if is_square(&b_squared) {
            return true;
        }
        // (a + 1)^2 - N = (a^2 - N) + 2a + 1
        b_squared += &a;
        a += 1_u8;
        b_squared += &a;
    }
    false
}

/// Asks small residues first: all but a few in a thousand numbers are told apart from squares without a square root.
fn is_square(number: &BigUint) -> bool {
    let is_square_modulo = |residue: u64, modulus: u64| (0..modulus).any(|x| x * x % modulus == residue);
    let octets = number.to_bytes_be();
    if !is_square_modulo(octets.last().map_or(0, |octet| u64::from(octet % 64)), 64) {
        return false;
    }
    let residue = remainder_u32(&octets, SQUARE_SIEVE.iter().product());
    SQUARE_SIEVE.iter().all(|prime| is_square_modulo(residue % prime, *prime)) && {
        let root = square_root(number);
        &root * &root == *number
    }
}

fn square_root(number: &BigUint) -> BigUint {
    BigInt::from(number.clone()).sqrt().to_biguint().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_told_from_their_neighbours() {
        let large = (BigUint::from(1_u8) << 1500) - BigUint::from(123_457_u32);
        for root in (0..300_u32).map(BigUint::from).chain((0..50_u32).map(|step| &large + step)) {
            let square = &root * &root;
            assert!(is_square(&square), "{root}^2");
            if root > BigUint::from(1_u8) {
                assert!(!is_square(&(&square + 1_u8)) && !is_square(&(&square - 1_u8)), "{root}^2 +- 1");
            }
        }
    }

    #[test]
    fn residues_are_those_of_long_division() {
        for length in [1, 2, 3, 4, 5, 255, 256, 257] {
            let number = BigUint::from_bytes_be(&vec![0xb7; length]);
            for (prime, residue) in residues(&number) {
                assert_eq!(BigUint::from(residue), &number % prime, "{number} % {prime}");
            }
        }
    }
}
