//! Keys that are made for devices.

use signalbeam_pki::{BlockingPool, DeviceKeyAlgorithm, DeviceKeyGenerator, DeviceKeyType};

#[tokio::test]
async fn a_generated_key_signs_a_request_that_is_accepted() {
    let generator = DeviceKeyGenerator::new(BlockingPool::new(1));
    for (kind, algorithm) in
        [(DeviceKeyType::Rsa2048, DeviceKeyAlgorithm::Rsa), (DeviceKeyType::EcdsaP256, DeviceKeyAlgorithm::EcdsaP256)]
    {
        let (private, public) = generator.generate(kind).await.unwrap();
        assert_eq!(public.algorithm(), algorithm);
        let pair = rcgen::KeyPair::from_pem(private.expose()).unwrap();
        let csr = rcgen::CertificateParams::default().serialize_request(&pair).unwrap().pem().unwrap();
        assert_eq!(signalbeam_pki::DevicePublicKey::from_csr_pem(&csr).unwrap(), public);
        let body = private.expose().lines().nth(1).unwrap();
        assert!(!format!("{private:?} {public:?}").contains(body), "a private key must not print");
    }
    assert_eq!(DeviceKeyType::default(), DeviceKeyType::Rsa2048);
}

#[tokio::test]
async fn no_key_is_made_twice() {
    let generator = DeviceKeyGenerator::new(BlockingPool::new(2));
    let (_, first) = generator.generate(DeviceKeyType::EcdsaP256).await.unwrap();
    let (_, second) = generator.generate(DeviceKeyType::EcdsaP256).await.unwrap();
    assert_ne!(first.sha256(), second.sha256());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_runs_no_more_jobs_at_once_than_it_may() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let pool = BlockingPool::new(2);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..64)
        .map(|_| {
            let (pool, running, most) = (pool.clone(), Arc::clone(&running), Arc::clone(&most));
            tokio::spawn(async move {
                pool.run(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                })
                .await
            })
        })
        .collect();
    for job in jobs {
        job.await.unwrap().unwrap();
    }
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    assert!(pool.run(|| panic!("a job that fails")).await.is_err());
    assert_eq!(pool.run(|| 7).await.unwrap(), 7, "a failed job gives its place back");
}
