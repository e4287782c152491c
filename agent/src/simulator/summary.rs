//! The end of a fleet's run: what was measured, and whether everything held.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::simulator::histogram::{Histogram, as_f64};
use crate::simulator::operations::Validation;
use crate::simulator::plan::FleetPlan;
use crate::simulator::record::{Kind, Record, Tally};

const LEAST_AUTHENTICATED: f64 = 0.999;
const LEAST_RENEWED: f64 = 0.95;
const LONGEST_MEAN_ISSUANCE: Duration = Duration::from_secs(5);
const LONGEST_VALIDATION_P99: Duration = Duration::from_millis(100);

/// A figure that has a target.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// What it is.
    pub name: &'static str,
    /// How many observations it rests on.
    pub samples: u64,
    /// The figure, for people.
    pub value: String,
    /// The target, for people.
    pub target: &'static str,
    /// Whether it is met.
    pub met: bool,
}

/// A phase of the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phase {
    /// How long it took.
    pub took: Duration,
    /// How many requests it made.
    pub requests: u64,
}

impl Phase {
    fn per_second(self) -> f64 {
        as_f64(self.requests) / self.took.as_secs_f64().max(0.001)
    }

    fn json(self) -> Value {
        json!({
            "seconds": rounded(self.took.as_secs_f64()),
            "requests": self.requests,
            "requestsPerSecond": rounded(self.per_second()),
        })
    }
}

/// Everything that a run came to.
#[derive(Debug)]
pub struct Summary<'a> {
    /// What was to be done.
    pub plan: &'a FleetPlan,
    /// Where the draws began.
    pub seed: u64,
    /// How many devices came to their first heartbeat.
    pub enrolled: usize,
    /// The first phase.
    pub enrolment: Phase,
    /// The second.
    pub scenario: Phase,
    /// What was seen.
    pub record: Record,
    /// The server's view of the validation of certificates, if it was asked.
    pub validation: Option<Validation>,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
}

impl Summary<'_> {
    /// Whether everything that had to hold did.
    pub fn held(&self) -> bool {
        self.record.violation_count == 0 && self.metrics().iter().all(|metric| metric.met)
    }

    /// The figures that the product promises; those without a sample are left out.
    pub fn metrics(&self) -> Vec<Metric> {
        let Tally { certificate_attempts, certificate_accepted, renewals, renewals_succeeded, .. } = self.record.tally;
        let rate = |name, samples: u64, good: u64, least: f64, target| {
            let share = as_f64(good) / as_f64(samples.max(1));
            Metric { name, samples, value: format!("{:.3} %", share * 100.0), target, met: share > least }
        };
        let span = |name, samples, took: Duration, most: Duration, target| Metric {
            name,
            samples,
            value: milliseconds(took),
            target,
            met: took < most,
        };
        let issuance = &self.record.issuance;
        let mut metrics = vec![
            rate(
                "certificate authentication success rate",
                certificate_attempts,
                certificate_accepted,
                LEAST_AUTHENTICATED,
                "> 99.9 %",
            ),
            rate("certificate renewal success rate", renewals, renewals_succeeded, LEAST_RENEWED, "> 95 %"),
            span(
                "mean time to certificate issuance",
                issuance.count(),
                issuance.mean(),
                LONGEST_MEAN_ISSUANCE,
                "< 5 s",
            ),
        ];
        if let Some((validation, p99)) =
            self.validation.as_ref().and_then(|all| all.quantile(0.99).map(|p99| (all, p99)))
        {
            // A count of requests: whole and small enough.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let samples = validation.count() as u64;
            let name = "certificate validation latency p99 (server)";
            metrics.push(span(name, samples, p99, LONGEST_VALIDATION_P99, "< 100 ms"));
        }
        metrics.retain(|metric| metric.samples > 0);
        metrics
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        let latencies: Map<_, _> = self
            .latencies()
            .map(|(kind, latency)| {
                let [p50, p99] = [0.5, 0.99].map(|share| rounded(latency.quantile(share).as_secs_f64() * 1000.0));
                let max = rounded(latency.max().as_secs_f64() * 1000.0);
                (kind.as_str().to_owned(), json!({"count": latency.count(), "p50Ms": p50, "p99Ms": p99, "maxMs": max}))
            })
            .collect();
        json!({
            "scenario": self.plan.scenario.as_str(),
            "devices": self.plan.devices,
            "enrolled": self.enrolled,
            "seed": self.seed,
            "interrupted": self.interrupted,
            "enrolment": self.enrolment.json(),
            "run": self.scenario.json(),
            "latencies": latencies,
            "errors": counted(self.record.errors()),
            "expectedRefusals": counted(self.record.expected_refusals()),
            "counts": counts(&self.record.tally),
            "metrics": self.metrics(),
            "violations": self.record.violations,
            "violationCount": self.record.violation_count,
            "held": self.held(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}: {} of {} devices enrolled, seed {}{}\n",
            self.plan.scenario.as_str(),
            self.enrolled,
            self.plan.devices,
            self.seed,
            if self.interrupted { " (stopped before its end)" } else { "" },
        );
        // Writing to a String cannot fail.
        for (name, phase) in [("enrolment", self.enrolment), ("scenario", self.scenario)] {
            let Phase { took, requests } = phase;
            let _ = writeln!(
                text,
                "  {name:<10} {:>9.1} s  {requests:>8} requests  {:>9.1} a second",
                took.as_secs_f64(),
                phase.per_second(),
            );
        }
        let _ = writeln!(text, "\n  {:<26}{:>9}{:>13}{:>13}{:>13}", "request", "count", "p50", "p99", "max");
        for (kind, latency) in self.latencies() {
            let [p50, p99] = [0.5, 0.99].map(|share| milliseconds(latency.quantile(share)));
            let max = milliseconds(latency.max());
            let _ = writeln!(text, "  {:<26}{:>9}{p50:>13}{p99:>13}{max:>13}", kind.as_str(), latency.count());
        }
        text.push('\n');
        list(&mut text, "errors by request and code", self.record.errors());
        list(&mut text, "refusals that were due", self.record.expected_refusals());
        let counts: Vec<_> = counts(&self.record.tally)
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let _ = writeln!(text, "  counts: {}\n", counts.join(", "));
        for Metric { name, samples, value, target, met } in self.metrics() {
            let sign = if met { "✅" } else { "❌" };
            let _ = writeln!(text, "  {sign} {name}: {value} (target {target}, {samples} samples)");
        }
        for violation in &self.record.violations {
            let _ = writeln!(text, "  ❌ {}", crate::output::printable(violation));
        }
        let _ = write!(text, "  {} violations of what had to hold", self.record.violation_count);
        text
    }

    fn latencies(&self) -> impl Iterator<Item = (Kind, &Histogram)> {
        Kind::ALL.into_iter().filter_map(|kind| self.record.latency(kind).map(|latency| (kind, latency)))
    }
}

