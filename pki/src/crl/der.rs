//! DER, written front to back into one buffer: a list may have a hundred thousand entries.

use time::{OffsetDateTime, UtcOffset};

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Appends one element.
pub(super) fn push(out: &mut Vec<u8>, tag: u8, contents: &[u8]) {
    out.push(tag);
    if let Ok(short @ 0..0x80) = u8::try_from(contents.len()) {
        out.push(short);
    } else {
        let length = contents.len().to_be_bytes();
        let significant = &length[length.iter().take_while(|octet| **octet == 0).count()..];
        out.push(significant.len().to_le_bytes()[0] | 0x80);
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(contents);
}

/// One element by itself.
pub(super) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(contents.len() + 10);
    push(&mut out, tag, contents);
    out
}

/// Appends a number that is not negative, given by its octets: the shortest form, with a zero in front where the top bit
/// is set.
pub(super) fn push_unsigned(out: &mut Vec<u8>, octets: &[u8]) {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    let significant = &octets[zeros.min(octets.len().saturating_sub(1))..];
    if significant.first().is_some_and(|first| first & 0x80 != 0) {
        push(out, INTEGER, &[&[0], significant].concat());
    } else {
        push(out, INTEGER, significant);
    }
}

/// Appends a time: `UTCTime` through 2049, `GeneralizedTime` from then on (RFC 5280, section 5.1.2.4).
pub(super) fn push_time(out: &mut Vec<u8>, moment: OffsetDateTime) {
    let moment = moment.to_offset(UtcOffset::UTC);
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    let digits = |value: u32| [b'0' + (value / 10 % 10).to_le_bytes()[0], b'0' + (value % 10).to_le_bytes()[0]];
    let year = year.unsigned_abs();
    let mut text = [0; 15];
    text[..2].copy_from_slice(&digits(year / 100));
    text[2..4].copy_from_slice(&digits(year));
    let rest = [u8::from(month), day, hour, minute, second];
    for (pair, value) in text[4..14].chunks_exact_mut(2).zip(rest) {
        pair.copy_from_slice(&digits(value.into()));
    }
    text[14] = b'Z';
    if (1950..2050).contains(&year) {
        push(out, UTC_TIME, &text[2..]);
    } else {
        push(out, GENERALIZED_TIME, &text);
    }
}

/// Appends an extension (RFC 5280, section 4.1), whose type is given by the contents of its object identifier.
pub(super) fn push_extension(out: &mut Vec<u8>, kind: &[u8], is_critical: bool, value: &[u8]) {
    let mut contents = element(OBJECT_IDENTIFIER, kind);
    if is_critical {
        push(&mut contents, BOOLEAN, &[0xff]);
    }
    push(&mut contents, OCTET_STRING, value);
    push(out, SEQUENCE, &contents);
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, head) in [
            (0_usize, &[0x30, 0][..]),
            (127, &[0x30, 127]),
            (128, &[0x30, 0x81, 128]),
            (255, &[0x30, 0x81, 255]),
            (256, &[0x30, 0x82, 1, 0]),
            (65_536, &[0x30, 0x83, 1, 0, 0]),
        ] {
            let element = element(SEQUENCE, &vec![7; length]);
            assert_eq!((&element[..head.len()], element.len()), (head, head.len() + length));
        }
    }

    #[test]
    fn numbers_take_the_shortest_form_and_are_never_negative() {
        for (octets, expected) in [
            (&[0, 0][..], &[INTEGER, 1, 0][..]),
            (&[0, 5], &[INTEGER, 1, 5]),
            (&[0, 0x80], &[INTEGER, 2, 0, 0x80]),
            (&[1, 0], &[INTEGER, 2, 1, 0]),
        ] {
            let mut out = vec![];
            push_unsigned(&mut out, octets);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn times_change_their_form_with_the_year_2050() {
        let mut out = vec![];
        push_time(&mut out, datetime!(2049-12-31 23:59:58 UTC));
        push_time(&mut out, datetime!(2050-01-02 03:04:05 UTC));
        assert_eq!(out, b"\x17\x0d491231235958Z\x18\x0f20500102030405Z");
    }

    #[test]
    fn times_are_those_of_greenwich() {
        let mut out = vec![];
        push_time(&mut out, datetime!(2026-01-01 00:30:00 +01:00));
        assert_eq!(out, b"\x17\x0d251231233000Z");
    }
}
