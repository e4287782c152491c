//! The certificate authorities that the log knows, their revocation lists, and the profiles that devices have.

use std::fs;
use std::path::{Path, PathBuf};

use signalbeam_domain::authority::{Authority, AuthorityStatus};
use signalbeam_domain::{StreamId, Timestamp};
use signalbeam_event_store::{LoadError, SqliteEventReader, load};
use signalbeam_projections::authorities::{KnownAuthority, known_authorities};
use signalbeam_projections::{ReadModel, Tables};

use super::{Check, Subject, in_words};
use crate::config::KeyStore;
use crate::profiles::configured;
use crate::serve::{AUTHORITY_FOLDER, EVENTS_FILE, PROJECTIONS_FILE};
use crate::server_certificate::read_pair;

const TRUSTED_AUTHORITIES: &str = "trusted-authorities";
const REVOCATION_LISTS: &str = "revocation-lists";
const PROFILES: &str = "profiles-in-use";

/// A successor must be prepared and trusted by every device before the end.
const WARNING_DAYS: i64 = 90;

pub(super) async fn checks(subject: &Subject<'_>) -> Vec<Check> {
    let mut checks = match SqliteEventReader::open_at_rest(subject.data_dir.join(EVENTS_FILE)).await {
        Ok(log) => {
            let checks = of_log(subject, &log).await;
            log.close().await;
            checks
        }
        Err(_) => unreadable(),
    };
    checks.push(profiles(subject).await);
    checks
}

fn unreadable() -> Vec<Check> {
    [TRUSTED_AUTHORITIES, REVOCATION_LISTS].map(|id| Check::skipped(id, "the event log cannot be read")).into()
}

async fn of_log(subject: &Subject<'_>, log: &SqliteEventReader) -> Vec<Check> {
    let Ok(mut trusted) = known_authorities(log).await else { return unreadable() };
    trusted.retain(|one| one.status != AuthorityStatus::Retired);
    let lists = lists(subject.now, log, &trusted).await;
    let lists = lists
        .unwrap_or_else(|error| Check::error(REVOCATION_LISTS, in_words(&error), "run `signalbeam doctor --deep`"));
    vec![authorities(subject, &trusted), lists]
}

/// Each holds for long enough, and its key is there where keys are files.
fn authorities(subject: &Subject<'_>, trusted: &[KnownAuthority]) -> Check {
    let (mut broken, mut ending) = (Vec::new(), Vec::new());
    for one in trusted {
        let end = one.created.not_after;
        match subject.now.days_since(end) {
            days if days >= 0.0 => broken.push(format!("{} has expired on {end}", one.created.subject)),
            days if -days < f64::from(i32::try_from(WARNING_DAYS).unwrap_or_default()) => {
                ending.push(format!("{} ends on {end}", one.created.subject));
            }
            _ => {}
        }
        broken.extend(faulty_key(subject, one));
    }
    let action =
        "prepare a new authority while devices can still learn to trust it (`POST /api/certificate-authorities`)";
    if !broken.is_empty() {
        let action = "restore the keys from a backup; retire what has expired once another authority signs";
        return Check::error(TRUSTED_AUTHORITIES, broken.join("; "), action);
    }
    if !ending.is_empty() {
        return Check::warning(TRUSTED_AUTHORITIES, ending.join("; "), action);
    }
    Check::ok(TRUSTED_AUTHORITIES, format!("{} are trusted, and each holds for long enough", trusted.len()))
}

/// What is wrong with an authority's key. In a token or a vault, or encrypted, it is for a running server to tell.
fn faulty_key(subject: &Subject<'_>, one: &KnownAuthority) -> Option<String> {
    if !subject.config.as_ref().is_ok_and(|config| config.ca.key_store == KeyStore::File) {
        return None;
    }
    let folder = folder_of(subject.data_dir, one);
    let (certificate, key) = (folder.join("ca-cert.pem"), folder.join("ca-key.pem"));
    let text = zeroize::Zeroizing::new(fs::read_to_string(&key).unwrap_or_default());
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return None;
    }
    let error = read_pair(&certificate, &key).err()?;
    Some(format!("the key of {}: {}", one.created.subject, in_words(&error)))
}

fn folder_of(data_dir: &Path, one: &KnownAuthority) -> PathBuf {
    let folder = data_dir.join(AUTHORITY_FOLDER);
    one.created.key_slot.as_ref().map_or_else(|| folder.clone(), |slot| folder.join(slot))
}

/// A running server publishes long before a list ends.
async fn lists(now: Timestamp, log: &SqliteEventReader, trusted: &[KnownAuthority]) -> Result<Check, LoadError> {
    let mut ended = Vec::new();
    for one in trusted.iter().filter(|one| one.created.not_after > now) {
        let (authority, _) = load::<Authority>(log, &StreamId::certificate_authority(one.created.authority_id)).await?;
        match authority.crls().last() {
            Some((last, _)) if last.next_update > now => {}
            Some((last, _)) => ended.push(format!("that of {} ended on {}", one.created.subject, last.next_update)),
            None => ended.push(format!("{} has published none", one.created.subject)),
        }
    }
    if ended.is_empty() {
        return Ok(Check::ok(REVOCATION_LISTS, "every authority's revocation list holds"));
    }
    let action = "start the server: it publishes at once; where one runs, its log says why it cannot sign";
    Ok(Check::warning(REVOCATION_LISTS, format!("relying parties refuse old lists: {}", ended.join("; ")), action))
}

async fn profiles(subject: &Subject<'_>) -> Check {
    let Ok(Ok(configured)) = subject.config.as_ref().map(configured) else {
        return Check::skipped(PROFILES, "the configuration has errors");
    };
    let Ok((tables, true)) = Tables::peek(&subject.data_dir.join(PROJECTIONS_FILE)).await else {
        return Check::skipped(PROFILES, "the projections cannot be read");
    };
    let in_use = ReadModel::new(tables.clone()).devices_by_profile().await;
    tables.close().await;
    let Ok(in_use) = in_use else { return Check::skipped(PROFILES, "the projections cannot be read") };
    let missing: Vec<_> = in_use
        .iter()
        .filter(|(profile, _)| configured.get(profile.as_str()).is_none())
        .map(|(profile, devices)| format!("{profile} ({devices} devices)"))
        .collect();
    if missing.is_empty() {
        return Check::ok(PROFILES, "every profile that devices have is configured");
    }
    let action = "configure them again, or give the devices another profile: their certificates cannot be renewed";
    Check::warning(PROFILES, format!("not configured: {}", missing.join(", ")), action)
}
