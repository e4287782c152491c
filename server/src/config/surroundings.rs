//! What a configuration needs beside itself: the files and folders that it names.

use std::fs::File;
use std::path::Path;

use super::sections::Config;
use crate::server_certificate::read_pair;

/// A key, its value as shown, and what is allowed: everything without which no server starts.
pub(super) fn missing(config: &Config) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut say = |key: &str, path: &Path, allowed: String| {
        found.push((key.to_owned(), format!("`{}`", path.display()), allowed));
    };
    if let Some(witness) = &config.store.witness_file {
        let folder = folder_of(witness);
        if !folder.is_dir() {
            say("store.witness_file", witness, "a file in a folder that exists; is its volume mounted?".to_owned());
        }
    }
    let (ca, token) = (&config.ca, &config.ca.pkcs11);
    let of_key_store = [
        ("ca.key_passphrase_file", &ca.key_passphrase_file),
        ("ca.pkcs11.module", &token.module),
        ("ca.pkcs11.pin_file", &token.pin_file),
    ];
    for (name, path) in of_key_store {
        if let Some(path) = path
            && let Err(error) = File::open(path)
        {
            say(name, path, format!("a file that can be read: {error}"));
        }
    }
    let (certificate, key) = (&config.tls.certificate_file, &config.tls.private_key_file);
    let mut are_there = true;
    for (name, path) in [("tls.certificate_file", certificate), ("tls.private_key_file", key)] {
        if let Some(path) = path
            && let Err(error) = File::open(path)
        {
            are_there = false;
            say(name, path, format!("a file that can be read: {error}"));
        }
    }
    if let (Some(certificate), Some(key), true) = (certificate, key, are_there)
        && let Err(error) = read_pair(certificate, key)
    {
        say("tls.certificate_file", certificate, format!("a certificate chain (PEM) with its key: {error}"));
    }
    found
}

/// The folder that a file belongs into.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
