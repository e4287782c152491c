//! `[rate_limit]` and `[tenants]`, in a file and in the environment.

use signalbeam_domain::TenantId;

use super::{complaint, load};
use crate::config::{Config, TenantBounds};

const TENANT: &str = "018f3c5e-7b1a-7cc2-9d3e-0123456789ab";

fn bounds(config: &Config, id: &str) -> TenantBounds {
    config.tenants.overrides[&TenantId::parse(id).unwrap()].over(&config.tenants.default)
}

#[test]
fn a_tenant_has_the_bounds_of_all_except_where_it_has_its_own() {
    let toml = format!(
        "[tenants.default]\nmax_devices = 100\nallowed_networks = ['10.0.0.0/8']\n\
         [tenants.'{TENANT}']\nmax_devices = 5\nrequests_per_second = 20\n"
    );
    let config = load(&toml, &[]).unwrap();
    assert_eq!(config.tenants.default.max_devices, 100);
    let own = bounds(&config, TENANT);
    assert_eq!((own.max_devices, own.requests_per_second, own.max_active_tokens), (5, 20, 0));
    assert_eq!(own.allowed_networks, config.tenants.default.allowed_networks);
    assert_eq!(load(&toml::to_string(&config).unwrap(), &[]).unwrap(), config, "and is read back as it is printed");
}

#[test]
fn the_letters_of_a_tenants_uuid_may_be_large() {
    let config = load(&format!("[tenants.'{}']\nmax_devices = 5\n", TENANT.to_uppercase()), &[]).unwrap();
    assert_eq!(bounds(&config, TENANT).max_devices, 5);
    let both =
        format!("[tenants.'{TENANT}']\nmax_devices = 5\n[tenants.'{}']\nmax_devices = 6\n", TENANT.to_uppercase());
    assert!(complaint(&both, &[]).contains("unknown key"), "two sections of one tenant");
}

#[test]
fn the_environment_can_say_the_same() {
    let environment = [
        ("SIGNALBEAM__TENANTS__DEFAULT__REQUESTS_PER_SECOND", "7"),
        ("SIGNALBEAM__TENANTS__DEFAULT__ALLOWED_NETWORKS", "10.0.0.0/8, 2001:db8::/32"),
        ("SIGNALBEAM__TENANTS__018F3C5E_7B1A_7CC2_9D3E_0123456789AB__MAX_DEVICES", "5"),
        ("SIGNALBEAM__TENANTS__018f3c5e-7b1a-7cc2-9d3e-0123456789ab__ALLOWED_NETWORKS", "192.0.2.0/24"),
        ("SIGNALBEAM__RATE_LIMIT__ENABLED", "false"),
        ("SIGNALBEAM__RATE_LIMIT__CLAIMS_BURST", "3"),
    ];
    let config = load("", &environment).unwrap();
    assert_eq!((config.rate_limit.enabled, config.rate_limit.claims_burst), (false, 3));
    assert_eq!(config.tenants.default.allowed_networks.len(), 2);
    let own = bounds(&config, TENANT);
    assert_eq!((own.max_devices, own.requests_per_second), (5, 7));
    assert_eq!(own.allowed_networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.0/24"]);
}

#[test]
fn what_is_wrong_with_limits_is_named() {
    for (toml, said) in [
        ("[tenants.acme]\nmax_devices = 1\n", "unknown key `tenants.acme.max_devices`"),
        ("[tenants.default]\nmax_device = 1\n", "did you mean `tenants.default.max_devices`?"),
        (&format!("[tenants.'{TENANT}']\nmax_gadgets = 1\n"), "unknown key `tenants.018f3c5e"),
        (&format!("[tenants.'{TENANT}']\nmax_device = 1\n"), &format!("did you mean `tenants.{TENANT}.max_devices`?")),
        (
            &format!("[tenants.'{TENANT}']\nmax_devices = 'x'\n"),
            &format!("`tenants.{TENANT}.max_devices` is `x` (signalbeam.toml); allowed is a whole number"),
        ),
        (
            &format!("[tenants.'{TENANT}']\nrequests_per_second = 1000001\n"),
            &format!("`tenants.{TENANT}.requests_per_second` is 1000001 (signalbeam.toml)"),
        ),
        ("[tenants.default]\nallowed_networks = ['10.0.0.1/8']\n", "the network is `10.0.0.0/8`"),
        (&format!("[tenants.'{TENANT}']\nrequests_per_second = 1000001\n"), "allowed is 0 to 1000000"),
        ("[rate_limit]\nregistrations_burst = 0\n", "`rate_limit.registrations_burst` is 0"),
        ("[rate_limit]\nmax_tracked_keys = 10\n", "allowed is 1024 to 1048576"),
        ("[rate_limit]\nfailures = 1\n", "unknown key `rate_limit.failures`"),
        ("[listener]\nmax_concurrent_requests = 0\n", "`listener.max_concurrent_requests` is 0"),
    ] {
        let complaint = complaint(toml, &[]);
        assert!(complaint.contains(said), "{complaint}");
    }
}
