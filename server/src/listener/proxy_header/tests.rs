//! Headers as balancers write them, and as they must not be.

use super::*;

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &length, rest].concat()
}

const V4: &[u8] = &[203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 0x20, 0xfb];

fn v6() -> Vec<u8> {
    let mut rest = vec![0; 36];
    rest[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    rest[15] = 7;
    rest[32..34].copy_from_slice(&4711_u16.to_be_bytes());
    rest
}

fn with_checksum(kinds_before: &[u8]) -> Vec<u8> {
    let mut header = header(PROXY, TCP4, &[V4, kinds_before, &[TYPE_CRC32C, 0, 4, 0, 0, 0, 0]].concat());
    let at = header.len() - 4;
    let sum = CRC32C.checksum(&header);
    header[at..].copy_from_slice(&sum.to_be_bytes());
    header
}

fn address(header: &[u8]) -> String {
    parse_proxy_header(header).unwrap().map_or("local".to_owned(), |address| address.to_string())
}

#[test]
fn the_client_is_the_source() {
    assert_eq!(address(&header(PROXY, TCP4, V4)), "203.0.113.9:4711");
    assert_eq!(address(&header(PROXY, TCP6, &v6())), "[2001:db8::7]:4711");
}

#[test]
fn a_balancers_own_connection_has_no_other_client_whatever_it_says() {
    for (family, rest) in [(0, &[][..]), (TCP4, V4), (0x7f, b"anything")] {
        assert_eq!(address(&header(LOCAL, family, rest)), "local");
    }
}

#[test]
fn unknown_extensions_are_skipped_and_the_checksum_is_checked() {
    let unknown = [&[0xe0, 0, 3, 1, 2, 3][..], &[0x04, 0, 0], &[0x02, 0, 2, 0xff, 0xfe]].concat();
    assert_eq!(address(&header(PROXY, TCP4, &[V4, &unknown].concat())), "203.0.113.9:4711");
    let good = with_checksum(&unknown);
    assert_eq!(address(&good), "203.0.113.9:4711");
    for at in [16, 20, good.len() - 12, good.len() - 1] {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        assert!(parse_proxy_header(&damaged).is_err(), "byte {at}");
    }
    let twice = header(PROXY, TCP4, &[&good[HEAD_BYTES..], &good[good.len() - 7..]].concat());
    assert!(matches!(parse_proxy_header(&twice), Err(ProxyHeaderError::Checksum)));
}

#[test]
fn the_checksum_is_castagnolis() {
    // RFC 3720, section B.4: 32 bytes of zeros.
    assert_eq!(CRC32C.checksum(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn everything_else_is_refused() {
    use ProxyHeaderError as E;
    let bare = header(PROXY, TCP4, V4);
    let huge = [SIGNATURE, &[PROXY, TCP4, 0xff, 0xff][..]].concat();
    for (bytes, expected) in [
        (b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 8443\r\n".to_vec(), E::Signature),
        (vec![22, 3, 1, 2, 0, 1], E::Signature),
        (vec![], E::Signature),
        (SIGNATURE.to_vec(), E::Length),
        (huge, E::TooLarge),
        (header(0x22, TCP4, V4), E::Command),
        (header(0x11, TCP4, V4), E::Command),
        (header(PROXY, 0, &[]), E::Family),
        (header(PROXY, 0x12, V4), E::Family),
        (header(PROXY, 0x31, &[0; 216]), E::Family),
        (header(PROXY, TCP4, &V4[..11]), E::Length),
        (header(PROXY, TCP6, V4), E::Length),
        (bare[..bare.len() - 1].to_vec(), E::Length),
        ([&bare[..], b"x"].concat(), E::Length),
        (header(PROXY, TCP4, &[V4, &[0xe0, 0]].concat()), E::Length),
        (header(PROXY, TCP4, &[V4, &[0xe0, 0, 1]].concat()), E::Length),
        (header(PROXY, TCP4, &[V4, &[TYPE_CRC32C, 0, 3, 0, 0, 0]].concat()), E::Length),
    ] {
        let error = parse_proxy_header(&bytes).unwrap_err();
        assert_eq!(error.to_string(), expected.to_string(), "{bytes:?}");
    }
}

#[tokio::test]
async fn not_a_byte_more_is_read_than_the_header_has() {
    let bytes = [&header(PROXY, TCP6, &v6())[..], b"and then TLS"].concat();
    let mut stream = &bytes[..];
    let client = read_proxy_header(&mut stream).await.unwrap();
    assert_eq!(client.unwrap().to_string(), "[2001:db8::7]:4711");
    assert_eq!(stream, b"and then TLS");
    for length in 0..16 + 36 {
        let read = read_proxy_header(&mut &bytes[..length]).await;
        assert!(matches!(read, Err(ProxyHeaderError::Io(_))), "{length}");
    }
}
