//! What must hold for every input of every parser that a stranger reaches: beyond not panicking, that what is taken is read
//! again as the same, that bounds are kept, and that nobody further away changes what the proxy next to us says.
//!
//! A target is a plain function over bytes, so any fuzzer can drive it: see `docs/testing/fuzzing.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken promise is a panic: it is what a fuzzer looks for"
)]

mod targets;

use targets::{
    addresses, certificates, contexts, est_bodies, forwarded_certificates, ocsp_requests, proxy_headers, requests,
    texts,
};

/// A target: its name, which is its folder under `corpus/`, and what panics where a promise is broken.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As `signalbeam-fuzz` and the corpus name it.
    pub name: &'static str,
    /// Judges one input.
    pub run: fn(&[u8]),
    /// What inputs of this kind are made of.
    pub dictionary: &'static [&'static str],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "addresses", run: addresses::run, dictionary: addresses::DICTIONARY },
    Target { name: "certificate", run: certificates::run, dictionary: &[] },
    Target {
        name: "client_cert",
        run: forwarded_certificates::client_cert,
        dictionary: &[":", ",", "=", ";a=b", "\n"],
    },
    Target { name: "context", run: contexts::run, dictionary: contexts::DICTIONARY },
    Target { name: "credential", run: texts::credential, dictionary: &["sbt_", "sb_device_", "sbc_", "_", "-", "="] },
    Target { name: "csr", run: requests::run, dictionary: requests::DICTIONARY },
    Target { name: "cursor", run: texts::cursor, dictionary: &[".", "-", "0", "9223372036854775807", "+"] },
    Target { name: "est_body", run: est_bodies::run, dictionary: est_bodies::DICTIONARY },
    Target { name: "hex", run: texts::hex, dictionary: &[":", "SHA256:", "0", "ff", "FF"] },
    Target { name: "moment", run: texts::moment, dictionary: texts::MOMENTS },
    Target { name: "ocsp_request", run: ocsp_requests::run, dictionary: ocsp_requests::DICTIONARY },
    Target { name: "proxy_header", run: proxy_headers::run, dictionary: &["\r\n\r\n\0\r\nQUIT\n", "\0", "\x11", "!"] },
    Target { name: "xfcc", run: forwarded_certificates::xfcc, dictionary: forwarded_certificates::DICTIONARY },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
