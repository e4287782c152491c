//! `[profiles.NAME]`, in a file and in the environment, and profiles that would make bad certificates.

use signalbeam_pki::DeviceKeyType;

use super::{complaint, load, sources};
use crate::profiles::configured;

#[test]
fn a_profile_is_as_the_one_for_devices_except_where_it_says_so() {
    let toml = "[certificates]\nmax_validity_days = 200\n[certificate_renewal]\nrenewal_threshold_days = 20\n\
                [profiles.gateway]\nkey_types = ['ecdsa-p384', 'ed25519']\nvalidity_days = 7\n\
                extended_key_usages = ['client_auth', 'server_auth', '1.3.6.1.5.5.7.3.17']\n\
                subject = 'CN=gateway {deviceId}, O=Ex\\, Inc., C=DE'\n\
                dns_names = ['{deviceId}.gateways.example.com']\nextensions = ['1.3.6.1.4.1.99999.1=0403010203']\n\
                [profiles.plain]\n";
    let config = load(toml, &[]).unwrap();
    let set = configured(&config).unwrap();
    let names: Vec<_> = set.iter().map(|profile| profile.name().as_str().to_owned()).collect();
    assert_eq!(names, ["device", "gateway", "plain"]);
    let [device, gateway, plain] = ["device", "gateway", "plain"].map(|name| set.get(name).unwrap());
    for own in [device, plain] {
        assert_eq!(own.renewal_window_days(), 20);
        assert!(own.validity().judge(Some(200)).is_ok() && own.validity().judge(Some(201)).is_err());
        assert_eq!(own.validity().judge(None).unwrap().get(), 90);
        assert_eq!(own.server_key_type(), DeviceKeyType::Rsa2048);
    }
    assert_eq!(gateway.validity().judge(None).unwrap().get(), 7);
    assert_eq!(
        gateway.renewal_window_days(),
        2,
        "a third, since the configured window is longer than its certificates"
    );
    assert_eq!(gateway.server_key_type(), DeviceKeyType::EcdsaP384, "the first that it has");
    assert_eq!(load(&toml::to_string(&config).unwrap(), &[]).unwrap(), config, "and is read back as it is printed");
}

#[test]
fn the_environment_can_say_the_same() {
    let environment = [
        ("SIGNALBEAM__PROFILES__SENSOR_2__VALIDITY_DAYS", "30"),
        ("SIGNALBEAM__PROFILES__SENSOR_2__RENEWAL_WINDOW_DAYS", "10"),
        ("SIGNALBEAM__PROFILES__SENSOR_2__KEY_TYPES", "ecdsa-p256, ed25519"),
        ("SIGNALBEAM__PROFILES__SENSOR_2__SUBJECT", "CN={deviceId}, OU=Sensors"),
        ("SIGNALBEAM__PROFILES__DEVICE__SERVER_KEY_TYPE", "ecdsa-p256"),
        ("SIGNALBEAM__PROFILES__DEVICE__BACKDATING_MINUTES", "0"),
    ];
    let set = configured(&load("", &environment).unwrap()).unwrap();
    let sensor = set.get("sensor_2").unwrap();
    assert_eq!((sensor.validity().judge(None).unwrap().get(), sensor.renewal_window_days()), (30, 10));
    assert_eq!(sensor.key_types(), [DeviceKeyType::EcdsaP256, DeviceKeyType::Ed25519]);
    let device = set.get("device").unwrap();
    assert_eq!((device.server_key_type(), device.backdating()), (DeviceKeyType::EcdsaP256, time::Duration::ZERO));
}

#[test]
fn what_is_unknown_of_a_profile_is_named_with_its_nearest_neighbour() {
    let said = complaint("[profiles.sensor]\nvalidty_days = 3\n", &[]);
    assert_eq!(
        said,
        "unknown key `profiles.sensor.validty_days` in signalbeam.toml; did you mean `profiles.sensor.validity_days`?"
    );
    let said = complaint("", &[("SIGNALBEAM__PROFILES__SENSOR__SUBJET", "x")]);
    assert!(said.ends_with("did you mean `profiles.sensor.subject`?"), "{said}");
    assert!(complaint("[profile.sensor]\nsubject = 'x'\n", &[]).contains("did you mean `profiles."));
    assert!(complaint("profiles = 3\n", &[]).starts_with("unknown key `profiles`"));
    let said = complaint("[profiles.sensor]\nkey_types = ['rsa-1024']\nvalidity_days = 'long'\n", &[]);
    assert_eq!(
        said,
        "`profiles.sensor.key_types` is [`rsa-1024`] (signalbeam.toml); allowed is rsa-2048, rsa-3072, rsa-4096, \
         ecdsa-p256, ecdsa-p384, ed25519\n\
         `profiles.sensor.validity_days` is `long` (signalbeam.toml); allowed is a whole number"
    );
}

