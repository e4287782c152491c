//! The authority's and the server's certificates: valid, with their keys, and for the right names.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use signalbeam_pki::{Timeliness, Validity, peek_validity};
use zeroize::Zeroizing;

use super::{Check, Subject, in_words};
use crate::config::{KeyStore, Tls};
use crate::serve::{AUTHORITY_FOLDER, TLS_FOLDER};
use crate::server_certificate::{LOCAL_NAMES, OWN_FILE, read_pair};

const AUTHORITY_CERTIFICATE: &str = "authority-certificate";
const AUTHORITY_KEY: &str = "authority-key";
const SERVER_CERTIFICATE: &str = "server-certificate";
const SERVER_NAMES: &str = "server-names";

/// Nothing can be issued beyond the authority's end, so it takes long to replace.
const AUTHORITY_WARNING_DAYS: i64 = 397;
/// The server's own certificate is renewed a month before its end.
const SERVER_WARNING_DAYS: i64 = 14;

pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    let mut checks = authority(subject);
    checks.extend(match &subject.config {
        Ok(config) => server(subject, &config.tls),
        Err(_) => [SERVER_CERTIFICATE, SERVER_NAMES].map(|id| Check::skipped(id, "the configuration has errors")),
    });
    checks
}

fn authority(subject: &Subject<'_>) -> Vec<Check> {
    let folder = subject.data_dir.join(AUTHORITY_FOLDER);
    let (certificate, key) = (folder.join("ca-cert.pem"), folder.join("ca-key.pem"));
    let action = "plan a new authority: nothing is issued beyond its end, and devices must learn to trust the new one";
    let validity = CertificateDer::from_pem_file(&certificate).ok().and_then(|leaf| peek_validity(&leaf));
    let certificate_check = if let Some(validity) = validity {
        let what = "the authority's certificate";
        judge(AUTHORITY_CERTIFICATE, what, subject, validity, AUTHORITY_WARNING_DAYS, action)
    } else {
        let message = format!("{} is missing or cannot be read", certificate.display());
        Check::error(AUTHORITY_CERTIFICATE, message, "restore the folder `ca` from a backup")
    };
    if let Some(elsewhere) = key_elsewhere(subject, &key) {
        return vec![certificate_check, Check::skipped(AUTHORITY_KEY, elsewhere)];
    }
    let key_check = match read_pair(&certificate, &key) {
        Ok(_) => Check::ok(AUTHORITY_KEY, "the authority's key belongs to its certificate"),
        Err(error) => {
            Check::error(AUTHORITY_KEY, in_words(&error), "restore the folder `ca` from a backup, as a whole")
        }
    };
    vec![certificate_check, key_check]
}

/// Why the authority's key cannot be read here, though that is as it should be.
fn key_elsewhere(subject: &Subject<'_>, key: &Path) -> Option<&'static str> {
    match subject.config.as_ref().map(|config| config.ca.key_store) {
        Ok(KeyStore::Pkcs11) => Some("the authority's key is in a PKCS#11 token: /health/ready tells whether it signs"),
        Ok(KeyStore::AzureKeyVault) => {
            Some("the authority's key is in a Key Vault: /health/ready tells whether it signs")
        }
        Ok(KeyStore::File) | Err(_) => {
            let text = Zeroizing::new(fs::read_to_string(key).unwrap_or_default());
            text.contains("BEGIN ENCRYPTED PRIVATE KEY").then_some("the authority's key is encrypted: a start opens it")
        }
    }
}

fn server(subject: &Subject<'_>, tls: &Tls) -> [Check; 2] {
    let own = subject.data_dir.join(TLS_FOLDER).join(OWN_FILE);
    let configured = tls.certificate_file.clone().zip(tls.private_key_file.clone());
    let is_own = configured.is_none();
    if is_own && !own.exists() {
        return [SERVER_CERTIFICATE, SERVER_NAMES].map(|id| Check::skipped(id, "a server issues one when it starts"));
    }
    let (certificate, key): (PathBuf, PathBuf) = configured.unwrap_or_else(|| (own.clone(), own));
    let action = if is_own {
        "a running server renews it by itself: look into its log; where none runs, the next start does"
    } else {
        "renew the files of tls.certificate_file and tls.private_key_file, then send SIGHUP"
    };
    let pair = match read_pair(&certificate, &key) {
        Ok(pair) => pair,
        Err(error) => {
            let unreadable = Check::error(SERVER_CERTIFICATE, in_words(&error), action);
            return [unreadable, Check::skipped(SERVER_NAMES, "the certificate cannot be read")];
        }
    };
    [validity_of(&pair, subject, action), names_of(&pair, tls, action)]
}

fn validity_of(pair: &CertifiedKey, subject: &Subject<'_>, action: &str) -> Check {
    match pair.cert.first().and_then(|leaf| peek_validity(leaf)) {
        Some(validity) => {
            let what = "the server's certificate";
            judge(SERVER_CERTIFICATE, what, subject, validity, SERVER_WARNING_DAYS, action)
        }
        None => Check::error(SERVER_CERTIFICATE, "the server's certificate cannot be read", action),
    }
}

fn names_of(pair: &CertifiedKey, tls: &Tls, action: &str) -> Check {
    let Some(parsed) = pair.cert.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok()) else {
        return Check::skipped(SERVER_NAMES, "the certificate cannot be read");
    };
    let own = if tls.certificate_file.is_none() { LOCAL_NAMES.as_slice() } else { &[] };
    let wanted = own.iter().copied().chain(tls.server_names.iter().map(String::as_str));
    // A wildcard is a pattern, not the name of a server: any name that it stands for will do.
    let concrete = |name: &str| name.replacen("*.", "any.", 1);
    let missing: Vec<&str> = wanted
        .filter(|name| {
            let parsed_name = ServerName::try_from(concrete(name));
            parsed_name.map_or(true, |name| verify_server_name(&parsed, &name).is_err())
        })
        .collect();
    if missing.is_empty() {
        return Check::ok(SERVER_NAMES, "the server's certificate has every configured name");
    }
    Check::error(SERVER_NAMES, format!("the server's certificate lacks {}", missing.join(", ")), action)
}

/// Whether a certificate holds, and for long enough.
fn judge(
    id: &'static str,
    what: &str,
    subject: &Subject<'_>,
    validity: Validity,
    warning_days: i64,
    action: &str,
) -> Check {
    let now = subject.now.to_offset_date_time();
    let end = validity.not_after.date();
    match validity.timeliness(now) {
        Timeliness::NotYet => {
            let message = format!("{what} is valid only from {}", validity.not_before);
            Check::error(id, message, "set the clock of this machine")
        }
        Timeliness::Past => Check::error(id, format!("{what} has expired on {end}"), action),
        Timeliness::Within => match (validity.not_after - now).whole_days() {
            days if days < warning_days => Check::warning(id, format!("{what} ends on {end}, in {days} days"), action),
            _ => Check::ok(id, format!("{what} is valid until {end}")),
        },
    }
}
