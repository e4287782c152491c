//! Where values come from: the file, the environment, the flags; each judged key by key before they are merged.

use std::collections::BTreeMap;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use signalbeam_domain::ProfileName;

use super::error::{Problem, WithoutEffect};
use super::sections::{Config, Tenants};

/// Everything that `SIGNALBEAM__SECTION__KEY` starts with.
const ENVIRONMENT_PREFIX: &str = "SIGNALBEAM__";

/// Keys (or whole sections) that belong to what this version cannot do, and whose absence somebody may rely on: they are
/// refused.
const UNSUPPORTED: &[(&str, &str)] =
    &[("nats", "publishing to NATS"), ("pki", "a plain HTTP listener for CRL and OCSP")];

/// Keys (or whole sections) that belong to what this version does not do yet. A server without it is no different from one
/// that has never heard of the key, so a configuration that is ahead of its server still starts, with a warning.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("certificate_renewal.enabled", "the monitor of certificates' expiry"),
    ("certificate_renewal.check_interval_hours", "the monitor of certificates' expiry"),
    ("certificate_renewal.expiration_warning_days", "the monitor of certificates' expiry"),
];

/// Variables of this program that are no settings.
const OTHER_VARIABLES: [&str; 2] = ["SIGNALBEAM_CONFIG", "SIGNALBEAM_DATA_DIR"];

/// Values from one place.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// The place, as errors name it.
    origin: String,
    values: Dict,
}

impl Layer {
    /// Values that were read elsewhere.
    pub(super) fn new(origin: impl Into<String>, mut values: Dict) -> Self {
        if let Some(Value::Dict(_, tenants)) = values.get_mut("tenants") {
            let names: Vec<String> = tenants.keys().cloned().collect();
            for name in names {
                let canonical = Tenants::canonical_name(&name).filter(|canonical| !tenants.contains_key(canonical));
                if let Some((canonical, own)) =
                    canonical.and_then(|canonical| Some((canonical, tenants.remove(&name)?)))
                {
                    tenants.insert(canonical, own);
                }
            }
        }
        Self { origin: origin.into(), values }
    }

    /// The place, as errors name it.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// A layer for each key.
    pub(super) fn one_by_one(&self) -> Vec<(String, Self)> {
        let mut keys = BTreeMap::new();
        flatten(&self.values, "", &mut keys);
        let alone = keys.into_iter().map(|(key, value)| {
            let values = figment::util::nest(&key, value).into_dict().unwrap_or_default();
            (key, Self { origin: self.origin.clone(), values })
        });
        alone.collect()
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &str) -> Option<Value> {
        let mut keys = BTreeMap::new();
        flatten(&self.values, "", &mut keys);
        keys.remove(key)
    }

    /// The environment's, a layer for each variable, so that errors can name it. Lists are comma-separated.
    pub(super) fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Self> {
        let known = known_keys();
        let mut layers: Vec<Self> = variables
            .into_iter()
            .filter_map(|(name, text)| {
                let key = name.strip_prefix(ENVIRONMENT_PREFIX)?.replace("__", ".").to_ascii_lowercase();
                let (key, alike) = Config::canonical(&key).unwrap_or_else(|| (key.clone(), key));
                let value = read_text(&text, known.get(&alike));
                Some(Self::new(name, figment::util::nest(&key, value).into_dict().unwrap_or_default()))
            })
            .collect();
        layers.sort_by(|a, b| a.origin.cmp(&b.origin));
        layers
    }

