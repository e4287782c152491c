//! The header of the PROXY protocol, against another implementation.

use futures_util::FutureExt as _;
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use signalbeam_server::listener::{MAX_HEADER_BYTES, ProxyHeaderError as E, parse_proxy_header, read_proxy_header};

/// Both agree on whose connection it is, and a stream loses exactly the header's bytes.
pub(crate) fn run(input: &[u8]) {
    let config = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    let theirs = ProxyHeader::parse(input, config).ok();
    let theirs = theirs.map(|(header, length)| (header.proxied_address().cloned(), length));
    let ours = parse_proxy_header(input);
    match (&ours, &theirs) {
        (Ok(Some(client)), Some((Some(address), length))) => {
            assert_eq!((*client, *length, address.protocol), (address.source, input.len(), Protocol::Stream));
        }
        // LOCAL: we look at nothing else, they look at the addresses' family. What they take and we do not is too large, has
        // a wrong checksum or extensions that contradict themselves, or no address, or bytes behind it.
        (Ok(None) | Err(E::Signature | E::Command), None)
        | (Ok(None), Some((None, _)))
        | (Err(E::TooLarge | E::Checksum | E::Length | E::Family), _) => {}
        (ours, theirs) => panic!("we say {ours:?}, they say {theirs:?}"),
    }
    let mut stream = input;
    let read = read_proxy_header(&mut stream).now_or_never().expect("all bytes are there");
    let taken = &input[..input.len() - stream.len()];
    assert!(taken.len() <= MAX_HEADER_BYTES);
    match read {
        Ok(client) => assert_eq!(parse_proxy_header(taken).unwrap(), client),
        Err(error) => assert!(ours.is_err(), "{error}"),
    }
}
