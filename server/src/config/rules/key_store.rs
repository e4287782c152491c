//! What the settings of the authority's key store must hold beyond their types.

use http::Uri;
use http::uri::Scheme;

use super::Broken;
use crate::config::sections::{AzureKeyVault, CertificateAuthority, Config, KeyStore, Pkcs11};

/// A name in the vault has 127 characters at most; a slot's takes 33 of them.
const MAX_NAME: usize = 94;

/// Keys whose values are never shown.
pub(in crate::config) fn is_secret(key: &str) -> bool {
    matches!(key, "ca.key_passphrase" | "ca.pkcs11.pin")
}

pub(super) fn broken(config: &Config, found: &mut Vec<Broken>) {
    passphrase(&config.ca, found);
    match config.ca.key_store {
        KeyStore::File => {}
        KeyStore::Pkcs11 => pkcs11(&config.ca.pkcs11, found),
        KeyStore::AzureKeyVault => vault(&config.azure_key_vault, found),
    }
}

fn passphrase(ca: &CertificateAuthority, found: &mut Vec<Broken>) {
    let mut wrong = |key, allowed: &str| found.push((key, "set".to_owned(), allowed.to_owned()));
    if ca.key_passphrase.is_some() && ca.key_passphrase_file.is_some() {
        wrong("ca.key_passphrase_file", "one of it and `ca.key_passphrase`");
    }
    if ca.key_store != KeyStore::File {
        let allowed = "unset where the key is in no file: `ca.key_store` is not `file`";
        if ca.key_passphrase.is_some() {
            wrong("ca.key_passphrase", allowed);
        }
        if ca.key_passphrase_file.is_some() {
            wrong("ca.key_passphrase_file", allowed);
        }
    }
}

fn pkcs11(token: &Pkcs11, found: &mut Vec<Broken>) {
    let mut wrong = |key, value: &str, allowed: &str| found.push((key, value.to_owned(), allowed.to_owned()));
    if token.module.is_none() {
        wrong("ca.pkcs11.module", "not set", "the token's PKCS#11 library");
    }
    if token.token_label.as_ref().is_none_or(String::is_empty) {
        wrong("ca.pkcs11.token_label", "not set", "the token's label");
    }
    if !(1..=94).contains(&token.key_label.len()) {
        wrong("ca.pkcs11.key_label", "something else", "a text of 1 to 94 bytes");
    }
    match (&token.pin, &token.pin_file) {
        (None, None) => wrong("ca.pkcs11.pin_file", "not set", "a file with the PIN; or set `ca.pkcs11.pin`"),
        (Some(_), Some(_)) => wrong("ca.pkcs11.pin_file", "set", "one of it and `ca.pkcs11.pin`"),
        _ => {}
    }
}

fn vault(vault: &AzureKeyVault, found: &mut Vec<Broken>) {
    let mut wrong = |key, value: String, allowed: &str| found.push((key, value, allowed.to_owned()));
    if !vault.vault_uri.as_deref().is_some_and(is_vault) {
        // What looks like a password in a URL is not shown.
        let value = if vault.vault_uri.is_none() { "not set" } else { "something else" };
        wrong("azure_key_vault.vault_uri", value.to_owned(), "an https:// URL such as https://NAME.vault.azure.net");
    }
    let names =
        [("azure_key_vault.ca_key_name", &vault.ca_key_name), ("azure_key_vault.ca_cert_name", &vault.ca_cert_name)];
    for (key, name) in names {
        let is_allowed = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !(1..=MAX_NAME).contains(&name.len()) || !is_allowed {
            wrong(key, format!("`{name}`"), "1 to 94 letters, digits and `-`");
        }
    }
}

fn is_vault(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let has_bare_host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    uri.scheme() == Some(&Scheme::HTTPS) && has_bare_host && uri.path() == "/" && uri.query().is_none()
}
