//! What was recorded once is read for ever: a payload of every event and version that was ever written, byte by byte.
//!
//! `{type}.v{version}.json` has every optional field that the version was born with, `{type}.v{version}.minimal.json` has
//! none, `{type}.v{version}.{addition}.json` has those that an addition brought. The files are never edited: a payload
//! that gains optional fields gets a file beside the old ones, one that changes otherwise a new schema version too.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use signalbeam_domain::admin_token::{AdminTokenEvent, RevokedAdminTokens};
use signalbeam_domain::api_key::{ApiKeyEvent, ApiKeys};
use signalbeam_domain::audit_segment::{AuditSegmentEvent, AuditSegments};
use signalbeam_domain::authority::{Authority, AuthorityEvent, AuthorityStatus};
use signalbeam_domain::certificate::{CertificateEvent, Certificates, Standing};
use signalbeam_domain::device::{Device, DeviceEvent};
use signalbeam_domain::event::OtherCategory;
use signalbeam_domain::event_log::{EventLogEvent, RollbackCause};
use signalbeam_domain::registration_token::{RegistrationToken, RegistrationTokenEvent};
use signalbeam_domain::{AdminTokenId, Aggregate, Category, DecodeError, DeviceStatus, Event, Timestamp, TokenIssuer};

use crate::recorded::{category, decode, encode};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every golden payload by its file name, without the line break at its end.
fn payloads() -> BTreeMap<String, String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let payload = fs::read_to_string(path).unwrap();
            (name, payload.strip_suffix('\n').unwrap().to_owned())
        })
        .collect()
}

/// The type and the schema version that a file's name tells.
fn kind(file: &str) -> (&str, u16) {
    let (event_type, rest) = file.split_once(".v").unwrap();
    let (version, _) = rest.split_once('.').unwrap();
    (event_type, version.parse().unwrap())
}

/// Goldens with every optional field, decoded, in the order in which the aggregate declares them.
fn recorded<E: TryFrom<Event, Error = OtherCategory>>(kinds: &[(&str, u16)]) -> Vec<E> {
    let payloads = payloads();
    kinds
        .iter()
        .map(|(event_type, version)| {
            let event = decode(event_type, *version, payloads[&format!("{event_type}.v{version}.json")].as_bytes());
            E::try_from(event).unwrap()
        })
        .collect()
}

#[test]
fn every_event_has_a_golden_payload() {
    let payloads = payloads();
    let missing: Vec<_> = Event::kinds()
        .map(|(event_type, version)| format!("{event_type}.v{version}.json"))
        .filter(|file| !payloads.contains_key(file))
        .collect();
    assert!(missing.is_empty(), "no golden payload: {missing:?}");
}

#[test]
fn every_golden_payload_decodes() {
    for (file, payload) in payloads() {
        let (event_type, version) = kind(&file);
        assert_eq!(decode(event_type, version, payload.as_bytes()).event_type(), event_type, "{file}");
    }
}

#[test]
fn a_golden_payload_of_the_present_version_encodes_to_the_same_bytes() {
    let present: Vec<_> = Event::kinds().collect();
    for (file, payload) in payloads().iter().filter(|(file, _)| present.contains(&kind(file))) {
        let (event_type, version) = kind(file);
        let event = decode(event_type, version, payload.as_bytes());
        assert_eq!(event.schema_version(), version, "{file}");
        assert_eq!(String::from_utf8(encode(&event)).unwrap(), *payload, "{file}");
    }
}

#[test]
fn a_payload_is_read_only_as_what_its_envelope_says() {
    for (file, payload) in payloads() {
        let (event_type, version) = kind(&file);
        for other in Category::ALL.into_iter().filter(|other| *other != category(event_type)) {
            let mut payload = serde_json::Deserializer::from_str(&payload);
            let outcome = Event::decode(other, event_type, version, &mut payload);
            assert!(matches!(outcome, Err(DecodeError::UnknownType { .. })), "{file} as {}", other.as_str());
        }
    }
}

#[test]
fn an_event_of_a_newer_program_is_reported_and_not_guessed() {
    for (event_type, version) in Event::kinds() {
        let mut payload = serde_json::Deserializer::from_str("{}");
        let error = Event::decode(category(event_type), event_type, version + 1, &mut payload).unwrap_err();
        assert!(error.to_string().contains("this program is older than the log"), "{error}");
    }
    let mut payload = serde_json::Deserializer::from_str("{}");
    let error = Event::decode(Category::Device, "device.teleported", 1, &mut payload).unwrap_err();
    assert!(matches!(error, DecodeError::UnknownType { event_type, .. } if event_type == "device.teleported"));
}

#[test]
fn a_damaged_payload_is_reported_with_its_source() {
    let mut payload = serde_json::Deserializer::from_str(r#"{"apiKeyValidityDays":"many"}"#);
    let error = Event::decode(Category::Device, "device.approved", 1, &mut payload).unwrap_err();
    assert!(matches!(error, DecodeError::Payload { ref event_type, .. } if event_type == "device.approved"));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("many"));
}

#[test]
fn the_golden_events_of_a_device_fold() {
    let device = Device::fold(&recorded::<DeviceEvent>(DeviceEvent::KINDS));
    let device = device.known().unwrap();
    assert_eq!(device.status, DeviceStatus::Decommissioned);
    assert_eq!(device.registered.device_name.as_str(), "Lager Süd 2");
    assert_eq!(device.api_key_validity_days.unwrap().get(), 90);
    assert_eq!(device.allowed_networks.as_slice().len(), 2);
    assert_eq!(device.rejection_reason.as_ref().unwrap().as_str(), "unknown site");
}

