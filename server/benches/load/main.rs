//! The load figures: starts the real server and measures it over the wire, each figure beside what it is compared with in
//! the same run.
//!
//! `cargo bench -p signalbeam-server --bench load -- [PART ...] [SECONDS]`. Without a part, all of [`PARTS`]. The seconds
//! are for the long phases (60 by default) and, where they are fewer than 10, for the others too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod cfssl;
mod client;
mod crl;
mod flood;
mod in_process;
mod issuance;
mod ocsp;
mod paced;
mod phases;
mod report;
mod requests;
mod server;
mod server_keys;
mod world;

use std::time::Duration;

const PARTS: [&str; 5] = ["requests", "issuance", "server-keys", "ocsp", "crl"];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (seconds, chosen): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| argument.parse::<u64>().is_ok());
    let long = Duration::from_secs(seconds.first().map_or(60, |seconds| seconds.parse().unwrap()));
    let short = long.min(Duration::from_secs(10));
    if let Some(unknown) = chosen.iter().find(|part| !PARTS.contains(&part.as_str())) {
        panic!("there is no part `{unknown}`, but {PARTS:?}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        for part in PARTS.iter().filter(|part| chosen.is_empty() || chosen.iter().any(|name| name == *part)) {
            match *part {
                "requests" => requests::measure(long, short).await,
                "issuance" => issuance::measure().await,
                "server-keys" => server_keys::measure(short).await,
                "ocsp" => ocsp::measure(short).await,
                _ => crl::measure().await,
            }
        }
    });
}
