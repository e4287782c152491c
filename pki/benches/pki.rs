//! What issuing and judging costs: one certificate, one signing request, one chain.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use rcgen::{CertificateParams, KeyPair};
use signalbeam_domain::{DeviceId, SerialNumber, TenantId};
use signalbeam_pki::{
    AuthoritySettings, BlockingPool, CaKeyType, CertificateAuthority, ChainVerifier, DeviceCertificateRequest,
    DeviceKeyGenerator, DeviceKeyType, DevicePublicKey, MemoryKeyStore,
};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::runtime::Runtime;

const NOW: OffsetDateTime = datetime!(2025-06-01 12:00 UTC);

fn authority(runtime: &Runtime, key_type: CaKeyType) -> CertificateAuthority {
    let store = Arc::new(MemoryKeyStore::new(BlockingPool::per_processor()));
    let settings = AuthoritySettings { key_type, ..AuthoritySettings::default() };
    let serial = SerialNumber::from_random([1; 20]);
    runtime.block_on(CertificateAuthority::open_or_create(store, settings, NOW, serial)).unwrap()
}

fn csr(runtime: &Runtime, kind: DeviceKeyType) -> String {
    let generator = DeviceKeyGenerator::new(BlockingPool::new(1));
    let (private, _) = runtime.block_on(generator.generate(kind)).unwrap();
    let pair = KeyPair::from_pem(private.expose()).unwrap();
    CertificateParams::default().serialize_request(&pair).unwrap().pem().unwrap()
}

fn request(authority: &CertificateAuthority, csr: &str) -> DeviceCertificateRequest {
    DeviceCertificateRequest {
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

criterion_group!(benches, pki);
criterion_main!(benches);
