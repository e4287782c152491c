//! Keys with a known weakness, each in a request that is otherwise perfect: only the weakness can be what refuses it.

use rcgen::{CertificateParams, PublicKeyData, SignatureAlgorithm, SigningKey};
use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};
use signalbeam_pki::{CsrError, DeviceKeyAlgorithm, DevicePublicKey, KeyWeakness};

use crate::fixture::tlv;

/// A private key that signs although it is weak.
struct WeakKey {
    private: RsaPrivateKey,
    public: Vec<u8>,
}

impl WeakKey {
    fn new(primes: &[&str], exponent: u32) -> Self {
        let primes = primes.iter().map(|hex| BigUint::parse_bytes(hex.as_bytes(), 16).unwrap()).collect();
        let private = RsaPrivateKey::from_primes(primes, exponent.into()).unwrap();
        let public = private.to_public_key().to_pkcs1_der().unwrap().into_vec();
        Self { private, public }
    }

    fn judge(&self) -> Result<DevicePublicKey, CsrError> {
        DevicePublicKey::from_csr_pem(&CertificateParams::default().serialize_request(self).unwrap().pem().unwrap())
    }
}

impl PublicKeyData for WeakKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

impl SigningKey for WeakKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        // DigestInfo of SHA-256 up to the digest (RFC 8017, section 9.2, note 1).
        let prefix = [
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
            0x20,
        ];
        let digest = ring::digest::digest(&ring::digest::SHA256, message);
        let padding = Pkcs1v15Sign { hash_len: Some(32), prefix: prefix.into() };
        self.private.sign(padding, digest.as_ref()).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

