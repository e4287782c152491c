//! How values are layered, and what errors say.

use super::*;

mod key_store;
mod limits;
mod profiles;

fn sources(toml: Option<&str>, environment: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let file = toml.map(|text| {
        let path = dir.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        path
    });
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    (dir, Sources { file, environment, flags: Flags::default() })
}

fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let (_dir, sources) = sources(Some(toml), environment);
    sources.load()
}

/// The message, with the file's folder taken out.
fn complaint(toml: &str, environment: &[(&str, &str)]) -> String {
    let (dir, sources) = sources(Some(toml), environment);
    let folder = format!("{}/", dir.path().display());
    sources.load().unwrap_err().to_string().replace(&folder, "")
}

#[test]
fn nothing_configured_gives_the_defaults() {
    let (_dir, sources) = sources(None, &[("PATH", "/bin"), ("SIGNALBEAM_DATA_DIR", "/x")]);
    assert_eq!(sources.load().unwrap(), Config::default());
}

#[test]
fn an_empty_known_section_is_fine() {
    assert_eq!(load("[mtls]\n[ca]\n", &[]).unwrap(), Config::default());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let toml = "[listener]\naddress = '127.0.0.1:1'\nops_address = '127.0.0.1:1'\nmax_body_bytes = 2048\n";
    let environment =
        [("SIGNALBEAM__LISTENER__ADDRESS", "127.0.0.1:2"), ("SIGNALBEAM__LISTENER__OPS_ADDRESS", "127.0.0.1:2")];
    let (_dir, mut sources) = sources(Some(toml), &environment);
    sources.flags.listen = Some(SocketAddr::from(([127, 0, 0, 1], 3)));
    let listener = sources.load().unwrap().listener;
    assert_eq!((listener.address.port(), listener.ops_address.port(), listener.max_body_bytes), (3, 2, 2048));
}