#[test]
fn a_profile_that_would_make_bad_certificates_is_refused_with_key_value_and_rule() {
    let long = "x".repeat(24);
    for (setting, key, rule) in [
        ("validity_days = 0", "validity_days", "1 <= min_validity_days"),
        ("validity_days = 398", "validity_days", "max_validity_days (397)"),
        ("max_validity_days = 3651", "max_validity_days", "1 to 3650"),
        ("renewal_window_days = 90", "renewal_window_days", "less than validity_days (90)"),
        ("renewal_window_days = 0", "renewal_window_days", "at least 1"),
        ("backdating_minutes = 1441", "backdating_minutes", "0 to 1440"),
        ("key_types = []", "key_types", "at least one"),
        ("key_types = ['ed25519']\nserver_key_type = 'rsa-2048'", "server_key_type", "one of key_types (ed25519)"),
        ("extended_key_usages = ['server_auth']\ndns_names = ['{deviceId}.x']", "extended_key_usages", "client_auth"),
        ("extended_key_usages = ['client_auth', 'any']", "extended_key_usages", "object identifiers"),
        ("extended_key_usages = ['client_auth', '1.2.03']", "extended_key_usages", "object identifiers"),
        ("extended_key_usages = ['client_auth', '2.5.29.37.0']", "extended_key_usages", "authority"),
        ("extended_key_usages = ['client_auth', '1.3.6.1.5.5.7.3.9']", "extended_key_usages", "OCSP"),
        ("extended_key_usages = ['client_auth', '1.3.6.1.5.5.7.3.2']", "extended_key_usages", "once"),
        ("extended_key_usages = ['client_auth', 'server_auth']", "dns_names", "at least one name"),
        ("subject = 'O=SignalBeam {deviceId}'", "subject", "with a CN"),
        ("subject = 'CN=sensor'", "subject", "{deviceId}"),
        ("subject = 'CN={deviceName}'", "subject", "{deviceId} and {tenantId}"),
        (&format!("subject = 'CN={{deviceId}} {long} {long}'"), "subject", "1 to 64 characters for CN, which has 86"),
        ("subject = 'CN={deviceId}{tenantId}'", "subject", "which has 72"),
        ("subject = \"CN={deviceId}\\u0000\"", "subject", "without NUL"),
        ("subject = \"CN={deviceId}\\n, O=x\"", "subject", "line breaks"),
        ("subject = \"CN={deviceId}x\\ny\"", "subject", "line breaks"),
        ("subject = 'CN={deviceId}, CN=admin'", "subject", "once"),
        ("subject = 'CN={deviceId}, DC=example'", "subject", "CN, O, OU, C, L, ST and serialNumber"),
        ("subject = 'CN={deviceId}, C=de'", "subject", "two capital letters"),
        ("subject = 'CN={deviceId}, serialNumber=ä'", "subject", "printable ASCII"),
        ("subject = 'CN={deviceId}, O='", "subject", "1 to 64 characters for O"),
        ("subject = 'CN={deviceId}+OU=x'", "subject", "backslash"),
        ("subject = ''", "subject", "attributes of CN"),
        ("dns_names = ['hub.example.com']", "dns_names", "with {deviceId}"),
        ("dns_names = ['*.{deviceId}.example.com']", "dns_names", "no wildcard"),
        ("dns_names = ['{deviceId} .example.com']", "dns_names", "host names"),
        ("dns_names = ['device-{deviceId}-of-the-long-and-winding-kind.example.com']", "dns_names", "63"),
        ("dns_names = ['{deviceId}.x', '{deviceId}.x']", "dns_names", "once"),
        ("extensions = ['2.5.29.19=30030101ff']", "extensions", "not yours"),
        ("extensions = ['1.3.6.1.5.5.7.1.24=3003020105']", "extensions", "not yours"),
        ("extensions = ['1.3.6.1.4.1.11129.2.4.3=0500']", "extensions", "not yours"),
        ("extensions = ['1.3.6.1.4.1.99999.1=04030102']", "extensions", "exactly one DER value"),
        ("extensions = ['1.3.6.1.4.1.99999.1=05000500']", "extensions", "exactly one DER value"),
        ("extensions = ['1.3.6.1.4.1.99999.1=xyz']", "extensions", "in hex"),
        ("extensions = ['1.3.6.1.4.1.99999.1']", "extensions", "in hex"),
        ("extensions = ['1.3.6.1.4.1.99999.1=0500', '1.3.6.1.4.1.99999.1=0500']", "extensions", "once"),
    ] {
        let said = complaint(&format!("[profiles.sensor]\n{setting}\n"), &[]);
        let begins = said.starts_with(&format!("`profiles.sensor.{key}` is "));
        let has_origin = said.contains("(signalbeam.toml); allowed is ") || said.contains("(defaults); allowed is ");
        assert!(begins && has_origin, "{setting}: {said}");
        assert!(said.contains(rule) && !said.contains('\n'), "{setting}: {said}");
    }
}

#[test]
fn what_is_wrong_with_the_profile_for_devices_is_named_where_it_comes_from() {
    for (toml, said) in [
        ("[certificates]\nmax_validity_days = 3651\n", "`certificates.max_validity_days` is 3651 (signalbeam.toml)"),
        ("[certificates]\ndefault_validity_days = 500\n", "`certificates.default_validity_days` is 500"),
        ("[profiles.device]\nvalidity_days = 398\n", "`profiles.device.validity_days` is 398"),
        ("[profiles.Sensor]\n", "`profiles.Sensor` is `Sensor` (signalbeam.toml); allowed is"),
    ] {
        let complaint = complaint(toml, &[]);
        assert!(complaint.starts_with(said) && complaint.lines().count() == 1, "{complaint}");
    }
    // Short certificates that can always be renewed are what somebody may want.
    load("[certificates]\ndefault_validity_days = 7\n", &[]).unwrap();
    let (_dir, sources) = sources(Some("[profiles.sensor]\nsubject = 'CN=x'\n"), &[]);
    assert!(sources.check().unwrap_err().to_string().contains("`profiles.sensor.subject`"), "a check finds it too");
}
