//! The configuration: defaults, then `signalbeam.toml`, then the environment, then flags.
//!
//! An unknown key is an error. So is one whose capability does not exist where somebody may rely on it; the others are
//! named in a warning: nothing is ignored in silence.

mod error;
mod layer;
mod rules;
mod sections;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};

pub use error::{ConfigError, Problem, WithoutEffect};
use layer::Layer;
pub use sections::{
    AddressHeader, ApiKeyExpirationCheck, ApiKeyFallback, ApiKeyRetirement, Audit, Authentication,
    CertificateAuthority, CertificateRenewal, ClientCertificateHeader, Config, Durability, Hierarchy, KeyStore,
    KeyType, Listener, Log, LogFormat, Mtls, Oidc, Proxy, ProxyProtocol, RateLimit, Store, TenantBounds, Tenants, Tls,
    Validity,
};

/// The name of the file that is looked for where none is named.
pub const FILE_NAME: &str = "signalbeam.toml";

/// What the command line decides.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--ops-listen`.
    pub ops_listen: Option<SocketAddr>,
}

/// Where a configuration is read from, kept for reading it again.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The file; `None` where there is none.
    pub file: Option<PathBuf>,
    /// The environment's variables.
    pub environment: Vec<(String, String)>,
    /// The command line's flags.
    pub flags: Flags,
}

impl Sources {
    /// The file named, else `./signalbeam.toml`, else that of the data directory; with this process's environment.
    pub fn find(file: Option<PathBuf>, data_dir: &Path, flags: Flags) -> Self {
        let file = file.or_else(|| {
            [PathBuf::from(FILE_NAME), data_dir.join(FILE_NAME)].into_iter().find(|candidate| candidate.exists())
        });
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .collect();
        Self { file, environment, flags }
    }

    /// Reads and judges everything.
    ///
    /// # Errors
    /// [`ConfigError`] with all that is wrong.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let layers = self.layers()?;
        let problems: Vec<Problem> = layers.iter().flat_map(Layer::problems).collect();
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let defaults = Figment::from(Serialized::defaults(Config::default()));
        let figment = layers.into_iter().fold(defaults, Figment::merge);
        let config: Config = figment.extract().map_err(|error| ConfigError(value_problems(error)))?;
        let problems: Vec<Problem> = rules::broken(&config)
            .into_iter()
            .map(|(key, value, allowed)| {
                let origin = figment.find_metadata(key).map_or("defaults".to_owned(), |found| found.name.to_string());
                Problem::InvalidValue { key: key.to_owned(), value, origin, allowed }
            })
            .collect();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }
}

impl Sources {
    /// The keys that are accepted and change nothing, so that somebody can be told.
    ///
    /// # Errors
    /// [`ConfigError`] where the file cannot be read.
    pub fn without_effect(&self) -> Result<Vec<WithoutEffect>, ConfigError> {
        Ok(self.layers()?.iter().flat_map(Layer::without_effect).collect())
    }

    fn layers(&self) -> Result<Vec<Layer>, ConfigError> {
        let mut layers: Vec<Layer> = self.file.as_deref().map(read_file).transpose()?.into_iter().collect();
        layers.extend(Layer::from_environment(self.environment.iter().cloned()));
        layers.extend(flag_layer("--listen", "address", self.flags.listen));
        layers.extend(flag_layer("--ops-listen", "ops_address", self.flags.ops_listen));
        Ok(layers)
    }
}

fn read_file(path: &Path) -> Result<Layer, ConfigError> {
    let unreadable = |error: io::Error| Problem::Unreadable { path: path.to_owned(), reason: error.to_string() };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let values: Dict = Toml::from_str(&text)
        .map_err(|error| Problem::Syntax { path: path.to_owned(), reason: error.to_string().trim_end().to_owned() })?;
    Ok(Layer::new(path.display().to_string(), values))
}

fn flag_layer(flag: &str, key: &str, address: Option<SocketAddr>) -> Option<Layer> {
    let section = Dict::from([(key.to_owned(), Value::from(address?.to_string()))]);
    Some(Layer::new(flag, Dict::from([("listener".to_owned(), Value::from(section))])))
}

/// Says what figment found wrong in terms of the configuration. Values appear only for keys that hold no secret, which
/// today are all.
fn value_problems(error: figment::Error) -> Vec<Problem> {
    error
        .into_iter()
        .map(|error| {
            let (value, allowed) = match &error.kind {
                Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
                    (actual.to_string(), expected.clone())
                }
                Kind::UnknownVariant(variant, allowed) => (format!("`{variant}`"), allowed.join(", ")),
                other => ("not readable".to_owned(), other.to_string()),
            };
            let origin = error.metadata.as_ref().map_or("defaults".to_owned(), |found| found.name.to_string());
            Problem::InvalidValue { key: error.path.join("."), value, origin, allowed }
        })
        .collect()
}

#[cfg(test)]
mod tests;
