//! Which events take something away from somebody, and grant nothing to anybody: what may still be recorded while the
//! event log is not to be relied on.

use signalbeam_domain::Event;

/// Whatever is not in here is refused then, also what nobody has thought of yet.
const WITHDRAWALS: [&str; 9] = [
    "device.rejected",
    "device.suspended",
    "device.decommissioned",
    "registration_token.revoked",
    "api_key.revoked",
    "certificate.revoked",
    "certificate.abandoned",
    "admin_token.revoked",
    "admin_token.all_revoked",
];

/// Whether the event takes away and nothing else.
pub(crate) fn is_withdrawal(event: &Event) -> bool {
    WITHDRAWALS.contains(&event.event_type())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_withdrawal_is_an_event_that_exists() {
        for name in WITHDRAWALS {
            assert!(Event::kinds().any(|(kind, _)| kind == name), "{name}");
        }
    }
}