fn weak(key: &WeakKey) -> KeyWeakness {
    match key.judge() {
        Err(CsrError::WeakKey(weakness)) => weakness,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_key_passes() {
    let key = WeakKey::new(&GOOD, 65537);
    assert_eq!(key.judge().unwrap().algorithm(), DeviceKeyAlgorithm::Rsa);
}

#[test]
fn primes_that_are_close_together_are_found() {
    assert_eq!(weak(&WeakKey::new(&CLOSE, 65537)), KeyWeakness::ClosePrimes, "found in the first round");
    assert_eq!(weak(&WeakKey::new(&CLOSE_LATE, 65537)), KeyWeakness::ClosePrimes, "found in the 61st round");
}

#[test]
fn the_square_of_a_prime_is_found() {
    let prime = BigUint::parse_bytes(GOOD[0].as_bytes(), 16).unwrap();
    let refused = DevicePublicKey::from_spki_der(&rsa_spki(&(&prime * &prime).to_bytes_be(), &[1, 0, 1]));
    assert_eq!(refused, Err(CsrError::WeakKey(KeyWeakness::ClosePrimes)));
}

#[test]
fn a_roca_key_is_found() {
    assert_eq!(weak(&WeakKey::new(&ROCA, 65537)), KeyWeakness::Roca);
}

#[test]
fn half_a_roca_key_passes() {
    // One prime of that structure leaves no fingerprint in the modulus, and gives Coppersmith's method no hold on it.
    assert!(WeakKey::new(&[ROCA[0], GOOD[0]], 65537).judge().is_ok());
}

#[test]
fn a_small_factor_is_found() {
    let good = WeakKey::new(&GOOD, 65537);
    for prime in [2_u16, 3, 353, 997] {
        let modulus = (good.private.n() * prime).to_bytes_be();
        let refused = DevicePublicKey::from_spki_der(&rsa_spki(&modulus, &[1, 0, 1]));
        assert_eq!(refused, Err(CsrError::WeakKey(KeyWeakness::SmallFactor { prime })));
    }
}

#[test]
fn another_exponent_is_refused() {
    assert_eq!(weak(&WeakKey::new(&EXPONENT_3, 3)), KeyWeakness::Exponent);
    let modulus = WeakKey::new(&GOOD, 65537).private.n().to_bytes_be();
    for exponent in [&[1][..], &[2], &[3], &[1, 0, 3], &[1, 0, 0, 1], &[0x7f; 200]] {
        let refused = DevicePublicKey::from_spki_der(&rsa_spki(&modulus, exponent));
        assert_eq!(refused, Err(CsrError::WeakKey(KeyWeakness::Exponent)), "{exponent:?}");
    }
}

#[test]
fn the_modulus_has_2048_to_4096_bits() {
    assert_eq!(weak(&WeakKey::new(&SHORT, 65537)), KeyWeakness::ModulusSize { bits: 1024 });
    for (octets, allowed) in [(255, false), (256, true), (384, true), (512, true), (513, false), (1024, false)] {
        // Odd and without structure, but nobody knows its factors.
        let mut modulus: Vec<u8> =
            (0..octets).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8 | 1).collect();
        modulus[0] = 0x80;
        let judged = DevicePublicKey::from_spki_der(&rsa_spki(&modulus, &[1, 0, 1]));
        let is_size = judged == Err(CsrError::WeakKey(KeyWeakness::ModulusSize { bits: octets as usize * 8 }));
        assert_eq!(is_size, !allowed, "{octets}: {judged:?}");
    }
}

#[test]
fn moduli_that_are_squares_even_or_all_ones_are_refused_at_every_size() {
    for bits in [2048_usize, 3072, 4096] {
        let half = (BigUint::from(1_u8) << (bits / 2)) - BigUint::from(105_u8);
        let square = (&half * &half).to_bytes_be();
        assert!(DevicePublicKey::from_spki_der(&rsa_spki(&square, &[1, 0, 1])).is_err());
        let ones = ((BigUint::from(1_u8) << bits) - BigUint::from(1_u8)).to_bytes_be();
        let refused = DevicePublicKey::from_spki_der(&rsa_spki(&ones, &[1, 0, 1]));
        assert_eq!(refused, Err(CsrError::WeakKey(KeyWeakness::SmallFactor { prime: 3 })));
        let even = ((BigUint::from(1_u8) << bits) - BigUint::from(2_u8)).to_bytes_be();
        let refused = DevicePublicKey::from_spki_der(&rsa_spki(&even, &[1, 0, 1]));
        assert_eq!(refused, Err(CsrError::WeakKey(KeyWeakness::SmallFactor { prime: 2 })));
    }
}

#[test]
fn other_spellings_of_a_good_key_are_invalid() {
    let modulus = WeakKey::new(&GOOD, 65537).private.n().to_bytes_be();
    let good = rsa_spki(&modulus, &[1, 0, 1]);
    assert!(DevicePublicKey::from_spki_der(&good).is_ok());
    let padded = rsa_spki_raw(&[&[0, 0], &modulus[..]].concat(), &[1, 0, 1]);
    let negative = rsa_spki_raw(&modulus, &[1, 0, 1]);
    for bad in [padded, negative, [&good[..], &[0]].concat()] {
        assert!(matches!(DevicePublicKey::from_spki_der(&bad), Err(CsrError::InvalidCsr(_))));
    }
}

/// A `SubjectPublicKeyInfo` with a positive modulus.
fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if modulus[0] & 0x80 == 0 { &[] } else { &[0] };
    rsa_spki_raw(&[sign, modulus].concat(), exponent)
}

fn rsa_spki_raw(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let algorithm = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let key = tlv(0x30, &[tlv(0x02, modulus), tlv(0x02, exponent)].concat());
    tlv(0x30, &[&algorithm[..], &tlv(0x03, &[&[0], &key[..]].concat())].concat())
}

