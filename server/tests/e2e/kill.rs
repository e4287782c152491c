//! `kill -9` at any instant loses nothing that was acknowledged, and leaves nothing half done.
//!
//! Devices live their lives from several threads while the server is killed again and again. Each life knows what was
//! acknowledged to it and which step was under way; after every restart that is held against the event log and the API, and
//! the lives go on where they were.

mod life;
mod scenario;

use std::collections::HashMap;

use serde_json::Value;

use crate::server::{Server, Site, remove_projections};
use crate::walk::{beat, certified};
use crate::{client::Client, proxy::Proxy};
use life::Life;
use scenario::{Dice, kill_under_load};

const ROUNDS: usize = 10;
const SEED: u64 = 0x5EED_51C7_A1BE_A300;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_half_done_counts_however_often_the_server_is_killed() {
    eprintln!("seed {SEED:#x}");
    let site = Site::new();
    let mut dice = Dice::new(SEED);
    let mut server = site.start();
    let ca = site.ca_pem();
    let admin_token = site.admin_token(&[]);
    let proxy = Proxy::to(server.address);
    let agent = certified(&server, &server.admin(), &proxy.url());
    let mut lives: Vec<Life> = Vec::new();

    for round in 0..ROUNDS {
        lives = kill_under_load(server, &admin_token, lives, &mut dice);
        if round % 3 == 2 {
            remove_projections(&site.data_dir());
        }
        server = site.start();
        assert_eq!(site.ca_pem(), ca, "round {round}");
        proxy.redirect(server.address);
        assert_eq!(beat(&agent)["authenticationMethod"], "Certificate", "round {round}");
        let log = Log::read(&site);
        let admin = server.anonymous().bearer(&admin_token);
        for life in &lives {
            log.must_hold(life);
            check_over_api(life, &server, &admin);
        }
    }
    let finished = lives.iter().filter(|life| life.is_over()).count();
    eprintln!("{} lives, {finished} finished, {} events", lives.len(), site.export().len());
    assert!(finished > ROUNDS, "too little happened: {finished} of {} lives", lives.len());
    server.stop();
}

/// The exported event log, by type and by what each event is about.
struct Log(HashMap<(String, String), usize>);

impl Log {
    /// Reads it, and checks what holds of any log that nobody is writing to.
    fn read(site: &Site) -> Self {
        let events = site.export();
        for (event, position) in events.iter().zip(1_u64..) {
            assert_eq!(event["position"], position, "positions are dense");
        }
        let mut counts = HashMap::new();
        for event in &events {
            let kind = event["type"].as_str().unwrap().to_owned();
            *counts.entry((kind, subject(event))).or_default() += 1;
        }
        let log = Self(counts);
        for (kind, serial) in log.0.keys().filter(|(kind, _)| kind == "certificate.intended") {
            let ends = log.count("certificate.issued", serial) + log.count("certificate.abandoned", serial);
            assert_eq!(ends, 1, "{kind} {serial} must have come to one end");
        }
        for (_, device) in log.0.keys().filter(|(kind, _)| kind == "registration_token.consumed") {
            assert_eq!(log.count("device.registered", device), 1, "a consumed token without its device {device}");
        }
        log
    }

    fn count(&self, kind: &str, subject: &str) -> usize {
        self.0.get(&(kind.to_owned(), subject.to_owned())).copied().unwrap_or_default()
    }

    /// Everything that was acknowledged to a life, once.
    fn must_hold(&self, life: &Life) {
        for (kind, subject) in life.acknowledged() {
            assert_eq!(self.count(kind, &subject), 1, "{kind} {subject} was acknowledged: {life:?}");
        }
    }
}

/// What an event is about: a certificate, a token or a device.
fn subject(event: &Value) -> String {
    let data = &event["data"];
    let stream = event["stream"].as_str().unwrap();
    let id = ["serialNumber", "tokenId", "keyId", "deviceId"].iter().find_map(|name| data[name].as_str());
    id.map_or_else(|| stream.split_once('-').unwrap().1.to_owned(), str::to_owned)
}

fn check_over_api(life: &Life, server: &Server<'_>, admin: &Client) {
    let Some(device) = life.device() else { return };
    let known = admin.get(&format!("/api/devices/{}", device.id)).expect(200);
    assert!(life.may_have_status(known["status"].as_str().unwrap()), "{known} {life:?}");
    let certificates = device.certificates(admin);
    let active: Vec<_> = certificates.iter().filter(|one| one["status"] == "active").collect();
    assert!(active.len() <= 1, "{active:?}");
    life.check_credentials(server);
    let log = device.log(admin);
    for correlation_id in life.heartbeats() {
        let is_there = log.iter().any(|row| row["correlationId"] == correlation_id.as_str() && row["success"] == true);
        assert!(is_there, "the heartbeat {correlation_id} was acknowledged: {life:?}");
    }
}
