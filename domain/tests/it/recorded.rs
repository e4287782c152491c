//! Events as they lie in the log: bytes of JSON, found again by type and schema version.

use signalbeam_domain::{Category, Event};

/// The category that a type string such as `certificate.issued` belongs to.
pub(crate) fn category(event_type: &str) -> Category {
    let (category, _) = event_type.split_once('.').expect("a type has a category");
    Category::ALL.into_iter().find(|known| known.as_str() == category).expect("a type has a known category")
}

pub(crate) fn encode(event: &Event) -> Vec<u8> {
    serde_json::to_vec(event).expect("every event has a JSON form")
}

#[track_caller]
pub(crate) fn decode(event_type: &str, schema_version: u16, payload: &[u8]) -> Event {
    let mut payload = serde_json::Deserializer::from_slice(payload);
    Event::decode(category(event_type), event_type, schema_version, &mut payload)
        .unwrap_or_else(|error| panic!("{event_type} in version {schema_version} no longer decodes: {error:?}"))
}
