//! `agent.toml`, which stands beside `credentials.json` and may be absent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::durable::DiskError;
use crate::failure::Failure;

/// The whole file. An unknown key is an error, so that a typing mistake does not pass for a setting.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `[certificates]`
    pub certificates: Certificates,
    /// `[heartbeat]`
    pub heartbeat: Heartbeat,
    /// `[api_key]`
    pub api_key: ApiKey,
    /// `[hooks]`
    pub hooks: Hooks,
}

/// `[certificates]`
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Certificates {
    /// `[certificates.auto_renewal]`
    pub auto_renewal: AutoRenewal,
}

/// `[certificates.auto_renewal]`
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct AutoRenewal {
    /// Whether `run` renews the certificate by itself (true).
    pub enabled: bool,
    /// Hours between looks at the certificate (12; 1 to 720).
    pub check_interval_hours: u32,
    /// Days before its end from which a certificate is renewed where the server suggests no window (30; 1 to 397).
    pub renewal_threshold_days: u32,
    /// Whether a certificate that an administrator revoked is replaced by a new one too, by the API key (false).
    pub replace_revoked: bool,
}

impl Default for AutoRenewal {
    fn default() -> Self {
        Self { enabled: true, check_interval_hours: 12, renewal_threshold_days: 30, replace_revoked: false }
    }
}

/// `[heartbeat]`
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Heartbeat {
    /// Seconds between heartbeats (60; 1 to 86400).
    pub interval_seconds: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval_seconds: 60 }
    }
}

/// `[api_key]`
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKey {
    /// Whether `run` replaces the API key before it ends (true).
    pub auto_rotation: bool,
}

impl Default for ApiKey {
    fn default() -> Self {
        Self { auto_rotation: true }
    }
}

/// `[hooks]`: what `run` does after the certificate or its CAs changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// A command for `/bin/sh -c` (none).
    pub exec: Option<String>,
    /// A file with the id of a process to signal (none).
    pub reload_pid_file: Option<PathBuf>,
    /// The signal for it (`HUP`).
    pub reload_signal: ReloadSignal,
    /// Seconds after which the command is ended (60; 1 to 3600).
    pub timeout_seconds: u32,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { exec: None, reload_pid_file: None, reload_signal: ReloadSignal::Hup, timeout_seconds: 60 }
    }
}

/// A signal by which programs are told to read their files again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "UPPERCASE")]
#[value(rename_all = "UPPER")]
pub enum ReloadSignal {
    /// SIGHUP.
    #[default]
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGTERM, for a program that its supervisor starts again.
    Term,
}

impl Settings {
    /// Reads `agent.toml` beside the credentials file; the defaults where there is none.
    ///
    /// # Errors
    /// When it cannot be read, holds an unknown key or a value out of bounds.
    pub fn beside(credentials: &Path) -> Result<Self, Failure> {
        let path = credentials.with_file_name("agent.toml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(DiskError::new("read", &path, source).into()),
        };
        Self::parse(&text).map_err(|reason| Failure::Usage(format!("{}: {reason}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let renewal = &settings.certificates.auto_renewal;
        for (name, value, most) in [
            ("certificates.auto_renewal.check_interval_hours", renewal.check_interval_hours, 720),
            ("certificates.auto_renewal.renewal_threshold_days", renewal.renewal_threshold_days, 397),
            ("heartbeat.interval_seconds", settings.heartbeat.interval_seconds, 86_400),
            ("hooks.timeout_seconds", settings.hooks.timeout_seconds, 3600),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("{name} is {value}, but must be 1 to {most}"));
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_or_empty_file_gives_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::beside(&dir.path().join("credentials.json")).unwrap(), Settings::default());
        let defaults = Settings::parse("").unwrap();
        assert_eq!(defaults.heartbeat.interval_seconds, 60);
        assert_eq!(defaults.certificates.auto_renewal, AutoRenewal::default());
    }

    #[test]
    fn every_key_of_the_documentation_is_read() {
        let settings = Settings::parse(
            "[certificates.auto_renewal]\nenabled = false\ncheck_interval_hours = 6\nrenewal_threshold_days = 20\n\
             replace_revoked = true\n[heartbeat]\ninterval_seconds = 5\n[api_key]\nauto_rotation = false\n\
             [hooks]\nexec = \"true\"\nreload_pid_file = \"/run/a.pid\"\nreload_signal = \"USR1\"\n\
             timeout_seconds = 9\n",
        )
        .unwrap();
        let expected =
            AutoRenewal { enabled: false, check_interval_hours: 6, renewal_threshold_days: 20, replace_revoked: true };
        assert_eq!(settings.certificates.auto_renewal, expected);
        assert_eq!(settings.heartbeat.interval_seconds, 5);
        assert!(!settings.api_key.auto_rotation);
        let expected = Hooks {
            exec: Some("true".to_owned()),
            reload_pid_file: Some("/run/a.pid".into()),
            reload_signal: ReloadSignal::Usr1,
            timeout_seconds: 9,
        };
        assert_eq!(settings.hooks, expected);
    }

    #[test]
    fn unknown_keys_and_absurd_values_are_refused_by_name() {
        for (text, named) in [
            ("[heartbeat]\ninterval = 5\n", "interval"),
            ("[heartbeat]\ninterval_seconds = 0\n", "heartbeat.interval_seconds"),
            ("[certificates.auto_renewal]\nrenewal_threshold_days = 4000\n", "renewal_threshold_days"),
            ("[hooks]\nreload_signal = \"KILL\"\n", "KILL"),
            ("[heartbeat", "line 1"),
        ] {
            let reason = Settings::parse(text).unwrap_err();
            assert!(reason.contains(named), "{reason}");
        }
    }
}
