//! What a run saw: latencies by kind of request, errors by code, and what had to hold.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::simulator::histogram::Histogram;
use crate::transport::CallError;

/// How many violations are kept word by word.
const KEPT_VIOLATIONS: usize = 20;

/// The kinds of requests that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An administrator makes a registration token.
    Token,
    /// A device registers.
    Register,
    /// An administrator approves.
    Approve,
    /// A device claims its API key.
    Claim,
    /// A device asks for a certificate.
    Issue,
    /// A heartbeat by certificate on a connection that is open already.
    Heartbeat,
    /// A heartbeat by certificate with the connection that it opens.
    HeartbeatNewConnection,
    /// A heartbeat by API key, with the connection that it opens.
    HeartbeatByApiKey,
    /// A device renews its certificate.
    Renew,
    /// A device asks where it stands.
    Status,
    /// An administrator revokes a certificate.
    Revoke,
}

impl Kind {
    /// All of them, in the order of a device's life.
    pub const ALL: [Self; 11] = [
        Self::Token,
        Self::Register,
        Self::Approve,
        Self::Claim,
        Self::Issue,
        Self::Heartbeat,
        Self::HeartbeatNewConnection,
        Self::HeartbeatByApiKey,
        Self::Renew,
        Self::Status,
        Self::Revoke,
    ];

    /// The name in the summary.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Register => "register",
            Self::Approve => "approve",
            Self::Claim => "claim",
            Self::Issue => "issue",
            Self::Heartbeat => "heartbeat",
            Self::HeartbeatNewConnection => "heartbeat, new connection",
            Self::HeartbeatByApiKey => "heartbeat by API key",
            Self::Renew => "renew",
            Self::Status => "status",
            Self::Revoke => "revoke",
        }
    }
}

/// Things that are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests by a certificate that was in force.
    pub certificate_attempts: u64,
    /// Those of them that were accepted.
    pub certificate_accepted: u64,
    /// Renewals begun, repetitions of the same one not counted.
    pub renewals: u64,
    /// Those of them that gave a certificate.
    pub renewals_succeeded: u64,
    /// Requests by a certificate that was not in force any more, each of which had to be refused.
    pub refusals_due: u64,
    /// Those of them that were refused.
    pub refused: u64,
    /// Certificates that an administrator revoked.
    pub revoked: u64,
    /// Devices that then used their API key.
    pub fell_back: u64,
    /// Devices that then got a new certificate.
    pub replaced: u64,
    /// Connections that the simulator closed.
    pub cut: u64,
    /// Restarts that the simulator played.
    pub restarts: u64,
    /// Answers that the simulator did not read.
    pub answers_lost: u64,
    /// Requests that were repeated because the first attempt failed.
    pub repeated: u64,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    latencies: BTreeMap<Kind, Histogram>,
    errors: BTreeMap<(Kind, String), u64>,
    expected_refusals: BTreeMap<(Kind, String), u64>,
    /// Time from asking for a certificate, its key included, to having it.
    pub issuance: Histogram,
    /// The counts.
    pub tally: Tally,
    /// What had to hold and did not; the first of them.
    pub violations: Vec<String>,
    /// How many there are.
    pub violation_count: u64,
}

impl Record {
    /// The latencies of the requests of a kind that were answered; nothing where there was none.
    pub fn latency(&self, kind: Kind) -> Option<&Histogram> {
        self.latencies.get(&kind)
    }

    /// How many requests were answered or failed.
    pub fn requests(&self) -> u64 {
        self.latencies.values().map(Histogram::count).sum()
    }

    /// Errors by kind of request and code, without the refusals that were due.
    pub fn errors(&self) -> impl Iterator<Item = (Kind, &str, u64)> {
        by_kind_and_code(&self.errors)
    }

    /// Refusals that were due, by kind of request and code.
    pub fn expected_refusals(&self) -> impl Iterator<Item = (Kind, &str, u64)> {
        by_kind_and_code(&self.expected_refusals)
    }
}

fn by_kind_and_code(counts: &BTreeMap<(Kind, String), u64>) -> impl Iterator<Item = (Kind, &str, u64)> {
    counts.iter().filter(|(_, count)| **count > 0).map(|((kind, code), count)| (*kind, code.as_str(), *count))
}

/// A record that many threads write to.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Record>);

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request that took so long, and how it ended.
    pub fn request<T>(&self, kind: Kind, took: Duration, outcome: &Result<T, CallError>) {
        let mut record = self.lock();
        record.latencies.entry(kind).or_default().record(took);
        if let Err(error) = outcome {
            *record.errors.entry((kind, error.code().to_owned())).or_default() += 1;
        }
    }

    /// A refusal that [`Self::request`] took for an error was due.
    pub fn was_due(&self, kind: Kind, code: &str) {
        let mut record = self.lock();
        let key = (kind, code.to_owned());
        if let Some(count) = record.errors.get_mut(&key).filter(|count| **count > 0) {
            *count -= 1;
            *record.expected_refusals.entry(key).or_default() += 1;
        }
    }

    /// How long a device took to come by a certificate.
    pub fn issuance(&self, took: Duration) {
        self.lock().issuance.record(took);
    }

    /// Counts.
    pub fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.lock().tally);
    }

    /// Something that had to hold did not.
    pub fn violation(&self, what: String) {
        let mut record = self.lock();
        record.violation_count += 1;
        if record.violations.len() < KEPT_VIOLATIONS {
            record.violations.push(what);
        }
    }

    /// What was seen so far.
    pub fn snapshot(&self) -> Record {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_errors_and_violations_are_counted_and_the_words_bounded() {
        let recorder = Recorder::default();
        let server: crate::server_url::ServerUrl = "https://localhost".parse().unwrap();
        let lost = CallError::AnswerLost { server, reason: "reset".to_owned() };
        recorder.request(Kind::Claim, Duration::from_millis(2), &Ok(()));
        recorder.request::<()>(Kind::Claim, Duration::from_millis(4), &Err(lost));
        recorder.was_due(Kind::Renew, "ANSWER_LOST");
        (0..50).for_each(|number| recorder.violation(format!("device {number}")));
        recorder.count(|tally| tally.cut += 1);
        let record = recorder.snapshot();
        assert_eq!(record.requests(), 2);
        assert_eq!(record.errors().collect::<Vec<_>>(), [(Kind::Claim, "ANSWER_LOST", 1)]);
        assert_eq!(record.expected_refusals().count(), 0, "there was no such refusal");
        recorder.was_due(Kind::Claim, "ANSWER_LOST");
        let excused = recorder.snapshot();
        assert_eq!(excused.expected_refusals().collect::<Vec<_>>(), [(Kind::Claim, "ANSWER_LOST", 1)]);
        assert_eq!(excused.errors().count(), 0);
        assert_eq!(record.latency(Kind::Claim).unwrap().max(), Duration::from_millis(4));
        assert!(record.latency(Kind::Renew).is_none());
        assert_eq!((record.violation_count, record.violations.len(), record.tally.cut), (50, KEPT_VIOLATIONS, 1));
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
    }
}
