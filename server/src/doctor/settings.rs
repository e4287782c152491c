//! Settings that are right and yet seldom what somebody wants.

use signalbeam_authn::client_address::canonical;

use super::{Check, Subject};
use crate::config::{ApiKeyFallback, Config, Durability, Sources};

const CONFIGURATION: &str = "configuration";
const WITHOUT_EFFECT: &str = "settings-without-effect";
const API_KEY_FALLBACK: &str = "api-key-fallback";
const TRUSTED_PROXIES: &str = "trusted-proxies";
const BCRYPT_COST: &str = "bcrypt-cost";
const LISTENER_NAMES: &str = "listener-names";
const OPS_LISTENER: &str = "ops-listener";
const AUDIT_DURABILITY: &str = "audit-durability";

/// Below this bcrypt is quick enough to guess by.
const BCRYPT_COST_WARNING: u32 = 10;
/// Networks wider than this are hardly all proxies.
const WIDE_NETWORK_PREFIX: u8 = 8;

pub(super) fn checks(subject: &Subject<'_>, sources: &Sources) -> Vec<Check> {
    let config = match &subject.config {
        Ok(config) => config,
        Err(error) => {
            let message = error.to_string().replace('\n', "; ");
            let mut checks = vec![Check::error(CONFIGURATION, message, "put it right; no server starts with it")];
            let others = [
                WITHOUT_EFFECT,
                API_KEY_FALLBACK,
                TRUSTED_PROXIES,
                BCRYPT_COST,
                LISTENER_NAMES,
                OPS_LISTENER,
                AUDIT_DURABILITY,
            ];
            checks.extend(others.map(|id| Check::skipped(id, "the configuration has errors")));
            return checks;
        }
    };
    let from = sources.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
    vec![
        Check::ok(CONFIGURATION, format!("the configuration is right ({from})")),
        without_effect(&sources.warnings().unwrap_or_default()),
        api_key_fallback(config),
        trusted_proxies(config),
        bcrypt_cost(config),
        listener_names(config),
        ops_listener(config),
        audit_durability(config),
    ]
}

fn without_effect(keys: &[String]) -> Check {
    if keys.is_empty() {
        return Check::ok(WITHOUT_EFFECT, "every setting has an effect");
    }
    let message = keys.join("; ");
    Check::warning(WITHOUT_EFFECT, message, "do not rely on them; remove them, or use a version that has them")
}

fn api_key_fallback(config: &Config) -> Check {
    match (config.mtls.enabled, config.authentication.api_key_fallback) {
        (false, ApiKeyFallback::Never | ApiKeyFallback::UnlessRevoked) => Check::warning(
            API_KEY_FALLBACK,
            "mtls.enabled is false, so certificates are not looked at and every device uses its API key, although \
             authentication.api_key_fallback says otherwise",
            "set mtls.enabled to true, or take authentication.api_key_fallback out",
        ),
        (false, ApiKeyFallback::Always) => {
            Check::ok(API_KEY_FALLBACK, "mtls.enabled is false: every device uses its API key")
        }
        (true, _) => Check::ok(API_KEY_FALLBACK, "certificates are looked at first"),
    }
}

fn trusted_proxies(config: &Config) -> Check {
    let trusted = &config.proxy.trusted;
    let named = |nets: Vec<&ipnet::IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let everybody: Vec<_> = trusted.iter().filter(|net| canonical(**net).prefix_len() == 0).collect();
    let action = "name the proxies' own addresses in proxy.trusted: whoever is trusted can claim any client address";
    if !everybody.is_empty() {
        return Check::error(TRUSTED_PROXIES, format!("{} trusts everybody", named(everybody)), action);
    }
    let wide: Vec<_> = trusted.iter().filter(|net| canonical(**net).prefix_len() < WIDE_NETWORK_PREFIX).collect();
    if !wide.is_empty() {
        return Check::warning(TRUSTED_PROXIES, format!("{} is a very wide network", named(wide)), action);
    }
    Check::ok(TRUSTED_PROXIES, format!("{} networks are trusted", trusted.len()))
}

fn bcrypt_cost(config: &Config) -> Check {
    let cost = config.authentication.bcrypt_cost;
    if cost < BCRYPT_COST_WARNING {
        let action = "set authentication.bcrypt_cost to 12; keys that exist keep their cost until they are rotated";
        return Check::warning(BCRYPT_COST, format!("authentication.bcrypt_cost is {cost}"), action);
    }
    Check::ok(BCRYPT_COST, format!("authentication.bcrypt_cost is {cost}"))
}

fn listener_names(config: &Config) -> Check {
    let address = config.listener.address;
    if config.lacks_server_names() {
        let message = format!("{address} serves other machines, and the certificate names this one alone (localhost)");
        return Check::warning(LISTENER_NAMES, message, "set tls.server_names to the names that devices use");
    }
    Check::ok(LISTENER_NAMES, format!("listening on {address} fits the certificate's names"))
}

fn ops_listener(config: &Config) -> Check {
    let address = config.listener.ops_address;
    if address.ip().is_loopback() {
        return Check::ok(OPS_LISTENER, format!("metrics and health are served to this machine alone ({address})"));
    }
    let message = format!("metrics and health are served without TLS and without a password on {address}");
    Check::warning(OPS_LISTENER, message, "see that a firewall lets only your monitoring in")
}

fn audit_durability(config: &Config) -> Check {
    match config.audit.durability {
        Durability::Strict => Check::ok(AUDIT_DURABILITY, "every attempt is durable before it is answered"),
        Durability::Relaxed => Check::warning(
            AUDIT_DURABILITY,
            "audit.durability is relaxed: a crash may lose the last 250 ms of successful attempts",
            "set it to strict, unless you chose that",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn a_setting_without_effect_is_named() {
        assert_eq!(without_effect(&[]).status, Status::Ok);
        let check = without_effect(&["`a.b` in a file has no effect".to_owned()]);
        assert_eq!(check.status, Status::Warning);
        assert!(check.message.contains("`a.b` in a file"), "{}", check.message);
    }
}
