//! The event log, what has seen it, what is derived from it, and the authentication log.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use signalbeam_domain::{Position, Timestamp};
use signalbeam_event_store::audit::segments::verify;
use signalbeam_event_store::sqlite::copy::{LogCheckError, audit_tail, check_events};
use signalbeam_event_store::{EventReader, Recorded, SqliteAuditReader, SqliteEventReader};
use signalbeam_projections::{ReadError, ReadModel, Tables};

use super::{Check, Subject, in_words};
use crate::backup::progress::readable_size;
use crate::cli::audit::extent;
use crate::config::surroundings::folder_of;
use crate::rollback::acknowledgement::Acknowledgement;
use crate::rollback::witness::WITNESS_FILE;
use crate::rollback::{Rollback, detect, evidence};
use crate::serve::{AUDIT_FILE, EVENTS_FILE, PROJECTIONS_FILE};

const EVENT_LOG: &str = "event-log";
const CLOCK: &str = "clock";
const ROLLBACK: &str = "rollback";
const WITNESS: &str = "witness";
const PROJECTIONS: &str = "projections";
const EXPIRING_CERTIFICATES: &str = "expiring-certificates";
const EXPIRING_API_KEYS: &str = "expiring-api-keys";
const AUTHENTICATION_LOG: &str = "authentication-log";

/// How many of the newest events are checked where not all are.
const SPOT_CHECK: u64 = 1_000;
/// How far the clock may be behind the newest event: beyond an hour the server issues nothing.
const BEHIND_WARNING_SECONDS: f64 = 5.0;
const BEHIND_ERROR_SECONDS: f64 = 3_600.0;
/// A log that has been silent for so long looks like a clock that has jumped ahead.
const AHEAD_WARNING_DAYS: f64 = 366.0;
/// So far behind the log the tables may be for a moment under load, but not for long.
const LAG_WARNING_EVENTS: u64 = 10_000;
/// Within so many days expiring credentials are pointed out.
const EXPIRY_WARNING_DAYS: u16 = 7;
/// From here on the authentication log is worth a thought.
const AUTHENTICATION_LOG_WARNING_BYTES: u64 = 10 << 30;

pub(super) async fn checks(subject: &Subject<'_>) -> Vec<Check> {
    let mut checks = match SqliteEventReader::open_at_rest(subject.data_dir.join(EVENTS_FILE)).await {
        Ok(log) => {
            let checks = of_log(subject, &log).await;
            log.close().await;
            checks
        }
        Err(error) => {
            let action = "restore the data directory from a backup (`signalbeam restore`)";
            let skipped = [CLOCK, ROLLBACK, PROJECTIONS].map(|id| Check::skipped(id, "the event log cannot be read"));
            let mut checks = vec![Check::error(EVENT_LOG, in_words(&error), action)];
            checks.extend(skipped);
            checks
        }
    };
    checks.push(witness(subject));
    checks.extend(expiring(subject).await);
    checks.push(authentication_log(subject).await);
    checks
}

async fn of_log(subject: &Subject<'_>, log: &SqliteEventReader) -> Vec<Check> {
    let newest = newest_checked(subject, log).await;
    let clock = match &newest {
        Ok((_, Some(newest))) => clock(subject.now, newest.envelope.recorded_at),
        _ => Check::skipped(CLOCK, "there is no newest event to compare it with"),
    };
    let event_log = match newest {
        Ok((head, _)) => {
            let extent = if subject.deep {
                "every event agrees with its hash"
            } else {
                "the newest events agree with their hashes"
            };
            Check::ok(EVENT_LOG, format!("ends at position {head}; {extent}"))
        }
        Err(error) => {
            let action =
                "keep the file as evidence, and restore the data directory from a backup (`signalbeam restore`)";
            Check::error(EVENT_LOG, in_words(&error), action)
        }
    };
    vec![event_log, clock, rollback(subject, log).await, projections(subject, log).await]
}

async fn newest_checked(
    subject: &Subject<'_>,
    log: &SqliteEventReader,
) -> Result<(Position, Option<Recorded>), LogCheckError> {
    let head = log.head().await?;
    let after = if subject.deep { 0 } else { head.0.saturating_sub(SPOT_CHECK) };
    Ok((head, check_events(log, Position(after), head, |_| {}).await?))
}

fn clock(now: Timestamp, newest: Timestamp) -> Check {
    let seconds_ahead = now.days_since(newest) * 86_400.0;
    let action = "set the clock of this machine, and keep it in time (NTP)";
    if seconds_ahead < -BEHIND_ERROR_SECONDS {
        let message = format!("the clock is behind the newest event, of {newest}: nothing is issued");
        return Check::error(CLOCK, message, action);
    }
    if seconds_ahead < -BEHIND_WARNING_SECONDS {
        return Check::warning(CLOCK, format!("the clock is behind the newest event, of {newest}"), action);
    }
    if seconds_ahead > AHEAD_WARNING_DAYS * 86_400.0 {
        let message = format!("the newest event is of {newest}, more than a year ago: has the clock jumped ahead?");
        return Check::warning(CLOCK, message, action);
    }
    Check::ok(CLOCK, "the clock is not behind the event log")
}

