//! What issuing and judging costs: one certificate, one signing request, one chain.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use rcgen::{CertificateParams, KeyPair};
use signalbeam_domain::{DeviceId, SerialNumber, TenantId};
use signalbeam_pki::{
    AuthoritySettings, BlockingPool, CaKeyType, CertificateAuthority, ChainVerifier, CrlEntry,
    DeviceCertificateRequest, DeviceKeyGenerator, DeviceKeyType, DevicePublicKey, MemoryKeyStore, ReasonCode,
    RevocationList,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio::runtime::Runtime;

const NOW: OffsetDateTime = datetime!(2025-06-01 12:00 UTC);

fn authority(runtime: &Runtime, key_type: CaKeyType) -> CertificateAuthority {
    let store = Arc::new(MemoryKeyStore::new(BlockingPool::per_processor()));
    let settings = AuthoritySettings { key_type, ..AuthoritySettings::default() };
    let serial = SerialNumber::from_random([1; 20]);
    runtime.block_on(CertificateAuthority::open_or_create(store, settings, NOW, serial)).unwrap()
}

fn csr(runtime: &Runtime, kind: DeviceKeyType) -> String {
    let generator = DeviceKeyGenerator::new(1, 1);
    let (private, _) = runtime.block_on(generator.generate(kind)).unwrap();
    let pair = KeyPair::from_pem(private.expose()).unwrap();
    CertificateParams::default().serialize_request(&pair).unwrap().pem().unwrap()
}

fn request(authority: &CertificateAuthority, csr: &str) -> DeviceCertificateRequest {
    DeviceCertificateRequest {
        profile: std::sync::Arc::default(),
        serial: SerialNumber::from_random([2; 20]),
        tenant_id: TenantId::parse("018f3c5e-7b1a-7cc2-9d3e-0123456789ab").unwrap(),
        device_id: DeviceId::parse("018f3c5e-7b1a-7cc2-9d3e-ba9876543210").unwrap(),
        public_key: DevicePublicKey::from_csr_pem(csr).unwrap(),
        validity: authority.validity(NOW, 90),
    }
}

fn pki(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let requests =
        [("rsa-2048", csr(&runtime, DeviceKeyType::Rsa2048)), ("ecdsa-p256", csr(&runtime, DeviceKeyType::EcdsaP256))];
    for (name, csr) in &requests {
        criterion.bench_function(&format!("check a CSR, {name} key"), |bencher| {
            bencher.iter(|| DevicePublicKey::from_csr_pem(black_box(csr)).unwrap());
        });
    }
    for root in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256] {
        let authority = authority(&runtime, root);
        for (name, csr) in &requests {
            criterion.bench_function(&format!("issue from a CSR, {root} root, {name} key"), |bencher| {
                bencher
                    .iter(|| runtime.block_on(authority.issue_device(&request(&authority, black_box(csr)))).unwrap());
            });
        }
        let issued = runtime.block_on(authority.issue_device(&request(&authority, &requests[0].1))).unwrap();
        let verifier = ChainVerifier::new([authority.certificate_der()]).unwrap();
        criterion.bench_function(&format!("verify a chain, {root} root"), |bencher| {
            bencher.iter(|| verifier.verify(black_box(&issued.der)).unwrap());
        });
    }
}

/// A hundred thousand certificates, half of them with a reason: put together, signed and checked; and put together again
/// out of the signature.
fn crl(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let serial_number = |index: u32| {
        let mut octets = [0x5a; 20];
        octets[10..14].copy_from_slice(&index.wrapping_mul(2_654_435_761).to_be_bytes());
        SerialNumber::from_random(octets)
    };
    let entry = |index: u32| CrlEntry {
        serial_number: serial_number(index),
        revoked_at: NOW - Duration::seconds(index.into()),
        reason: index.is_multiple_of(2).then_some(ReasonCode::SUPERSEDED),
    };
    let list = RevocationList {
        number: 1_748_779_200,
        base_number: None,
        this_update: NOW,
        next_update: NOW + Duration::days(1),
        freshest_crl_url: None,
        entries: (0..100_000).map(entry).collect(),
    };
    for root in [CaKeyType::Rsa2048, CaKeyType::EcdsaP256] {
        let authority = authority(&runtime, root);
        let signed = || {
            let octets = authority.crl_to_be_signed(black_box(&list)).unwrap();
            runtime.block_on(authority.sign_crl(&octets)).unwrap()
        };
        criterion.bench_function(&format!("sign a CRL with 100,000 entries, {root} root"), |bencher| {
            bencher.iter(signed);
        });
        let signature = signed().signature;
        criterion.bench_function(&format!("make it again out of its signature, {root} root"), |bencher| {
            bencher.iter(|| {
                let octets = authority.crl_to_be_signed(black_box(&list)).unwrap();
                authority.signed_before(&octets, signature.clone()).unwrap()
            });
        });
    }
}

criterion_group!(benches, pki, crl);
criterion_main!(benches);
