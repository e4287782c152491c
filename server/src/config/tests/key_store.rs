//! The authority's key store: what belongs together, and that secrets do not print.

use super::*;

#[test]
fn each_key_store_names_what_it_lacks() {
    let said = complaint("[ca]\nkey_store = 'pkcs11'\n", &[]);
    for key in ["`ca.pkcs11.module`", "`ca.pkcs11.token_label`", "`ca.pkcs11.pin_file`"] {
        assert!(said.contains(key), "{said}");
    }
    let said = complaint("[ca]\nkey_store = 'azure_key_vault'\n", &[]);
    assert!(said.starts_with("`azure_key_vault.vault_uri` is not set"), "{said}");
    assert!(complaint("[ca]\nkey_store = 'usb'\n", &[]).contains("allowed is file, pkcs11, azure_key_vault"));
    for uri in
        ["http://v.vault.azure.net", "https://u:s3cret@v.vault.azure.net", "https://v/keys", "v", "https://v?s3cret"]
    {
        let toml = format!("[ca]\nkey_store = 'azure_key_vault'\n[azure_key_vault]\nvault_uri = '{uri}'\n");
        let said = complaint(&toml, &[]);
        assert!(
            said.starts_with("`azure_key_vault.vault_uri` is something else") && !said.contains("s3cret"),
            "{said}"
        );
    }
    let said = complaint(
        "[ca]\nkey_store = 'azure_key_vault'\n[azure_key_vault]\nvault_uri = 'https://v'\nca_key_name = 'a_b'\n",
        &[],
    );
    assert!(said.starts_with("`azure_key_vault.ca_key_name` is `a_b`"), "{said}");
}

#[test]
fn a_whole_key_store_is_read() {
    let toml = "[ca]\nkey_store = 'pkcs11'\n[ca.pkcs11]\nmodule = '/usr/lib/x.so'\ntoken_label = 'hsm'\n";
    let config = load(toml, &[("SIGNALBEAM__CA__PKCS11__PIN", "1234")]).unwrap();
    assert_eq!(config.ca.key_store, KeyStore::Pkcs11);
    assert_eq!(config.ca.pkcs11.pin.unwrap().reveal().expose(), "1234");
    assert_eq!(config.ca.pkcs11.key_label, "signalbeam-ca");
    let toml = "[ca]\nkey_store = 'azure_key_vault'\n[azure_key_vault]\nvault_uri = 'https://n.vault.azure.net/'\n";
    let vault = load(toml, &[]).unwrap().azure_key_vault;
    assert!(vault.use_managed_identity && vault.ca_cert_name == "signalbeam-ca-cert");
    let config = load("", &[("SIGNALBEAM__CA__KEY_PASSPHRASE_FILE", "/run/secrets/ca")]).unwrap();
    assert_eq!(config.ca.key_passphrase_file.unwrap().to_str(), Some("/run/secrets/ca"));
}

#[test]
fn secrets_print_nowhere_and_are_not_read_back() {
    let toml = "[ca]\nkey_passphrase = 's3cret'\n[ca.pkcs11]\npin = 's3cret'\n";
    let config = load(toml, &[]).unwrap();
    let printed = toml::to_string(&config).unwrap();
    for text in [&printed, &format!("{config:?}"), &format!("{:?}", layer::flatten_config(&config))] {
        assert!(!text.contains("s3cret") && text.contains("[redacted]"), "{text}");
    }
    let said = complaint(&printed, &[]);
    assert!(said.contains("`ca.key_passphrase` is something else") && said.contains("the secret itself"), "{said}");
    let said = complaint("[ca]\nkey_passphrase = 4711\n", &[]);
    assert!(said.contains("a text in quotes") && !said.contains("4711"), "{said}");
}

#[test]
fn a_secret_has_one_source_and_a_use() {
    let both = "[ca]\nkey_passphrase = 's3cret'\nkey_passphrase_file = '/x'\n";
    let said = complaint(both, &[]);
    assert!(said.contains("one of it and `ca.key_passphrase`") && !said.contains("s3cret"), "{said}");
    let unused =
        "[ca]\nkey_store = 'azure_key_vault'\nkey_passphrase = 's3cret'\n[azure_key_vault]\nvault_uri = 'https://v'\n";
    let said = complaint(unused, &[]);
    assert!(said.starts_with("`ca.key_passphrase` is set") && !said.contains("s3cret"), "{said}");
    let token =
        "[ca]\nkey_store = 'pkcs11'\n[ca.pkcs11]\nmodule = '/x'\ntoken_label = 'y'\npin_file = '/p'\npin = 's3cret'\n";
    let said = complaint(token, &[]);
    assert!(said.starts_with("`ca.pkcs11.pin_file` is set") && !said.contains("s3cret"), "{said}");
}

#[test]
fn files_of_the_key_store_are_looked_for_by_a_check() {
    let toml =
        "[ca]\nkey_store = 'pkcs11'\n[ca.pkcs11]\nmodule = '/nowhere/m'\ntoken_label = 'y'\npin_file = '/nowhere/p'\n";
    let (_dir, sources) = sources(Some(toml), &[]);
    sources.load().unwrap();
    let said = sources.check().unwrap_err().to_string();
    assert!(said.contains("`ca.pkcs11.module` is `/nowhere/m`") && said.contains("`ca.pkcs11.pin_file`"), "{said}");
}
