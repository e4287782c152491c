//! Credentials, moments, serial numbers, fingerprints and cursors.

use signalbeam_domain::credential::RegistrationToken;
use signalbeam_domain::{ApiKey, ClaimSecret, Fingerprint, SerialNumber, Timestamp};
use signalbeam_projections::Cursor;

pub(crate) const MOMENTS: &[&str] =
    &["T", "Z", "-", ":", ".", "+00:00", "-23:59", "60", "0000", "9999", "02-29", "T24:00:00Z", "12-31T23:59:60Z"];

/// How many characters a secret has.
const SECRET_CHARACTERS: usize = 43;

/// What is taken is shown as it came, and never printed.
pub(crate) fn credential(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let taken = [
        RegistrationToken::parse(text).ok().map(|token| (token.expose(), format!("{token:?}"))),
        ApiKey::parse(text).ok().map(|key| (key.expose(), format!("{key:?}"))),
        ClaimSecret::parse(text).ok().map(|secret| (secret.expose(), format!("{secret:?}"))),
    ];
    let taken: Vec<_> = taken.into_iter().flatten().collect();
    assert!(taken.len() <= 1, "a text is one kind of credential");
    for (exposed, printed) in taken {
        assert_eq!(exposed, text);
        assert!(!printed.contains(&text[text.len() - SECRET_CHARACTERS..]), "{printed}");
    }
}

/// What is taken has one written form, which sorts as the moments do.
pub(crate) fn moment(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(moment) = Timestamp::parse(text) else { return };
    let written = moment.to_string();
    assert_eq!(written.len(), "2026-01-31T12:00:00.000000Z".len());
    assert_eq!(Timestamp::parse(&written), Ok(moment));
    let next = Timestamp::from_unix_microseconds(moment.unix_microseconds() + 1);
    assert!(next == moment || next.to_string() > written);
}

/// What is taken has one written form.
pub(crate) fn hex(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(serial) = SerialNumber::from_hex(text) {
        let written = serial.to_string();
        assert_eq!(written, text.replace(':', "").to_lowercase());
        assert_eq!(SerialNumber::from_hex(&written), Ok(serial));
        let may_be_issued = serial.as_octets()[0] < 0x80 && *serial.as_octets() != [0; 20];
        assert_eq!(SerialNumber::from_octets(*serial.as_octets()).is_ok(), may_be_issued);
    }
    if let Ok(fingerprint) = Fingerprint::parse(text) {
        assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Ok(fingerprint));
        assert_eq!(fingerprint.to_string().len(), "SHA256:".len() + 64);
    }
}

/// What is taken has one written form.
pub(crate) fn cursor(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
    }
}