#[test]
fn tags_are_read_where_they_were_recorded_and_absent_where_they_were_not() {
    let payloads = payloads();
    let event = |file: &str| decode(kind(file).0, 1, payloads[file].as_bytes());
    let tags_of = |files: [&str; 2]| {
        let events = files.map(|file| DeviceEvent::try_from(event(file)).unwrap());
        let device = Device::fold(&events);
        device.known().unwrap().registered.tags.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(tags_of(["device.registered.v1.json", "device.renamed.v1.json"]).is_empty());
    assert_eq!(tags_of(["device.registered.v1.tagged.json", "device.renamed.v1.json"]), ["Halle 3", "site:Süd"]);
    assert_eq!(tags_of(["device.registered.v1.tagged.json", "device.renamed.v1.tagged.json"]), ["Halle 4"]);
    let Ok(RegistrationTokenEvent::Consumed(consumed)) = event("registration_token.consumed.v1.tagged.json").try_into()
    else {
        panic!("a token's event")
    };
    assert_eq!(consumed.tags.iter().count(), 2);
}

#[test]
fn the_golden_events_of_a_registration_token_fold() {
    let events = recorded::<RegistrationTokenEvent>(RegistrationTokenEvent::KINDS);
    let used = RegistrationToken::fold(&events[..2]);
    assert_eq!(used.registration().unwrap().device_name.as_str(), "Lager Süd 1");
    let revoked = RegistrationToken::fold([&events[0], &events[2]]);
    assert_eq!(revoked.registration(), None);
    assert_eq!(revoked.issued().unwrap().prefix.as_str(), "a1B2c3D4");
}

#[test]
fn the_golden_events_of_the_api_keys_fold() {
    let keys = ApiKeys::fold(&recorded::<ApiKeyEvent>(ApiKeyEvent::KINDS));
    let [key] = keys.keys() else { panic!("one key: {keys:?}") };
    assert_eq!((key.is_used, key.is_revoked, key.noticed_days), (true, true, Some(7)));
    assert!(!keys.is_claimable());
}

#[test]
fn the_golden_events_of_the_certificates_fold() {
    let events = recorded::<CertificateEvent>(CertificateEvent::KINDS);
    let imported = |event: &CertificateEvent| matches!(event, CertificateEvent::Imported(_));
    let foreign = Certificates::fold(events.iter().filter(|event| imported(event)));
    assert!(foreign.active().unwrap().is_imported);
    let set = Certificates::fold(events.iter().filter(|event| !imported(event)));
    let [certificate] = set.issued() else { panic!("one certificate: {set:?}") };
    assert_eq!((certificate.standing, certificate.is_used), (Standing::Revoked, true));
    assert_eq!(certificate.noticed_days, Some(14));
    assert_eq!(set.open_intents(), []);
}

#[test]
fn the_golden_events_of_a_certificate_authority_fold() {
    use AuthorityStatus::{Active, Prepared, Retired, Rotated};
    let events = recorded::<AuthorityEvent>(AuthorityEvent::KINDS);
    let statuses: Vec<_> = (1..=events.len()).map(|n| Authority::fold(&events[..n]).status().unwrap()).collect();
    let wanted = [Prepared, Active, Rotated, Retired, Retired, Retired];
    assert_eq!(statuses, wanted, "the last ones are a certificate of our own and lists");
    let (last, _) = Authority::fold(&events).crls().last().cloned().unwrap();
    assert_eq!((last.number, last.complete.entries, last.delta.signature.0), (1_769_860_800, 7, vec![0xf0, 0xcd]));
}

#[test]
fn the_golden_event_of_the_event_log_tells_where_it_went_back() {
    let [EventLogEvent::RollbackAcknowledged(acknowledged)] = &recorded::<EventLogEvent>(EventLogEvent::KINDS)[..]
    else {
        panic!("one event")
    };
    assert_eq!((acknowledged.cause, acknowledged.cause.as_str()), (RollbackCause::Behind, "behind"));
    assert_eq!((acknowledged.witnessed_position.unwrap().0, acknowledged.found_position.0), (1042, 977));
}

#[test]
fn the_golden_events_of_admin_tokens_fold() {
    let revoked = RevokedAdminTokens::fold(&recorded::<AdminTokenEvent>(AdminTokenEvent::KINDS));
    let jti = AdminTokenId::parse("018f3c5e-7b1a-7cc2-9d3e-0000000000a1").unwrap();
    assert!(revoked.has(&TokenIssuer::built_in(), &jti));
    assert_eq!(revoked.issued_before(), Some(Timestamp::parse("2026-01-31T12:00:00Z").unwrap()));
}

#[test]
fn the_golden_events_of_an_authentication_logs_segments_fold() {
    let segments = AuditSegments::fold(&recorded::<AuditSegmentEvent>(AuditSegmentEvent::KINDS));
    let [segment] = segments.sealed() else { panic!("one segment: {segments:?}") };
    assert_eq!((segment.day.to_string().as_str(), segment.count), ("2026-01-31", 10));
    assert_eq!((segments.last_row(), segments.dropped_through()), (20, 20));
}