fn counted<'a>(entries: impl Iterator<Item = (Kind, &'a str, u64)>) -> Vec<Value> {
    entries.map(|(kind, code, count)| json!({"request": kind.as_str(), "code": code, "count": count})).collect()
}

fn list<'a>(text: &mut String, title: &str, entries: impl Iterator<Item = (Kind, &'a str, u64)>) {
    let mut none = true;
    // Writing to a String cannot fail.
    let _ = write!(text, "  {title}:");
    for (kind, code, count) in entries {
        none = false;
        let _ = write!(text, "\n    {:<26}{code} {count}", kind.as_str());
    }
    text.push_str(if none { " none\n" } else { "\n" });
}

fn counts(tally: &Tally) -> std::collections::BTreeMap<&'static str, u64> {
    [
        ("certificateAttempts", tally.certificate_attempts),
        ("certificateAccepted", tally.certificate_accepted),
        ("renewals", tally.renewals),
        ("renewalsSucceeded", tally.renewals_succeeded),
        ("refusalsDue", tally.refusals_due),
        ("refused", tally.refused),
        ("revoked", tally.revoked),
        ("fellBackToApiKey", tally.fell_back),
        ("replaced", tally.replaced),
        ("connectionsCut", tally.cut),
        ("restarts", tally.restarts),
        ("answersLost", tally.answers_lost),
        ("repeated", tally.repeated),
    ]
    .into()
}

fn milliseconds(took: Duration) -> String {
    format!("{:.2} ms", took.as_secs_f64() * 1000.0)
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::simulator::cli::Cli;
    use crate::simulator::plan::Plan;
    use crate::simulator::record::Recorder;

    fn plan() -> FleetPlan {
        let line = ["signalbeam-simulator", "--device-manager-url", "https://localhost", "--admin-token", "a.b.c"];
        match Plan::of(Cli::try_parse_from(line.into_iter().chain(["--devices", "8"])).unwrap()) {
            Ok(Plan::Fleet(plan)) => plan,
            other => panic!("{other:?}"),
        }
    }

    fn summary<'a>(plan: &'a FleetPlan, recorder: &Recorder) -> Summary<'a> {
        Summary {
            plan,
            seed: 1,
            enrolled: 8,
            enrolment: Phase::default(),
            scenario: Phase { took: Duration::from_secs(2), requests: 100 },
            record: recorder.snapshot(),
            validation: None,
            interrupted: false,
        }
    }

    #[test]
    fn a_run_without_faults_holds_and_says_so_in_both_forms() {
        let (plan, recorder) = (plan(), Recorder::default());
        recorder.request::<()>(Kind::Heartbeat, Duration::from_millis(3), &Ok(()));
        recorder.count(|tally| (tally.certificate_attempts, tally.certificate_accepted) = (1000, 1000));
        let summary = summary(&plan, &recorder);
        assert!(summary.held());
        assert_eq!(summary.metrics().len(), 1, "what was not observed is no figure");
        let json = summary.json();
        assert_eq!((&json["held"], &json["run"]["requestsPerSecond"]), (&json!(true), &json!(50.0)));
        assert_eq!(json["latencies"]["heartbeat"]["p99Ms"], 3.0);
        assert!(summary.text().contains("100.000 %"), "{}", summary.text());
    }

    #[test]
    fn a_missed_target_and_a_violation_each_fail_the_run() {
        let (plan, recorder) = (plan(), Recorder::default());
        recorder.count(|tally| (tally.certificate_attempts, tally.certificate_accepted) = (1000, 999));
        assert!(!summary(&plan, &recorder).held(), "99.9 % is not more than 99.9 %");
        recorder.count(|tally| (tally.certificate_attempts, tally.certificate_accepted) = (10_000, 9_999));
        assert!(summary(&plan, &recorder).held());
        recorder.count(|tally| (tally.renewals, tally.renewals_succeeded) = (100, 95));
        assert!(!summary(&plan, &recorder).held());
        recorder.count(|tally| tally.renewals_succeeded = 96);
        recorder.violation("a revoked certificate was accepted".to_owned());
        let failed = summary(&plan, &recorder);
        assert!(!failed.held());
        assert!(failed.text().contains("❌ a revoked certificate was accepted"), "{}", failed.text());
    }

    #[test]
    fn slow_issuance_fails_the_run() {
        let (plan, recorder) = (plan(), Recorder::default());
        recorder.issuance(Duration::from_millis(4999));
        assert!(summary(&plan, &recorder).held());
        recorder.issuance(Duration::from_millis(5001));
        assert!(!summary(&plan, &recorder).held(), "the mean is 5 s");
    }
}