fn witness_files(subject: &Subject<'_>) -> Vec<PathBuf> {
    let second = subject.config.as_ref().ok().and_then(|config| config.store.witness_file.clone());
    [subject.data_dir.join(WITNESS_FILE)].into_iter().chain(second).collect()
}

async fn rollback(subject: &Subject<'_>, log: &SqliteEventReader) -> Check {
    let noted = match Rollback::read(subject.data_dir) {
        Ok(noted) => noted,
        Err(error) => return Check::error(ROLLBACK, in_words(&error), "restore the file, or the whole directory"),
    };
    let found = match noted {
        Some(noted) => Some(noted),
        None => match detect(&evidence(subject.data_dir, &witness_files(subject)).await, log, subject.now).await {
            Ok(found) => found,
            Err(error) => return Check::skipped(ROLLBACK, in_words(&error)),
        },
    };
    match found {
        None => Check::ok(ROLLBACK, "the log agrees with everything that has seen it"),
        Some(found) => {
            if let Ok(Some(said)) = Acknowledgement::read(subject.data_dir, &found) {
                let (what, who) = (found.describe(), said.operator);
                let message = format!("{what}; acknowledged by {who}, which takes effect at the next start");
                return Check::warning(ROLLBACK, message, "start the server");
            }
            let message = format!("{}; no device is let in until that is acknowledged", found.describe());
            let action = format!("apply again what was lost, then run `{}`", found.command(subject.data_dir));
            Check::error(ROLLBACK, message, action)
        }
    }
}

fn witness(subject: &Subject<'_>) -> Check {
    let files = witness_files(subject);
    if let Some(folder) = files.get(1).map(|second| folder_of(second)).filter(|folder| !folder.is_dir()) {
        let message = format!("the folder {} of store.witness_file does not exist: no server starts", folder.display());
        return Check::error(WITNESS, message, "mount the volume, or take store.witness_file out");
    }
    let missing: Vec<String> =
        files.iter().filter(|path| !path.exists()).map(|path| path.display().to_string()).collect();
    if !missing.is_empty() {
        if let Ok(Some(_)) = Rollback::read(subject.data_dir) {
            let names = missing.join(", ");
            return Check::ok(WITNESS, format!("made anew once it is acknowledged that the log went back: {names}"));
        }
        let action = "a server makes it anew; find out who removed it, or whether a volume is not mounted";
        return Check::warning(WITNESS, format!("missing: {}", missing.join(", ")), action);
    }
    let device = |path: &Path| fs::metadata(path).map(|file| file.dev()).ok();
    match files.get(1) {
        None => Check::ok(WITNESS, "the witness is there (store.witness_file would add one on other storage)"),
        Some(second) if device(second) == device(subject.data_dir) => {
            let message = format!("{} lies on the same file system as the data directory", second.display());
            Check::warning(WITNESS, message, "put store.witness_file on other storage, or it goes back with the rest")
        }
        Some(_) => Check::ok(WITNESS, "both witnesses are there, on different storage"),
    }
}

async fn projections(subject: &Subject<'_>, log: &SqliteEventReader) -> Check {
    let path = subject.data_dir.join(PROJECTIONS_FILE);
    let rebuilt = "nothing needs to be done: the next start of the server rebuilds it from the event log";
    if !path.exists() {
        return Check::warning(PROJECTIONS, format!("{} is missing", path.display()), rebuilt);
    }
    let reached = async {
        let (tables, is_fit) = Tables::peek(&path).await.map_err(|error| in_words(&error))?;
        let checkpoint = tables.checkpoint().await.map_err(|error| in_words(&error));
        tables.close().await;
        Ok::<_, String>((checkpoint?.position, is_fit))
    };
    let head = log.head().await.map_err(|error| in_words(&error));
    match (reached.await, head) {
        (Err(error), _) => Check::warning(PROJECTIONS, error, rebuilt),
        (_, Err(error)) => Check::skipped(PROJECTIONS, error),
        (Ok((_, false)), _) => {
            Check::warning(PROJECTIONS, format!("{} is of another version", path.display()), rebuilt)
        }
        (Ok((reached, true)), Ok(head)) => {
            let lag = head.0.saturating_sub(reached.0);
            let message = format!("at position {reached} of {head}");
            if lag > LAG_WARNING_EVENTS {
                let action = format!(
                    "look into the server's log; `signalbeam projections rebuild directory --data-dir {}` makes them anew",
                    subject.data_dir.display()
                );
                return Check::warning(PROJECTIONS, format!("{message}: {lag} events behind"), action);
            }
            Check::ok(PROJECTIONS, message)
        }
    }
}

