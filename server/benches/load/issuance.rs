//! Certificates a second, from signing requests over HTTPS, beside a loop in one process that does the same work, and beside
//! another certificate authority's server.

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use signalbeam_pki::{CaKeyType, DeviceKeyGenerator, DeviceKeyType};
use tokio::task::spawn_blocking;

use crate::cfssl::Cfssl;
use crate::in_process::InProcess;
use crate::phases::{Figure, each_once};
use crate::report::median;
use crate::server::Server;

const DEVICES: usize = 2_000;
const CALLERS: usize = 32;
/// In each turn every device gets a certificate from each side: what else the machine does weighs on all sides alike.
const TURNS: usize = 5;
/// Signing requests with a key each, used by turns.
const CSRS: usize = 16;

pub(crate) async fn measure() {
    for (ca, key) in [(CaKeyType::Rsa2048, DeviceKeyType::Rsa2048), (CaKeyType::EcdsaP256, DeviceKeyType::EcdsaP256)] {
        run(ca, key).await;
    }
}

/// What one side did, turn by turn.
#[derive(Default)]
struct Side {
    turns: Vec<Figure>,
    cpu_seconds: f64,
}

impl Side {
    fn add(&mut self, figure: Figure, cpu_seconds: f64) {
        self.turns.push(figure);
        self.cpu_seconds += cpu_seconds;
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn print(&self, what: &str) {
        let of_turns = |figure: fn(&Figure) -> f64| median(self.turns.iter().map(figure).collect());
        println!(
            "{what:<44} {:>6.0}/s  p50 {:>6.2} ms  p99 {:>6.2} ms  {:>5.0} us of CPU each",
            of_turns(|turn| turn.per_second),
            of_turns(|turn| turn.p50_ms),
            of_turns(|turn| turn.p99_ms),
            self.cpu_seconds * 1e6 / (DEVICES * self.turns.len()) as f64,
        );
    }

    /// The median of the turns' ratios.
    fn ratio_to(&self, other: &Self) -> f64 {
        median(self.turns.iter().zip(&other.turns).map(|(own, other)| own.per_second / other.per_second).collect())
    }
}

async fn run(ca: CaKeyType, key: DeviceKeyType) {
    println!("\n{ca} authority, {key} keys, {CALLERS} callers, {TURNS} turns of {DEVICES} certificates (medians)");
    let csrs = signing_requests(key).await;
    let settings =
        [("SIGNALBEAM__CA__KEY_TYPE", ca.to_string()), ("SIGNALBEAM__RATE_LIMIT__ENABLED", "false".to_owned())];
    let server = Server::start(&settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    let devices = server.approved(DEVICES).await.into_iter().enumerate();
    let requests: Vec<_> = devices
        .map(|(at, device)| {
            let path = format!("/api/certificates/{}/issue", device.id);
            server.by_admin("POST", &path, &json!({"csrPem": csrs[at % CSRS]}))
        })
        .collect();
    let mut loop_ = spawn_blocking(move || InProcess::open(ca, DEVICES)).await.unwrap();
    let cfssl = Cfssl::start(&key_pair(key).await).await;
    let to_cfssl: Vec<_> = (0..DEVICES).map(|at| Cfssl::sign(&csrs[at % CSRS])).collect();

    let [mut ours, mut bare, mut theirs] = <[Side; 3]>::default();
    for _ in 0..TURNS {
        let cpu = server.cpu_seconds();
        let figure = each_once(CALLERS, &server.https(), &requests, 201).await;
        ours.add(figure, server.cpu_seconds() - cpu);

        let csrs = csrs.clone();
        let turn = spawn_blocking(move || (loop_.turn(CALLERS, &csrs), loop_));
        let (figure, cpu);
        ((figure, cpu), loop_) = turn.await.unwrap();
        bare.add(figure, cpu);

        if let Some(cfssl) = &cfssl {
            let cpu = cfssl.cpu_seconds();
            let figure = each_once(CALLERS, &cfssl.target(), &to_cfssl, 200).await;
            theirs.add(figure, cfssl.cpu_seconds() - cpu);
        }
    }
    ours.print("server, over HTTPS, durable");
    bare.print("loop in one process, durable");
    if cfssl.is_some() {
        theirs.print("cfssl serve, over HTTP, keeps no record");
    }
    println!("server relative to the loop, median of {TURNS} turns (target >= 0.7): {:.2}", ours.ratio_to(&bare));
    if cfssl.is_some() {
        println!("server relative to cfssl: {:.2}", ours.ratio_to(&theirs));
    }
    spawn_blocking(move || drop(loop_)).await.unwrap();
    server.stop();
}

async fn key_pair(key: DeviceKeyType) -> KeyPair {
    let (private, _) = DeviceKeyGenerator::new(1, 1).generate(key).await.unwrap();
    KeyPair::from_pem(private.expose()).unwrap()
}

async fn signing_requests(key: DeviceKeyType) -> Vec<String> {
    let mut csrs = vec![];
    for _ in 0..CSRS {
        csrs.push(CertificateParams::default().serialize_request(&key_pair(key).await).unwrap().pem().unwrap());
    }
    csrs
}