/// Two unrelated primes.
const GOOD: [&str; 2] = [
    "c3389fc2891af4f4c5d625514c345e396614a66f94d9df47274eb6ef493d6f29f51f6272edf9334745f72d1dc17b8f9cd747\
     ffbc7add7e1f3fcc9b5d186ca1f3a065e38916d57a2741a420091ad60b02411f1769fafe0a190979c486dc16ee6cee9fe7b0\
     2af144f9e6e12cf2146eca39d9a6f7ff2b3a28811254c35b3ac1f205",
    "e467d3b3ef30732e1c69a6433f0acc0af832048e92948d17729219d1308c034c14a5da8c368f64986061090d5cfa09ba2fe8\
     df9d28ba82e6ebaed53961dee970dce9a4d36ea7637bc5febde38169c71acee67d8cd1964c261979bc02923d459ba1c2becb\
     519ef3a92b30bd6d377160b32e7a9e7afca5e51fb5447c8038aab1f1",
];
/// Primes of 1024 bits, 2^500 apart.
const CLOSE: [&str; 2] = [
    "ffabe71955087e1208d5f18731e515ad80777b16b27919b5995c798e76f1f242fe17c557e956c114079699af26a4228af69d\
     17d38a27c10f08b2695eb5bc964dc5cd34a9c134d60b32e97956c6eee6ceb58708926c65a6f123a85c6403d4b041ad36101f\
     af4ef616d452341f19d9de2b5e6f33d199b1d244a573942498a4a4e1",
    "ffabe71955087e1208d5f18731e515ad80777b16b27919b5995c798e76f1f242fe17c557e956c114079699af26a4228af69d\
     17d38a27c10f08b2695eb5bc964dc5dd34a9c134d60b32e97956c6eee6ceb58708926c65a6f123a85c6403d4b041ad36101f\
     af4ef616d452341f19d9de2b5e6f33d199b1d244a573942498a4a6c3",
];
/// Primes about 22 times the fourth root of the modulus apart.
const CLOSE_LATE: [&str; 2] = [
    "ffabe71955087e1208d5f18731e515ad80777b16b27919b5995c798e76f1f242fe17c557e956c114079699af26a4228af69d\
     17d38a27c10f08b2695eb5bc964dc5cd34a9c134d60b32e97956c6eee6ceb58708926c65a6f123a85c6403d4b041ad36101f\
     af4ef616d452341f19d9de2b5e6f33d199b1d244a573942498a4a4e1",
    "ffabe71955087e1208d5f18731e515ad80777b16b27919b5995c798e76f1f242fe17c557e956c114079699af26a4228af69d\
     17d38a27c10f08b2695eb5bc9663aae17de00efff3763d60dd1055c04848b0754cecca26ba41379a1355cfd8192e8c24dbcd\
     eb079fe689fca32e6aa901dd04ad13781a577589d52d6c4afdd249cf",
];
/// Primes k * M + (65537^a mod M), M the product of the first 126 primes (CVE-2017-15361).
const ROCA: [&str; 2] = [
    "f123126e086c0249bfd2b859172baae5fc33c7682165d336d2b12b29c213e74be765d5f6d97f2662d8505077b2af878b9ab5\
     fa2ad89c2144b0eccce4408471e0716a051d3cc0439cd185f2f801fb867d967b47e111501a57dffc549216398fc9a18db427\
     43356ae45ff0f1c622b56119f510194932a9fc47cd2e0f9792cbca4b",
    "ff4645c78c79b4cc0182a0f0ee913bbfb6ff8ca4f103c0bb13059aea0316fa627bde2ff8b780ec948a7f9390dd75b719bab2\
     51af67abb988f2c0c7dfa33ceedc1a20fc0a41a641b83c0361849ae50338c0f37d5b0e3b009d794a3cd529361cee5be7f3e5\
     8c7e98f3850296d39c938758abae4c55d096994f0816c3c9eec49f53",
];
/// Primes that allow the exponent 3.
const EXPONENT_3: [&str; 2] = [
    "e5f3960bd514c6aede1c980c303bf6a1ce6d893c16425233bfdc479546c968c5241701f5edd74e10debbc90bdcdd8c36b265\
     39ca1a6a7c72173409e97a17748ff1760847971e7fc3a129e126fd51e26cadb0e42cc490475bf3e9bf8da728b61e72063258\
     28db1ca8bd9044f11a772b3dd39912c3f07db15019c962fd91b0569f",
    "e0c9aaf6219630de7c6e2a749ddc6df54eb1f052025a531663acdcc1c7c9d786644430f8d0ebc300e933a5d5f6e0db9e2597\
     a88b36d222626a5c76e3e0155afa26b4b335c181857abc2ac031ca18912203596a94380c538c692f7e7874c8930dce2e6bec\
     e48e6b33f2d04bb6b0a5722effa5623f7cfb35b16dc5002fb3221b33",
];
/// Primes of 512 bits.
const SHORT: [&str; 2] = [
    "f8419bba81fa6d12a888fa25a0fb728b06472bac17bbc464d37b4e1b5077dfe26bbcf94eef2880689a3b0bb518dfb0fe2f8c\
     f6c82eb3653c97930865f6658409",
    "fd6586c4517825539927d6cd8435c5acfad2b283b1d49891976fbf25ba4dbdaa024b2ea5521e482fe6e9b442ba96d530c05f\
     fda8ab059278958df3d789eb5441",
];
