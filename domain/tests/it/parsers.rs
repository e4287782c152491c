//! Whatever strangers send: parsers refuse it or take it, and never panic. What is taken is written as it is read.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use signalbeam_domain::credential::{PREFIX_ALPHABET, RegistrationToken};
use signalbeam_domain::device::DeviceStatus;
use signalbeam_domain::{
    ActorKind, AdminTokenId, ApiKey, ApiKeyId, AuthorityId, Category, ClaimSecret, CorrelationId, Description,
    DeviceId, DeviceName, Digest, EventId, Fingerprint, Metadata, MetadataValue, Prefix, Reason, RegistrationTokenId,
    SerialNumber, StreamId, TenantId, Timestamp, ValidityBounds,
};
use uuid::Uuid;

/// Anything at all, and texts that come close to what is expected.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9a-fA-F:-]{0,100}",
        "(sbt_|sb_device_|sbc_)[0-9A-Za-z]{0,9}_?[0-9A-Za-z_-]{0,45}",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[+-][0-9]{2}:[0-9]{2})",
        "(device|api_key|certificate|registration_token|x)-?\\PC{0,40}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    ]
}

/// A value's text is read as the same value, by the parser and out of JSON.
fn round_trips<T, E>(value: &T, parse: impl Fn(&str) -> Result<T, E>) -> Result<(), TestCaseError>
where
    T: Debug + Display + PartialEq + Serialize + DeserializeOwned,
    E: Debug + PartialEq,
{
    prop_assert_eq!(&parse(&value.to_string()).unwrap(), value);
    let json = serde_json::to_value(value).unwrap();
    prop_assert_eq!(&json, &serde_json::Value::from(value.to_string()), "JSON has the same text");
    prop_assert_eq!(&serde_json::from_value::<T>(json).unwrap(), value);
    Ok(())
}

