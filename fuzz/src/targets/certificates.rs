//! Certificates as a handshake or a proxy brings them.

use signalbeam_pki::{ChainVerifier, fingerprint, peek_validity};

const AUTHORITY: &[u8] = include_bytes!("../../fixtures/authority.der");
const DEVICE: &[u8] = include_bytes!("../../fixtures/device.der");

/// Nothing but what the authority signed is one of its own.
pub(crate) fn run(input: &[u8]) {
    let verifier = ChainVerifier::new([AUTHORITY]).unwrap();
    if let Some(validity) = peek_validity(input) {
        // Not in order, perhaps, but within what the clock can be compared with.
        assert!(validity.not_before.unix_timestamp().checked_sub(validity.not_after.unix_timestamp()).is_some());
    }
    if let Ok(verified) = verifier.verify(input) {
        assert_eq!(input, DEVICE, "a certificate that was never signed");
        assert_eq!(verified.fingerprint, fingerprint(DEVICE));
    }
}
