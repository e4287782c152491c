//! What the server says: on standard error, for people or as JSON, at a level that can change while running.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// Changes the level.
#[derive(Debug, Clone)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is no filter.
    #[error("`{0}` is not a log level or filter")]
    Level(String),
    /// Something else logs already.
    #[error("logging is set up already")]
    Installed(#[from] TryInitError),
    /// Logging has ended.
    #[error("the log level cannot be changed")]
    Gone(#[from] reload::Error),
}

/// Begins logging, for the whole process.
///
/// # Errors
/// [`LogError`] where the level is no filter or something else logs already.
pub fn begin(log: &Log) -> Result<LogControl, LogError> {
    let (filter, handle) = reload::Layer::new(filter(log)?);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(io::stderr().is_terminal());
    match log.format {
        LogFormat::Human => registry.with(lines).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(LogControl(handle))
}

impl LogControl {
    /// Takes the level from a configuration that was read again.
    ///
    /// # Errors
    /// [`LogError`]; the level stays as it was then.
    pub fn set_level(&self, log: &Log) -> Result<(), LogError> {
        Ok(self.0.reload(filter(log)?)?)
    }
}

/// What a peer can make a library say as often as it likes is kept out, unless the filter names the library: a line for
/// each connection that breaks off would let strangers fill the disk. Metrics count such connections.
const QUIET: [&str; 3] = ["rustls", "h2", "hyper"];

fn filter(log: &Log) -> Result<EnvFilter, LogError> {
    let quiet = QUIET.into_iter().filter(|library| !log.level.contains(library));
    let directives: Vec<_> = quiet.map(|library| format!("{library}=error")).collect();
    let unreadable = || LogError::Level(log.level.clone());
    EnvFilter::try_new(&log.level).map_err(|_| unreadable())?;
    EnvFilter::try_new(format!("{},{}", directives.join(","), log.level)).map_err(|_| unreadable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;

    #[test]
    fn libraries_that_strangers_make_talk_are_quiet_unless_they_are_named() {
        let filtered =
            |level: &str| filter(&Log { level: level.to_owned(), format: LogFormat::Human }).unwrap().to_string();
        for level in ["info", "debug", "info,signalbeam_server=debug"] {
            for library in QUIET {
                assert!(filtered(level).contains(&format!("{library}=error")), "{level}: {}", filtered(level));
            }
        }
        assert!(!filtered("info,rustls=debug").contains("rustls=error"));
        assert!(filter(&Log { level: "loud=very".to_owned(), format: LogFormat::Human }).is_err());
    }
}
