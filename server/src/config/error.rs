//! What can be wrong with a configuration, said so that it can be put right.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong. No variant carries the value of a key that may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file that was named cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// Nothing is configured by this key.
    #[error("unknown key `{key}` in {origin}; did you mean `{nearest}`?")]
    UnknownKey {
        /// As `section.key`.
        key: String,
        /// The file or the variable.
        origin: String,
        /// The known key that resembles it most.
        nearest: String,
    },
    /// The key belongs to something that this version cannot do.
    #[error("`{key}` in {origin}: {capability} is not supported by this version; remove the key")]
    Unsupported {
        /// As `section.key`.
        key: String,
        /// The file or the variable.
        origin: String,
        /// What is missing.
        capability: &'static str,
    },
    /// The value is not one of those allowed.
    #[error("`{key}` is {value} ({origin}); allowed is {allowed}")]
    InvalidValue {
        /// As `section.key`.
        key: String,
        /// What stands there.
        value: String,
        /// The file or the variable.
        origin: String,
        /// What may stand there.
        allowed: String,
    },
}

/// A key that is accepted and changes nothing, because this version does not do yet what it is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` in {origin} has no effect: {capability} is not supported by this version")]
pub struct WithoutEffect {
    /// As `section.key`.
    pub key: String,
    /// The file or the variable.
    pub origin: String,
    /// What is missing.
    pub capability: &'static str,
}

/// Everything that is wrong with a configuration. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