/// Where a text is taken, what it means round-trips, and JSON takes it too; where it is refused, so does JSON.
fn judges_alike<T, E>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<(), TestCaseError>
where
    T: Debug + Display + PartialEq + Serialize + DeserializeOwned,
    E: Debug + PartialEq,
{
    let from_json = serde_json::from_value::<T>(text.into()).ok();
    let parsed = parse(text).ok();
    prop_assert_eq!(&from_json, &parsed, "JSON and the parser disagree on {:?}", text);
    parsed.map_or(Ok(()), |value| round_trips(&value, parse))
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic_and_json_is_judged_alike(text in text()) {
        judges_alike(&text, TenantId::parse)?;
        judges_alike(&text, DeviceId::parse)?;
        judges_alike(&text, RegistrationTokenId::parse)?;
        judges_alike(&text, ApiKeyId::parse)?;
        judges_alike(&text, AuthorityId::parse)?;
        judges_alike(&text, EventId::parse)?;
        judges_alike(&text, SerialNumber::from_hex)?;
        judges_alike(&text, Fingerprint::parse)?;
        judges_alike(&text, Timestamp::parse)?;
        judges_alike(&text, Prefix::parse)?;
        judges_alike(&text, DeviceName::parse)?;
        judges_alike(&text, Reason::parse)?;
        judges_alike(&text, Description::parse)?;
    }

    #[test]
    fn no_text_makes_the_other_parsers_panic(text in text()) {
        let digest = serde_json::from_value::<Digest>(text.as_str().into()).ok();
        prop_assert_eq!(digest, Fingerprint::parse(&text).ok().map(|f| Digest(*f.as_octets())));
        prop_assert!(RegistrationToken::parse(&text).ok().is_none_or(|token| token.expose() == text));
        prop_assert!(ApiKey::parse(&text).ok().is_none_or(|key| key.expose() == text));
        prop_assert!(ClaimSecret::parse(&text).ok().is_none_or(|secret| secret.expose() == text));
        prop_assert!(StreamId::parse(&text).ok().is_none_or(|id| id.as_str() == text));
        prop_assert!(CorrelationId::parse(&text).is_none_or(|id| id.as_str() == text));
        prop_assert!(DeviceStatus::parse(&text).is_none_or(|status| status.as_str().eq_ignore_ascii_case(&text)));
        prop_assert!(ActorKind::parse(&text).is_none_or(|kind| kind.as_str() == text));
    }

    #[test]
    fn ids_round_trip(id in any::<u128>()) {
        let id = Uuid::from_u128(id);
        round_trips(&TenantId::from_uuid(id), TenantId::parse)?;
        round_trips(&DeviceId::from_uuid(id), DeviceId::parse)?;
        prop_assert_eq!(DeviceId::parse(&id.as_hyphenated().to_string().to_uppercase()).unwrap(), DeviceId::from_uuid(id));
        prop_assert!(DeviceId::parse(&id.as_simple().to_string()).is_err());
        prop_assert!(CorrelationId::parse(CorrelationId::from_uuid(id).as_str()).is_some());
    }

    #[test]
    fn serial_numbers_round_trip_and_are_positive(octets in any::<[u8; 20]>()) {
        let serial = SerialNumber::from_random(octets);
        prop_assert!((0x40..0x80).contains(&serial.as_octets()[0]), "positive, and 20 octets on the wire");
        prop_assert_eq!(SerialNumber::from_octets(*serial.as_octets()).unwrap(), serial);
        round_trips(&serial, SerialNumber::from_hex)?;
        let text = serial.to_string();
        prop_assert_eq!(text.len(), 40);
        prop_assert_eq!(SerialNumber::from_hex(&text.to_uppercase()).unwrap(), serial);
        let pairs: Vec<_> = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
        prop_assert_eq!(SerialNumber::from_hex(&pairs.join(":")).unwrap(), serial);
        prop_assert_eq!(SerialNumber::from_octets(octets).is_ok(), octets[0] < 0x80 && octets != [0; 20]);
    }

    #[test]
    fn fingerprints_round_trip(octets in any::<[u8; 32]>()) {
        let fingerprint = Fingerprint::from_digest(octets);
        round_trips(&fingerprint, Fingerprint::parse)?;
        prop_assert_eq!(fingerprint.to_string().len(), 7 + 64);
        let json = serde_json::to_value(Digest(octets)).unwrap();
        prop_assert_eq!(serde_json::from_value::<Digest>(json).unwrap(), Digest(octets));
    }

    #[test]
    fn moments_round_trip_and_sort_like_their_texts(one in any::<i64>(), other in any::<i64>()) {
        let (one, other) = (Timestamp::from_unix_microseconds(one), Timestamp::from_unix_microseconds(other));
        round_trips(&one, Timestamp::parse)?;
        prop_assert_eq!(Timestamp::from_offset_date_time(one.to_offset_date_time()), one);
        prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
        prop_assert!(one.to_whole_second() <= one);
        prop_assert_eq!(one.to_whole_second(), Timestamp::from_unix_seconds(one.unix_seconds()));
    }

    #[test]
    fn no_step_in_time_overflows(start in any::<i64>(), days in any::<i64>()) {
        let start = Timestamp::from_unix_microseconds(start);
        let moved = start.plus_days(days);
        prop_assert_eq!(moved.cmp(&start).is_lt(), days < 0 && moved != start);
        prop_assert!(moved.days_since(start).abs() <= 3_652_059.0, "within the years 1 to 9999");
        round_trips(&moved, Timestamp::parse)?;
    }

    #[test]
    fn credentials_round_trip(
        prefix in prop::collection::vec(prop::sample::select(PREFIX_ALPHABET.to_vec()), 8),
        secret in "[0-9A-Za-z_-]{42}[AEIMQUYcgkosw048]",
    ) {
        let prefix = String::from_utf8(prefix).unwrap();
        round_trips(&Prefix::parse(&prefix).unwrap(), Prefix::parse)?;
        let token = RegistrationToken::parse(&format!("sbt_{prefix}_{secret}")).unwrap();
        prop_assert_eq!(&token, &RegistrationToken::new(token.prefix(), &secret).unwrap());
        prop_assert_eq!(token.expose(), format!("sbt_{prefix}_{secret}"));
        let key = ApiKey::parse(&format!("sb_device_{prefix}_{secret}")).unwrap();
        prop_assert_eq!(&key, &ApiKey::new(key.prefix(), &secret).unwrap());
        prop_assert_eq!(key.prefix().to_string(), prefix);
        let claim = ClaimSecret::parse(&format!("sbc_{secret}")).unwrap();
        prop_assert_eq!(&claim, &ClaimSecret::new(&secret).unwrap());
        prop_assert_eq!(claim.expose(), format!("sbc_{secret}"));
    }

    #[test]
    fn texts_are_taken_within_their_bounds_and_on_one_line(text in any::<String>()) {
        let taken = DeviceName::parse(&text);
        prop_assert_eq!(&taken, &DeviceName::try_from(text.clone()));
        if let Ok(name) = taken {
            prop_assert_eq!(name.as_str(), &text);
            prop_assert!((1..=128).contains(&text.chars().count()));
            prop_assert!(!text.chars().any(char::is_control) && !text.trim().is_empty());
        }
    }

    #[test]
    fn metadata_that_was_taken_is_read_again(entries in prop::collection::btree_map("\\PC{0,8}", value(), 0..12)) {
        if let Ok(metadata) = Metadata::new(entries) {
            let json = serde_json::to_vec(&metadata).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Metadata>(&json).unwrap(), metadata);
        }
    }

    #[test]
    fn a_number_of_days_is_taken_within_its_bounds(days in prop_oneof![any::<i64>(), -2_i64..800]) {
        for (bounds, max) in [
            (ValidityBounds::REGISTRATION_TOKEN, 365),
            (ValidityBounds::API_KEY, 730),
            (ValidityBounds::CERTIFICATE, 397),
        ] {
            let taken = bounds.judge(Some(days)).ok().map(|days| i64::from(days.get()));
            prop_assert_eq!(taken, (1..=max).contains(&days).then_some(days));
        }
    }
}

