//! `signalbeam admin-token`: one token on standard output, and nothing else.

use std::time::Duration;

use clap::Args;
use signalbeam_authn::admin::is_subject;
use signalbeam_authn::{AdminPrincipal, AdminTokens, Role};
use signalbeam_domain::TenantId;
use signalbeam_event_store::{Clock, SystemClock};

use super::{DataDirArgs, Failure, print};
use crate::data_dir::read_secret;
use crate::serve::ADMIN_KEY_FILE;

/// The longest life of a token: what is lost should not be good for ever.
const LONGEST_TTL: Duration = Duration::from_hours(366 * 24);

/// Whose token.
#[derive(Debug, Args)]
pub(super) struct AdminTokenArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
    /// What the token allows: admin, operator or auditor
    #[arg(long, default_value = "admin", value_parser = parse_role)]
    role: Role,
    /// Confine the token to this tenant; without it, it is good for every tenant
    #[arg(long, value_name = "UUID")]
    tenant_id: Option<TenantId>,
    /// How long it is valid: a number with s, m, h or d
    #[arg(long, default_value = "12h", value_parser = parse_ttl)]
    ttl: Duration,
    /// Who the token is for, as events will name them
    #[arg(long, default_value = "admin", value_name = "NAME", value_parser = parse_subject)]
    subject: String,
}

pub(super) fn run(args: &AdminTokenArgs) -> Result<(), Failure> {
    let secret = read_secret(&args.data_dir.data_dir, ADMIN_KEY_FILE).map_err(Failure::of)?;
    let admin = AdminPrincipal { subject: args.subject.clone(), role: args.role, tenant_id: args.tenant_id };
    let ttl_seconds = i64::try_from(args.ttl.as_secs()).unwrap_or(i64::MAX);
    let token = AdminTokens::new(&secret).sign(&admin, SystemClock.now(), ttl_seconds).map_err(Failure::of)?;
    print(&format!("{token}\n"))
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "expected admin, operator or auditor".to_owned())
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number with s, m, h or d, such as 12h, from 1s to 366d".to_owned();
    let unit = text.chars().last().ok_or_else(expected)?;
    let seconds_per_unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(expected()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    let ttl = Duration::from_secs(number.checked_mul(seconds_per_unit).ok_or_else(expected)?);
    if ttl.is_zero() || ttl > LONGEST_TTL { Err(expected()) } else { Ok(ttl) }
}

/// It is written into every event that the admin causes.
fn parse_subject(text: &str) -> Result<String, String> {
    if is_subject(text) {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 256 bytes without control characters, and not the form of another issuer's: URL|name".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_number_with_its_unit() {
        for (text, seconds) in [("1s", 1), ("90m", 5_400), ("12h", 43_200), ("366d", 366 * 86_400)] {
            assert_eq!(parse_ttl(text).unwrap().as_secs(), seconds, "{text}");
        }
        for bad in ["", "h", "12", "0h", "-1h", "1.5h", "367d", "99999999999999999999d", "12 h", "1ü"] {
            assert!(parse_ttl(bad).is_err(), "{bad}");
        }
    }
}
