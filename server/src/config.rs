//! The configuration: defaults, then `signalbeam.toml`, then the environment, then flags.
//!
//! An unknown key is an error. So is one whose capability does not exist where somebody may rely on it; the others are
//! named in a warning: nothing is ignored in silence.

mod error;
mod layer;
mod rules;
mod sections;
pub(crate) mod surroundings;
mod values;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};

pub use error::{ConfigError, Problem, WithoutEffect};
use layer::Layer;
pub use sections::{
    AddressHeader, ApiKeyExpirationCheck, ApiKeyFallback, ApiKeyRetirement, Audit, Authentication, AzureKeyVault,
    CertificateAuthority, CertificateRenewal, ClientCertificateHeader, Config, DeviceKeyType, Durability, Est,
    Hierarchy, KeyStore, KeyType, Listener, Log, LogFormat, Mtls, Oidc, Pkcs11, Pki, Profile, Proxy, ProxyProtocol,
    RateLimit, Secret, Store, TenantBounds, Tenants, Tls, Validity,
};

/// The name of the file that is looked for where none is named.
pub const FILE_NAME: &str = "signalbeam.toml";

/// Sections whose rules hold several keys against each other: where one of them cannot be read, the others' complaints
/// would be about a default.
const INTERWOVEN: [&str; 10] = [
    "api_keys",
    "azure_key_vault",
    "ca",
    "certificates",
    "oidc",
    "pki",
    "profiles",
    "proxy",
    "registration_tokens",
    "tls",
];

/// What the command line decides.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--ops-listen`.
    pub ops_listen: Option<SocketAddr>,
    /// `--pki-listen`.
    pub pki_listen: Option<SocketAddr>,
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
        let (config, problems) = self.judge(|_| Vec::new())?;
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    /// As [`Self::load`], and looks whether the files and folders that are named exist, as a start does later.
    ///
    /// # Errors
    /// [`ConfigError`] with all that is wrong.
    pub fn check(&self) -> Result<Config, ConfigError> {
        let (config, problems) = self.judge(surroundings::missing)?;
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    fn judge(
        &self,
        more: impl FnOnce(&Config) -> Vec<(String, String, String)>,
    ) -> Result<(Config, Vec<Problem>), ConfigError> {
        let layers = self.layers()?;
        let mut problems: Vec<Problem> = layers.iter().flat_map(Layer::problems).collect();
        let values::Read { config, problems: unread, origins } = values::read(&layers);
        let is_consequence = |key: &str| {
            let section = |key: &str| key.split('.').next().map(str::to_owned);
            let of_same = |problem: &Problem| matches!(problem, Problem::InvalidValue { key: other, .. } if section(other) == section(key));
            INTERWOVEN.iter().any(|name| section(key).as_deref() == Some(name)) && unread.iter().any(of_same)
        };
        let broken: Vec<_> = rules::broken(&config).into_iter().chain(more(&config)).collect();
        let broken = broken.into_iter().filter(|(key, ..)| !is_consequence(key)).map(|(key, value, allowed)| {
            let origin = origins.get(&key).cloned().unwrap_or_else(|| "defaults".to_owned());
            Problem::InvalidValue { key, value, origin, allowed }
        });
        let broken: Vec<Problem> = broken.collect();
        problems.extend(unread);
        problems.extend(broken);
        Ok((config, problems))
    }
}

impl Sources {
    /// What is accepted and changes nothing, so that somebody can be told.
    ///
    /// # Errors
    /// [`ConfigError`] where the file cannot be read.
    pub fn warnings(&self) -> Result<Vec<String>, ConfigError> {
        let idle = self.without_effect()?.into_iter().map(|key| key.to_string());
        // What is wrong with the configuration is told elsewhere.
        let shared = self.load().map(|config| rules::urls_of_one_authority(&config.ca)).unwrap_or_default();
        Ok(idle.chain(layer::misspelt(&self.environment)).chain(shared).collect())
    }

    /// The keys that are accepted and change nothing.
    fn without_effect(&self) -> Result<Vec<WithoutEffect>, ConfigError> {
        Ok(self.layers()?.iter().flat_map(Layer::without_effect).collect())
    }

    fn layers(&self) -> Result<Vec<Layer>, ConfigError> {
        let mut layers: Vec<Layer> = self.file.as_deref().map(read_file).transpose()?.into_iter().collect();
        layers.extend(Layer::from_environment(self.environment.iter().cloned()));
        layers.extend(flag_layer("--listen", "listener", "address", self.flags.listen));
        layers.extend(flag_layer("--ops-listen", "listener", "ops_address", self.flags.ops_listen));
        layers.extend(flag_layer("--pki-listen", "pki", "listen", self.flags.pki_listen));
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

fn flag_layer(flag: &str, section: &str, key: &str, address: Option<SocketAddr>) -> Option<Layer> {
    let values = Dict::from([(key.to_owned(), Value::from(address?.to_string()))]);
    Some(Layer::new(flag, Dict::from([(section.to_owned(), Value::from(values))])))
}

#[cfg(test)]
mod tests;
