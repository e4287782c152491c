//! Values one by one: whether each can be read as what its key is, so that all that cannot are named at once.

use std::collections::BTreeMap;

use figment::Figment;
use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::Value;

use super::error::Problem;
use super::layer::{Layer, known_keys};
use super::rules::key_store::is_secret;
use super::sections::Config;

/// What came of reading the values.
pub(super) struct Read {
    /// The defaults, and every value that could be read.
    pub(super) config: Config,
    /// What could not.
    pub(super) problems: Vec<Problem>,
    /// Where each value is from.
    pub(super) origins: BTreeMap<String, String>,
}

/// Reads the value that each known key has in the last layer that names it.
pub(super) fn read(layers: &[Layer]) -> Read {
    let known = known_keys();
    let mut given: BTreeMap<String, Layer> = BTreeMap::new();
    for (key, layer) in layers.iter().flat_map(Layer::one_by_one) {
        given.insert(key, layer);
    }
    let origins = given.iter().map(|(key, layer)| (key.clone(), layer.origin().to_owned())).collect();
    let mut problems = Vec::new();
    let mut figment = defaults();
    for (key, layer) in given {
        let alike = Config::canonical(&key).map_or_else(|| key.clone(), |(_, alike)| alike);
        let Some(default) = known.get(&alike) else { continue };
        match defaults().merge(layer.clone()).extract::<Config>() {
            Ok(_) => figment = figment.merge(layer),
            Err(error) => problems.push(Problem::InvalidValue {
                value: match layer.value(&key) {
                    None => "not readable".to_owned(),
                    Some(_) if is_secret(&key) => "something else".to_owned(),
                    Some(value) => shown(&value),
                },
                origin: layer.origin().to_owned(),
                allowed: allowed(&alike, default, &error.kind),
                key,
            }),
        }
    }
    match figment.extract() {
        Ok(config) => Read { config, problems, origins },
        // Values that can be read one by one and not together: none of today's keys does that.
        Err(error) => {
            let key = error.path.join(".");
            let allowed = error.kind.to_string();
            let (value, origin) = ("not readable".to_owned(), "all sources together".to_owned());
            problems.push(Problem::InvalidValue { key, value, origin, allowed });
            Read { config: Config::default(), problems, origins }
        }
    }
}

fn defaults() -> Figment {
    Figment::from(Serialized::defaults(Config::default()))
}

/// As it stands in the file; for keys that hold no secret.
fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("`{text}`"),
        Value::Char(_, letter) => format!("`{letter}`"),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, number) => {
            let whole = number.to_i128().map(|number| number.to_string());
            whole.or_else(|| number.to_f64().map(|number| number.to_string())).unwrap_or_default()
        }
        Value::Array(_, items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Dict(..) => "a table".to_owned(),
        Value::Empty(..) => "empty".to_owned(),
    }
}

/// What may stand there, in the words of somebody who writes the file.
fn allowed(alike: &str, default: &Value, kind: &Kind) -> String {
    match (alike, kind) {
        (_, Kind::UnknownVariant(_, variants)) => return variants.join(", "),
        ("listener.address" | "listener.ops_address", _) => {
            return "an address and port such as 127.0.0.1:8443".to_owned();
        }
        ("proxy.trusted", Kind::Message(_)) => {
            return "address ranges such as 10.0.0.0/8; a single address ends with /32, or with /128 for IPv6"
                .to_owned();
        }
        _ => {}
    }
    match (default, kind) {
        (Value::Array(..), Kind::InvalidType(..)) => "a list; in the environment separated by commas".to_owned(),
        (Value::Bool(..), _) => "true or false".to_owned(),
        (Value::Num(..), Kind::InvalidType(..)) => "a whole number".to_owned(),
        (Value::Num(..), _) => match kind {
            Kind::InvalidValue(_, width) if width == "u8" => "a whole number from 0 to 255".to_owned(),
            Kind::InvalidValue(_, width) if width == "u16" => "a whole number from 0 to 65535".to_owned(),
            Kind::InvalidValue(_, width) if width == "u32" => "a whole number from 0 to 4294967295".to_owned(),
            _ => "a whole number, not below 0".to_owned(),
        },
        (_, Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected)) => match expected.as_str() {
            "a string" | "path string" | "string" => "a text in quotes".to_owned(),
            other => other.to_owned(),
        },
        (_, other) => other.to_string(),
    }
}