    /// Judges every key of the layer.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let known = known_keys();
        let is_known = |key: &String| match Config::canonical(key) {
            // In a file a UUID has its one form.
            Some((canonical, alike)) => canonical == *key && known.contains_key(&alike),
            None => known.contains_key(key),
        };
        let unknown = self.keys().into_iter().filter(|key| !is_known(key));
        let refused = unknown.filter(|key| listed(key, WITHOUT_EFFECT).is_none());
        refused.map(|key| self.judge_unknown(key, known.keys())).collect()
    }

    /// The keys of the layer that are accepted and change nothing.
    pub(super) fn without_effect(&self) -> Vec<WithoutEffect> {
        let known = known_keys();
        let unknown = self.keys().into_iter().filter(|key| !known.contains_key(key));
        let idle = unknown.filter_map(|key| {
            let capability = listed(&key, WITHOUT_EFFECT)?;
            Some(WithoutEffect { key, origin: self.origin.clone(), capability })
        });
        idle.collect()
    }

    fn keys(&self) -> Vec<String> {
        let mut keys = BTreeMap::new();
        flatten(&self.values, "", &mut keys);
        keys.into_keys().collect()
    }

    fn judge_unknown<'a>(&self, key: String, known: impl Iterator<Item = &'a String>) -> Problem {
        let origin = self.origin.clone();
        if let Some(capability) = listed(&key, UNSUPPORTED) {
            return Problem::Unsupported { key, origin, capability };
        }
        if let Some((_, alike)) = Config::canonical(&key) {
            // What is known of every such thing, under the name of this one.
            let (named, every) = (of_one(&key), of_one(&alike));
            let own = known.filter_map(|known| known.strip_prefix(every)?.strip_prefix('.'));
            let wanted = alike.strip_prefix(every).unwrap_or_default();
            let nearest = own.min_by_key(|own| strsim::damerau_levenshtein(own, wanted.trim_start_matches('.')));
            let nearest = format!("{named}.{}", nearest.unwrap_or_default());
            return Problem::UnknownKey { key, origin, nearest };
        }
        let announced = UNSUPPORTED.iter().chain(WITHOUT_EFFECT).map(|(prefix, _)| *prefix);
        let nearest = known.map(String::as_str).chain(announced);
        let nearest = nearest.min_by_key(|candidate| strsim::damerau_levenshtein(candidate, &key));
        let nearest = nearest.unwrap_or_default().to_owned();
        Problem::UnknownKey { key, origin, nearest }
    }
}

/// The tenant or the profile that a key is of: `section.name`.
fn of_one(key: &str) -> &str {
    let end = key.match_indices('.').nth(1).map_or(key.len(), |(at, _)| at);
    &key[..end]
}

/// Variables that look like settings and are none, because section and key are joined by one underscore.
pub(super) fn misspelt(environment: &[(String, String)]) -> impl Iterator<Item = String> {
    let known = known_keys();
    environment.iter().map(|(name, _)| name).filter_map(move |name| {
        let rest = name.strip_prefix("SIGNALBEAM_")?;
        if name.starts_with(ENVIRONMENT_PREFIX) || OTHER_VARIABLES.contains(&name.as_str()) {
            return None;
        }
        let flat = rest.replace("__", "_").to_ascii_lowercase();
        let key = known.keys().find(|key| key.replace('.', "_") == flat)?;
        let right = format!("{ENVIRONMENT_PREFIX}{}", key.replace('.', "__").to_ascii_uppercase());
        Some(format!("`{name}` has no effect: `{key}` is set by `{right}`, with two underscores"))
    })
}

/// What a key, or the section that it is under, belongs to.
fn listed(key: &str, list: &[(&'static str, &'static str)]) -> Option<&'static str> {
    let is_under = |prefix: &str| key == prefix || key.strip_prefix(prefix).is_some_and(|r| r.starts_with('.'));
    list.iter().find(|(prefix, _)| is_under(prefix)).map(|(_, capability)| *capability)
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// Reads a variable's text as what its key's default is: a list, a text, or whatever the text looks like.
fn read_text(text: &str, default: Option<&Value>) -> Value {
    match default {
        Some(Value::Array(..)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::from(items.map(Value::from).collect::<Vec<_>>())
        }
        Some(Value::Bool(..) | Value::Num(..)) => text.trim().parse().unwrap_or_else(|_| Value::from(text)),
        _ => Value::from(text),
    }
}

/// Every key that there is, as `section.key`, with a value of its kind: single tenants' by the name of `tenants.default`,
/// profiles' by that of `profiles.device`.
pub(super) fn known_keys() -> BTreeMap<String, Value> {
    let mut keys = flatten_config(&Config::of_every_key());
    let (profile, empty) = (format!("profiles.{}", ProfileName::DEVICE), Value::from(Dict::new()));
    keys.insert(profile, empty);
    keys
}

/// Every key of a configuration, as `section.key`, with its value.
pub(super) fn flatten_config(config: &Config) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    // Serialising into memory cannot fail for plain data; an empty map would make every key unknown, never accepted.
    if let Ok(Value::Dict(_, dict)) = Value::serialize(config) {
        flatten(&dict, "", &mut keys);
    }
    keys
}

/// Lays tables out flat. An empty table stands for itself, so that a misspelt empty section is found too.
fn flatten(dict: &Dict, prefix: &str, into: &mut BTreeMap<String, Value>) {
    for (name, value) in dict {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => flatten(inner, &key, into),
            Value::Dict(..) if prefix.is_empty() && is_section(name) => {}
            _ => {
                into.insert(key, value.clone());
            }
        }
    }
}

/// Whether the configuration has a section of this name.
fn is_section(name: &str) -> bool {
    matches!(Value::serialize(Config::default()), Ok(Value::Dict(_, dict)) if dict.contains_key(name))
}
