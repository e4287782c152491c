//! Where the server is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ureq::http::Uri;

/// The server's base URL: `https`, a host, perhaps a port and a path; no slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The full URL of a path that begins with a slash.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri = Uri::from_str(text.trim()).map_err(|error| format!("not a URL: {error}"))?;
        let host = uri.authority().map(ureq::http::uri::Authority::host).unwrap_or_default();
        if uri.scheme_str() != Some("https") {
            return Err("must begin with https://, because secrets travel on it".to_owned());
        }
        if host.is_empty() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must name a host and no user".to_owned());
        }
        if uri.query().is_some() {
            return Err("must have no query".to_owned());
        }
        Ok(Self(text.trim().trim_end_matches('/').to_owned()))
    }
}

impl Serialize for ServerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_joins_with_and_without_a_path() {
        for (base, joined) in [
            ("https://api.signalbeam.com", "https://api.signalbeam.com/api/devices"),
            ("https://[::1]:8443/", "https://[::1]:8443/api/devices"),
            (" https://edge.example/signalbeam/ ", "https://edge.example/signalbeam/api/devices"),
        ] {
            assert_eq!(base.parse::<ServerUrl>().unwrap().join("/api/devices"), joined);
        }
    }

    #[test]
    fn what_could_leak_or_mislead_is_refused() {
        for wrong in
            ["http://api.signalbeam.com", "api.signalbeam.com", "https://", "https://a@b", "https://a/?q=1", "ftp://a"]
        {
            assert!(wrong.parse::<ServerUrl>().is_err(), "{wrong}");
        }
    }
}
