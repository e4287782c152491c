//! Keys that are made for devices.

use signalbeam_pki::{BlockingPool, DeviceKeyAlgorithm, DeviceKeyError, DeviceKeyGenerator, DeviceKeyType};

use crate::openssl::openssl;

#[tokio::test]
async fn a_generated_key_signs_a_request_that_is_accepted() {
    let generator = DeviceKeyGenerator::new(1, 1);
    for (kind, algorithm) in [
        (DeviceKeyType::Rsa2048, DeviceKeyAlgorithm::Rsa),
        (DeviceKeyType::EcdsaP256, DeviceKeyAlgorithm::EcdsaP256),
        (DeviceKeyType::EcdsaP384, DeviceKeyAlgorithm::EcdsaP384),
        (DeviceKeyType::Ed25519, DeviceKeyAlgorithm::Ed25519),
    ] {
        let (private, public) = generator.generate(kind).await.unwrap();
        assert_eq!((public.algorithm(), public.key_type()), (algorithm, kind));
        let pair = rcgen::KeyPair::from_pem(private.expose()).unwrap();
        let csr = rcgen::CertificateParams::default().serialize_request(&pair).unwrap().pem().unwrap();
        assert_eq!(signalbeam_pki::DevicePublicKey::from_csr_pem(&csr).unwrap(), public);
        let body = private.expose().lines().nth(1).unwrap();
        assert!(!format!("{private:?} {public:?}").contains(body), "a private key must not print");
    }
    assert_eq!(DeviceKeyType::default(), DeviceKeyType::Rsa2048);
}

#[tokio::test]
async fn openssl_reads_every_generated_key() {
    let generator = DeviceKeyGenerator::new(1, 1);
    for kind in DeviceKeyType::ALL {
        let (private, public) = generator.generate(kind).await.unwrap();
        assert_eq!(public.key_type(), kind);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key.pem"), private.expose()).unwrap();
        let arguments = ["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"];
        let Some(output) = openssl(folder.path(), &arguments) else { return };
        assert_eq!(output.stdout, public.spki_der(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn no_key_is_made_twice() {
    let generator = DeviceKeyGenerator::new(2, 1);
    for kind in [DeviceKeyType::EcdsaP256, DeviceKeyType::Ed25519] {
        let (_, first) = generator.generate(kind).await.unwrap();
        let (_, second) = generator.generate(kind).await.unwrap();
        assert_ne!(first.sha256(), second.sha256());
    }
}

#[tokio::test]
async fn beyond_those_that_may_wait_nobody_gets_a_key_and_nobody_waits_for_a_quick_one() {
    let generator = DeviceKeyGenerator::new(1, 2);
    let asked: Vec<_> = (0..8).map(|_| generator.generate(DeviceKeyType::Rsa2048)).collect();
    let (outcomes, quick) = futures_join(asked, generator.generate(DeviceKeyType::EcdsaP256)).await;
    let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let busy = outcomes.iter().filter(|outcome| matches!(outcome, Err(DeviceKeyError::Busy))).count();
    assert_eq!((made, busy, quick.is_ok()), (3, 5, true));
    assert!(generator.generate(DeviceKeyType::Rsa2048).await.is_ok(), "places are given back");
}

/// Polls all of them in order until all are done.
async fn futures_join<T, U>(many: Vec<impl Future<Output = T>>, one: impl Future<Output = U>) -> (Vec<T>, U) {
    use std::task::Poll;
    let mut many: Vec<_> = many.into_iter().map(Box::pin).collect();
    let mut outcomes: Vec<Option<T>> = many.iter().map(|_| None).collect();
    let mut one = Box::pin(one);
    let mut last = None;
    std::future::poll_fn(move |context| {
        for (future, outcome) in many.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *outcome = Some(value);
            }
        }
        if last.is_none()
            && let Poll::Ready(value) = one.as_mut().poll(context)
        {
            last = Some(value);
        }
        if outcomes.iter().all(Option::is_some)
            && let Some(value) = last.take()
        {
            return Poll::Ready((outcomes.iter_mut().filter_map(Option::take).collect(), value));
        }
        Poll::Pending
    })
    .await
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