#[test]
fn the_environment_reads_lists_numbers_truths_and_texts_by_key() {
    let environment = [
        ("SIGNALBEAM__PROXY__TRUSTED", "10.0.0.0/8, 192.0.2.0/24"),
        ("SIGNALBEAM__TLS__SERVER_NAMES", "beam.example.com"),
        ("SIGNALBEAM__MTLS__ENABLED", "false"),
        ("SIGNALBEAM__AUTHENTICATION__BCRYPT_COST", "4"),
        ("SIGNALBEAM__CA__TRUST_DOMAIN", "12345"),
        ("SIGNALBEAM__CA__CRL_URL", "http://pki.example.com/crl/{authority}"),
        ("SIGNALBEAM__PKI__LISTEN", "127.0.0.1:8080"),
        ("SIGNALBEAM__AUTHENTICATION__API_KEY_FALLBACK", "unless_revoked"),
    ];
    let config = load("", &environment).unwrap();
    assert_eq!(config.proxy.trusted.len(), 2);
    assert_eq!(config.tls.server_names, ["beam.example.com"]);
    assert!(!config.mtls.enabled);
    assert_eq!(config.authentication.bcrypt_cost, 4);
    assert_eq!(config.ca.trust_domain, "12345");
    assert_eq!(config.ca.crl_url.as_deref(), Some("http://pki.example.com/crl/{authority}"));
    assert_eq!(config.pki.listen, Some("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(config.authentication.api_key_fallback, ApiKeyFallback::UnlessRevoked);
}

#[test]
fn an_unknown_key_names_its_place_and_its_nearest_neighbour() {
    let said = complaint("[mtls]\nenable = true\n[authentification]\nbcrypt_cost = 12\n", &[]);
    assert_eq!(
        said,
        "unknown key `authentification.bcrypt_cost` in signalbeam.toml; did you mean `authentication.bcrypt_cost`?\n\
         unknown key `mtls.enable` in signalbeam.toml; did you mean `mtls.enabled`?"
    );
    let said = complaint("", &[("SIGNALBEAM__TLS__SERVERNAMES", "x")]);
    assert_eq!(said, "unknown key `tls.servernames` in SIGNALBEAM__TLS__SERVERNAMES; did you mean `tls.server_names`?");
    assert!(complaint("[listner]\n", &[]).starts_with("unknown key `listner` in signalbeam.toml"));
    assert!(complaint("mtls = true\n", &[]).contains("unknown key `mtls`"));
}

#[test]
fn what_this_version_cannot_do_is_refused_without_showing_values() {
    let said = complaint("[nats]\nurl = 'nats://u:s3cret@h'\n", &[]);
    assert!(said.contains("publishing to NATS") && said.contains("not supported by this version"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    let said = complaint("[store]\nurl = 'postgres://u:s3cret@h/db'\n", &[]);
    assert!(said.contains("`store.url`") && said.contains("`embedded`") && !said.contains("s3cret"), "{said}");
    let said = complaint("[oidc]\nissuer = 'https://u:s3cret@h'\njwks_url = 'https://u:s3cret@h'\n", &[]);
    assert!(said.contains("`oidc.issuer`") && said.contains("`oidc.jwks_url`") && !said.contains("s3cret"), "{said}");
}

#[test]
fn what_this_version_does_not_do_yet_is_accepted_and_named() {
    let sources = Sources {
        file: None,
        environment: vec![("SIGNALBEAM__CERTIFICATE_RENEWAL__EXPIRATION_WARNING_DAYS".into(), "30,7".into())],
        flags: Flags::default(),
    };
    assert_eq!(sources.load().unwrap(), Config::default());
    let named: Vec<String> = sources.without_effect().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(
        named,
        ["`certificate_renewal.expiration_warning_days` in SIGNALBEAM__CERTIFICATE_RENEWAL__EXPIRATION_WARNING_DAYS \
             has no effect: the monitor of certificates' expiry is not supported by this version",]
    );
}

#[test]
fn a_wrong_value_names_key_value_place_and_what_is_allowed() {
    assert_eq!(
        complaint("[authentication]\napi_key_fallback = 'sometimes'\n", &[]),
        "`authentication.api_key_fallback` is `sometimes` (signalbeam.toml); allowed is always, unless_revoked, never"
    );
    assert_eq!(
        complaint("", &[("SIGNALBEAM__AUTHENTICATION__BCRYPT_COST", "3")]),
        "`authentication.bcrypt_cost` is 3 (SIGNALBEAM__AUTHENTICATION__BCRYPT_COST); allowed is 4 to 16"
    );
    let said = complaint("", &[("SIGNALBEAM__LISTENER__MAX_CONNECTIONS", "many")]);
    assert!(said.starts_with("`listener.max_connections` is `many` (SIGNALBEAM__LISTENER__"), "{said}");
    for (toml, key) in [
        ("[api_keys]\nmin_validity_days = 100\n", "api_keys.default_validity_days"),
        ("[ca]\ntrust_domain = 'Example.COM'\n", "ca.trust_domain"),
        ("[ca]\ncrl_url = 'ftp://x/y'\n", "ca.crl_url"),
        ("[ca]\ndelta_crl_url = 'ftp://x/y'\n", "ca.delta_crl_url"),
        ("[pki]\ncrl_refresh_hours = 13\n", "pki.crl_refresh_hours"),
        ("[pki]\ncrl_validity_hours = 721\n", "pki.crl_validity_hours"),
        ("[pki]\ncrl_min_interval_seconds = 0\n", "pki.crl_min_interval_seconds"),
        ("[pki]\nlisten = 'here'\n", "pki.listen"),
        ("[tls]\nserver_names = ['https://x']\n", "tls.server_names"),
        ("[tls]\ncertificate_file = 'a.pem'\n", "tls.private_key_file"),
        ("[log]\nlevel = 'a=b=c'\n", "log.level"),
        ("[proxy]\ntrusted = ['10.0.0.0/99']\n", "proxy.trusted"),
        ("[listener]\nhandshake_timeout_seconds = 0\n", "listener.handshake_timeout_seconds"),
        ("[proxy]\nprotocol = 'v1'\n", "proxy.protocol"),
        ("[proxy]\nprotocol = 'v2'\n", "proxy.protocol"),
        ("[proxy]\naddress_header = 'via'\n", "proxy.address_header"),
        ("[proxy]\nclient_certificate_header = 'client-cert'\n", "proxy.client_certificate_header"),
        ("[proxy]\nclient_certificate_header = 'client-cert'\ntrusted = ['::/0']\n", "proxy.client_certificate_header"),
        (
            "[proxy]\nclient_certificate_header = 'client-cert'\ntrusted = ['::ffff:0:0/96']\n",
            "proxy.client_certificate_header",
        ),
        (
            "[mtls]\nenabled = false\n[proxy]\nclient_certificate_header = 'x-forwarded-client-cert'\ntrusted = ['::1/128']\n",
            "proxy.client_certificate_header",
        ),
    ] {
        let said = complaint(toml, &[]);
        assert!(said.starts_with(&format!("`{key}")) && said.contains("allowed is"), "{said}");
    }
}

#[test]
fn every_problem_is_named_at_once_and_in_plain_words() {
    let toml = "[mtls]\nenable = true\n[listener]\nmax_connections = 'many'\nhandshake_timeout_seconds = 70000\n\
                header_timeout_seconds = 0\naddress = 'here'\n[proxy]\ntrusted = '10.0.0.0/8'\n\
                [log]\nlevel = 5\n[audit]\nretention_days = 1.5\n";
    assert_eq!(
        complaint(toml, &[("SIGNALBEAM__MTLS__ENABLED", "yes")]),
        "unknown key `mtls.enable` in signalbeam.toml; did you mean `mtls.enabled`?\n\
         `audit.retention_days` is 1.5 (signalbeam.toml); allowed is a whole number\n\
         `listener.address` is `here` (signalbeam.toml); allowed is an address and port such as 127.0.0.1:8443\n\
         `listener.handshake_timeout_seconds` is 70000 (signalbeam.toml); allowed is a whole number from 0 to 65535\n\
         `listener.max_connections` is `many` (signalbeam.toml); allowed is a whole number\n\
         `log.level` is 5 (signalbeam.toml); allowed is a text in quotes\n\
         `mtls.enabled` is `yes` (SIGNALBEAM__MTLS__ENABLED); allowed is true or false\n\
         `proxy.trusted` is `10.0.0.0/8` (signalbeam.toml); allowed is a list; in the environment separated by commas\n\
         `listener.header_timeout_seconds` is 0 (signalbeam.toml); allowed is 1 to 300"
    );
    let said = complaint("", &[("SIGNALBEAM__PROXY__TRUSTED", "10.0.0.1")]);
    assert!(said.contains("[`10.0.0.1`] (SIGNALBEAM__PROXY__TRUSTED); allowed is address ranges such as"), "{said}");
    let said = complaint("[proxy]\ntrusted = ['10.1.2.3/8']\n", &[]);
    assert!(said.ends_with("allowed is `10.0.0.0/8`, or `10.1.2.3/32` for that address alone"), "{said}");
}

#[test]
fn what_only_a_start_would_find_is_found_by_a_check() {
    let toml = "[store]\nwitness_file = '/nowhere/w'\n[tls]\ncertificate_file = '/nowhere/c'\nprivate_key_file = '/nowhere/k'\n";
    let (_dir, sources) = sources(Some(toml), &[]);
    sources.load().unwrap();
    let said = sources.check().unwrap_err().to_string();
    for key in ["`store.witness_file` is `/nowhere/w`", "`tls.certificate_file`", "`tls.private_key_file`"] {
        assert!(said.contains(key), "{said}");
    }
}

#[test]
fn a_variable_with_one_underscore_is_pointed_out() {
    let environment =
        [("SIGNALBEAM_LISTENER_MAX_BODY_BYTES", "1"), ("SIGNALBEAM_DATA_DIR", "x"), ("SIGNALBEAM_X", "y")];
    let warnings = sources(None, &environment).1.warnings().unwrap();
    assert_eq!(
        warnings,
        ["`SIGNALBEAM_LISTENER_MAX_BODY_BYTES` has no effect: `listener.max_body_bytes` is set by \
         `SIGNALBEAM__LISTENER__MAX_BODY_BYTES`, with two underscores"]
    );
}

#[test]
fn a_url_that_names_no_authority_is_pointed_out() {
    let warnings = |crl_url: &str| {
        let environment = [
            ("SIGNALBEAM__CA__CRL_URL", crl_url),
            ("SIGNALBEAM__CA__ISSUER_URL", "http://p/ca/{authority}"),
            ("SIGNALBEAM__CA__OCSP_URL", "http://p/ocsp"),
        ];
        sources(None, &environment).1.warnings().unwrap()
    };
    assert_eq!(warnings("http://p/crl/{authority}"), Vec::<String>::new());
    let told = warnings("http://p/crl");
    assert!(told.len() == 1 && told[0].starts_with("`ca.crl_url` has no `{authority}` in it"), "{told:?}");
}

#[test]
fn keys_are_retired_after_some_days_or_never() {
    let read = |toml: &str, environment: &[(&str, &str)]| {
        load(toml, environment).unwrap().authentication.api_key_retirement_days
    };
    let variable = "SIGNALBEAM__AUTHENTICATION__API_KEY_RETIREMENT_DAYS";
    assert_eq!(read("", &[]), ApiKeyRetirement::Off);
    assert_eq!(read("[authentication]\napi_key_retirement_days = 'off'\n", &[]), ApiKeyRetirement::Off);
    assert_eq!(read("[authentication]\napi_key_retirement_days = 0\n", &[]), ApiKeyRetirement::AfterDays(0));
    assert_eq!(read("[authentication]\napi_key_retirement_days = 730\n", &[]), ApiKeyRetirement::AfterDays(730));
    assert_eq!(read("", &[(variable, "30")]), ApiKeyRetirement::AfterDays(30));
    assert_eq!(read("[authentication]\napi_key_retirement_days = 3\n", &[(variable, "off")]), ApiKeyRetirement::Off);
    for bad in ["-1", "731", "'never'", "true", "3.5", "''"] {
        let said = complaint(&format!("[authentication]\napi_key_retirement_days = {bad}\n"), &[]);
        assert!(
            said.contains("`authentication.api_key_retirement_days`") && said.contains("0 to 730"),
            "{bad}: {said}"
        );
    }
}

#[test]
fn the_check_of_keys_expiry_is_on_and_bounded() {
    let check = load("", &[]).unwrap().api_key_expiration_check;
    assert_eq!((check.enabled, check.check_interval_hours, check.warning_threshold_days), (true, 24, 7));
    let environment = [
        ("SIGNALBEAM__API_KEY_EXPIRATION_CHECK__ENABLED", "false"),
        ("SIGNALBEAM__API_KEY_EXPIRATION_CHECK__CHECK_INTERVAL_HOURS", "1"),
        ("SIGNALBEAM__API_KEY_EXPIRATION_CHECK__WARNING_THRESHOLD_DAYS", "14"),
    ];
    let check = load("", &environment).unwrap().api_key_expiration_check;
    assert_eq!((check.enabled, check.check_interval_hours, check.warning_threshold_days), (false, 1, 14));
    for (key, value) in [("check_interval_hours", 0), ("check_interval_hours", 8_761), ("warning_threshold_days", 731)]
    {
        let said = complaint(&format!("[api_key_expiration_check]\n{key} = {value}\n"), &[]);
        assert!(said.starts_with(&format!("`api_key_expiration_check.{key}` is {value}")), "{said}");
    }
}

#[test]
fn a_named_file_must_exist_and_be_toml() {
    let absent = Sources { file: Some("/nowhere/x.toml".into()), environment: vec![], flags: Flags::default() };
    assert!(absent.load().unwrap_err().to_string().starts_with("cannot read /nowhere/x.toml: "));
    assert!(complaint("[mtls\n", &[]).starts_with("signalbeam.toml is not valid TOML: "));
}

#[test]
fn differences_are_named_by_key() {
    let changed = load("[log]\nlevel = 'debug'\n[proxy]\ntrusted = ['10.0.0.0/8']\n", &[]).unwrap();
    let keys: Vec<String> = Config::default().differing_keys(&changed).into_iter().collect();
    assert_eq!(keys, ["log.level", "proxy.trusted"]);
}

#[test]
fn what_is_printed_is_read_back_the_same() {
    let config = load("[tls]\nserver_names = ['a.example']\n[ca]\nocsp_url = 'http://o/'\n", &[]).unwrap();
    assert_eq!(load(&toml::to_string(&config).unwrap(), &[]).unwrap(), config);
}

#[test]
fn every_key_is_documented_with_its_variable() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let files = std::fs::read_dir(folder.join("sections")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.chain([folder.join("sections.rs")]);
    let documentation: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    for key in layer::flatten_config(&Config::default()).into_keys() {
        let variable = format!("SIGNALBEAM__{}", key.to_ascii_uppercase().replace('.', "__"));
        // The three sections of validity share a struct, whose documentation names one variable for all.
        let is_shared = key.ends_with("_validity_days");
        assert!(is_shared || documentation.contains(&format!("`{variable}`")), "{variable} is not documented");
    }
}
