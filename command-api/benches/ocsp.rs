//! How fast OCSP is answered, through the routes and without sockets: from memory, and with a signature for each.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(dead_code, unreachable_pub, reason = "the tests' world can do more than is measured here")]

#[path = "../tests/it"]
mod it {
    pub(crate) mod world;
    pub(crate) mod ocsp {
        pub(crate) mod asking;
    }
}

use criterion::{Criterion, Throughput};
// Where the tests' own modules look for it.
use it::world;
use signalbeam_authn::limits::tenants::TenantPolicy;
use tokio::runtime::Runtime;

use it::ocsp::asking::{Asked, Responder, Said};
use world::{TENANT_A, World};

/// How many certificates are asked about by turns.
const CERTIFICATES: usize = 64;

fn main() {
    let runtime = Runtime::new().unwrap();
    let (responder, asked) = runtime.block_on(async {
        let world = World::new().await;
        world.limits.reconfigure(None, TenantPolicy::default());
        let responder = Responder::of(&world);
        let mut asked = vec![];
        for _ in 0..CERTIFICATES {
            let (_, certificate) = world.device_with_certificate(TENANT_A).await;
            asked.push(Asked::about(&responder, certificate.serial_number()));
        }
        // The world lives as long as the process.
        std::mem::forget(world);
        (responder, asked)
    });
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("ocsp");
    group.throughput(Throughput::Elements(CERTIFICATES as u64));
    group.bench_function("signed already", |bencher| {
        bencher.iter(|| runtime.block_on(ask(&responder, &asked)));
    });
    group.bench_function("signed for a nonce", |bencher| {
        let asked: Vec<_> = asked.iter().map(Asked::with_nonce).collect();
        bencher.iter(|| runtime.block_on(ask(&responder, &asked)));
    });
    group.finish();
    criterion.final_summary();
}

async fn ask(responder: &Responder, asked: &[Asked]) {
    for asked in asked {
        assert_eq!(responder.post(asked).await.says(asked), [Said::Good]);
    }
}