async fn expiring(subject: &Subject<'_>) -> [Check; 2] {
    let ids = [EXPIRING_CERTIFICATES, EXPIRING_API_KEYS];
    let unreadable = || ids.map(|id| Check::skipped(id, "the projections cannot be read"));
    let Ok((tables, true)) = Tables::peek(&subject.data_dir.join(PROJECTIONS_FILE)).await else { return unreadable() };
    let counted = count_expiring(&ReadModel::new(tables.clone()), subject.now).await;
    tables.close().await;
    let Ok((certificates, api_keys)) = counted else { return unreadable() };
    [
        expiring_check(ids[0], "certificates", certificates, "GET /api/certificates?expiringWithinDays=7"),
        expiring_check(ids[1], "API keys", api_keys, "GET /api/devices"),
    ]
}

async fn count_expiring(tables: &ReadModel, now: Timestamp) -> Result<(u64, u64), ReadError> {
    const MANY: usize = 1_000;
    let certificates = tables.certificates_expiring(now, &[EXPIRY_WARNING_DAYS]).await?;
    let end = now.plus_days(i64::from(EXPIRY_WARNING_DAYS));
    // Nobody has been told of the end of a key that has not ended: all count.
    let api_keys = tables.api_keys_expiring(now, end, 0, None, MANY).await?;
    Ok((certificates.first().map_or(0, |(_, count)| *count), api_keys.items.len() as u64))
}

fn expiring_check(id: &'static str, what: &str, count: u64, list: &str) -> Check {
    if count == 0 {
        return Check::ok(id, format!("no {what} expire within {EXPIRY_WARNING_DAYS} days"));
    }
    let action = format!("see that these devices are online and renew; {list} lists them");
    Check::warning(id, format!("{count} {what} expire within {EXPIRY_WARNING_DAYS} days"), action)
}

async fn authentication_log(subject: &Subject<'_>) -> Check {
    let path = subject.data_dir.join(AUDIT_FILE);
    let bytes = fs::metadata(&path).map_or(0, |file| file.len());
    match audit_tail(&path, subject.deep).await {
        Err(error) => Check::error(
            AUTHENTICATION_LOG,
            in_words(&error),
            "restore it from a backup; without it no device is let in",
        ),
        Ok(tail) if subject.deep => {
            let found = held_against_seals(subject.data_dir, tail.map_or(0, |tail| tail.row)).await;
            let action = "keep both databases as evidence; `signalbeam audit verify` says what each day is";
            found.map_or_else(
                |error| Check::error(AUTHENTICATION_LOG, error, action),
                |found| Check::ok(AUTHENTICATION_LOG, format!("{found}, {}", readable_size(bytes))),
            )
        }
        Ok(_) if bytes > AUTHENTICATION_LOG_WARNING_BYTES => {
            let action = "set audit.retention_days, where older attempts may be forgotten";
            Check::warning(AUTHENTICATION_LOG, format!("it has grown to {}", readable_size(bytes)), action)
        }
        Ok(tail) => {
            let rows = tail.map_or(0, |tail| tail.row);
            Check::ok(AUTHENTICATION_LOG, format!("{rows} rows were written, {}", readable_size(bytes)))
        }
    }
}

/// What `signalbeam audit verify` finds: how much is as it was sealed, or which days are not.
async fn held_against_seals(data_dir: &Path, last_row: i64) -> Result<String, String> {
    let events = SqliteEventReader::open_at_rest(data_dir.join(EVENTS_FILE)).await.map_err(|error| in_words(&error))?;
    let audit = SqliteAuditReader::open_at_rest(data_dir.join(AUDIT_FILE)).await.map_err(|error| in_words(&error))?;
    let verdicts = verify(&events, &audit).await.map_err(|error| in_words(&error));
    events.close().await;
    audit.close().await;
    let verdicts = verdicts?;
    let bad = verdicts.iter().filter(|(_, verdict)| !verdict.is_good());
    let bad: Vec<String> = bad.map(|(segment, _)| segment.day.to_string()).collect();
    if bad.is_empty() {
        Ok(extent(&verdicts, last_row))
    } else {
        Err(format!("not what was sealed: {}", bad.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn a_clock_that_is_behind_the_log_or_far_ahead_of_it_is_found() {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        for (newest, status) in [
            (now, Status::Ok),
            (now.plus_seconds(4), Status::Ok),
            (now.plus_seconds(60), Status::Warning),
            (now.plus_seconds(7_200), Status::Error),
            (now.plus_days(-300), Status::Ok),
            (now.plus_days(-400), Status::Warning),
        ] {
            assert_eq!(clock(now, newest).status, status, "{newest}");
        }
    }
}