/// Numbers of at most 15 significant digits: what every reader of JSON takes without rounding (RFC 8259, section 6).
fn decimal() -> impl Strategy<Value = f64> {
    let digits = 999_999_999_999_999_i64;
    (-digits..=digits, 0_i32..10).prop_map(|(digits, places)| format!("{digits}e-{places}").parse().unwrap())
}

/// JSON values as they come from outside: whole numbers, other numbers, texts, lists and objects.
fn value() -> impl Strategy<Value = MetadataValue> {
    let leaf = prop_oneof![
        Just(MetadataValue::Null),
        any::<bool>().prop_map(MetadataValue::Bool),
        any::<i64>().prop_map(MetadataValue::Integer),
        decimal().prop_map(MetadataValue::Number),
        any::<String>().prop_map(MetadataValue::Text),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(MetadataValue::List),
            prop::collection::btree_map("[a-z]{0,4}", inner, 0..6).prop_map(MetadataValue::Map),
        ]
    })
}

#[test]
fn every_stream_is_named_by_its_category_and_an_id() {
    let id = DeviceId::from_uuid(Uuid::from_u128(7));
    let prefix = Prefix::parse("a1B2c3D4").unwrap();
    let authority = AuthorityId::from_uuid(Uuid::from_u128(8));
    let first = EventId::from_uuid(Uuid::from_u128(9));
    let jti = AdminTokenId::parse("onrtac:7-x").unwrap();
    let streams = [
        (StreamId::device(id), Category::Device, id.to_string()),
        (StreamId::registration_token(prefix), Category::RegistrationToken, prefix.to_string()),
        (StreamId::api_keys(id), Category::ApiKey, id.to_string()),
        (StreamId::certificates(id), Category::Certificate, id.to_string()),
        (StreamId::certificate_authority(authority), Category::CertificateAuthority, authority.to_string()),
        (StreamId::event_log(first), Category::EventLog, first.to_string()),
        (StreamId::admin_token(&jti), Category::AdminToken, jti.to_string()),
        (StreamId::all_admin_tokens(), Category::AdminToken, "all".to_owned()),
        (StreamId::audit_segments("embedded"), Category::AuditSegment, "embedded".to_owned()),
    ];
    for (stream, category, id) in streams {
        assert_eq!((stream.category(), stream.id()), (category, id.as_str()));
        assert_eq!(StreamId::parse(stream.as_str()), Ok(stream.clone()));
        assert_eq!(stream.to_string(), format!("{}-{id}", category.as_str()));
    }
    for bad in ["", "device", "device-", "-x", "Device-x", "api-key-x"] {
        assert!(StreamId::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_correlation_id_has_1_to_128_harmless_characters() {
    for good in ["a", "A-Z_0.9", &"x".repeat(128)] {
        assert_eq!(CorrelationId::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "a b", "a\nb", "é", "a/b", &"x".repeat(129)] {
        assert_eq!(CorrelationId::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn bounds_of_ones_own_hold_their_default() {
    for (min, max, default) in [(0, 10, 5), (5, 10, 4), (5, 10, 11), (10, 5, 7)] {
        assert!(ValidityBounds::new(min, max, default).is_err(), "{min} {max} {default}");
    }
    assert_eq!(ValidityBounds::new(2, 4, 3).unwrap().judge(None).unwrap().get(), 3);
}

#[test]
fn deep_metadata_is_refused_before_it_hurts() {
    let json = format!(r#"{{"k":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    assert!(serde_json::from_str::<Metadata>(&json).is_err());
    let entries = BTreeMap::from([("k".to_owned(), MetadataValue::List(vec![MetadataValue::Null; 200]))]);
    assert!(Metadata::new(entries).is_err());
}
