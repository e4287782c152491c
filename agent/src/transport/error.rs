//! The ways in which a call fails, told apart by what the caller, or a person, can do about them.

use std::io;

use rustls::{AlertDescription, CertificateError};
use ureq::{Error, Timeout};

use crate::problem::Problem;
use crate::server_url::ServerUrl;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server answered with a problem.
    #[error("{}", describe(.0))]
    Refused(Box<Problem>),
    /// No connection: nothing was sent.
    #[error("cannot reach {server}: {reason}")]
    Unreachable {
        /// Who was called.
        server: ServerUrl,
        /// The system's words.
        reason: String,
    },
    /// The connection broke or timed out after the request may have arrived: its effect is unknown.
    #[error("the answer of {server} was lost: {reason}")]
    AnswerLost {
        /// Who was called.
        server: ServerUrl,
        /// The system's words.
        reason: String,
    },
    /// The server's certificate did not convince; nothing was sent.
    #[error("{server} cannot be trusted: {reason}")]
    ServerNotTrusted {
        /// Who was called.
        server: ServerUrl,
        /// What is wrong with its certificate.
        reason: CertificateError,
    },
    /// The server, or something before it, ended the handshake because of the device's certificate.
    #[error("{server} refused the device's certificate in the handshake ({alert:?})")]
    ClientCertificateRefused {
        /// Who was called.
        server: ServerUrl,
        /// The TLS alert (RFC 8446, section 6.2).
        alert: AlertDescription,
    },
    /// Something answered that is not our server.
    #[error("{server} gave {what}, which is not an answer of a SignalBeam server")]
    NotOurServer {
        /// Who was called.
        server: ServerUrl,
        /// What came instead.
        what: String,
    },
}

impl CallError {
    /// Whether the device's certificate was what failed, so that its API key may still do.
    pub fn refuses_certificate(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.refuses_certificate(),
            Self::ClientCertificateRefused { .. } => true,
            _ => false,
        }
    }

    /// The server's problem, if it gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// The server's code, or one of ours in the same style.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(problem) => &problem.code,
            Self::Unreachable { .. } => "UNREACHABLE",
            Self::AnswerLost { .. } => "ANSWER_LOST",
            Self::ServerNotTrusted { .. } => "SERVER_NOT_TRUSTED",
            Self::ClientCertificateRefused { .. } => "CERTIFICATE_REFUSED",
            Self::NotOurServer { .. } => "NOT_A_SIGNALBEAM_SERVER",
        }
    }

    /// What to do next.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Refused(problem) => problem.advice(),
            Self::Unreachable { .. } => "Check the network and --cloud-url, then run the command again.",
            Self::AnswerLost { .. } => "Run the command again: repeating is safe and continues where it was.",
            Self::ServerNotTrusted { reason, .. } => trust_advice(reason),
            Self::ClientCertificateRefused { .. } => {
                "Run 'signalbeam-agent request-certificate' for a new certificate."
            }
            Self::NotOurServer { .. } => {
                "A captive portal or proxy may stand in the way: log in to the network, or check --cloud-url, then run the command again."
            }
        }
    }

    pub(super) fn from_ureq(server: &ServerUrl, error: Error) -> Self {
        let server = server.clone();
        match error {
            Error::Rustls(error) => Self::from_tls(server, &error),
            Error::Io(error) => Self::from_io(server, &error),
            Error::Timeout(timeout @ (Timeout::Resolve | Timeout::Connect)) => {
                Self::Unreachable { server, reason: format!("timed out ({timeout})") }
            }
            Error::Timeout(timeout) => Self::AnswerLost { server, reason: format!("timed out ({timeout})") },
            Error::Protocol(_) | Error::LargeResponseHeader(..) | Error::BodyExceedsLimit(_) => {
                Self::NotOurServer { server, what: error.to_string() }
            }
            other => Self::Unreachable { server, reason: other.to_string() },
        }
    }

    fn from_io(server: ServerUrl, error: &io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::from_tls(server, tls);
        }
        let reason = error.to_string();
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock => Self::AnswerLost { server, reason },
            _ => Self::Unreachable { server, reason },
        }
    }

    fn from_tls(server: ServerUrl, error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(reason) => Self::ServerNotTrusted { server, reason: reason.clone() },
            rustls::Error::AlertReceived(alert) if is_about_our_certificate(*alert) => {
                Self::ClientCertificateRefused { server, alert: *alert }
            }
            other => Self::Unreachable { server, reason: other.to_string() },
        }
    }
}

fn is_about_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

fn trust_advice(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "The server's certificate begins in the future: this machine's clock is probably slow. Set it and run the command again."
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "The server's certificate has ended: compare this machine's clock with the real time; if it is right, tell the server's operator."
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "The server's certificate is for another name: use a --cloud-url that it names, or have the name added to the server's tls.server_names."
        }
        _ => {
            "Check --cloud-url; register with the right --ca-cert or --ca-fingerprint if the server has its own CA. A captive portal may stand in the way, too."
        }
    }
}

fn describe(problem: &Problem) -> String {
    let said = problem.detail.as_deref().or(problem.title.as_deref()).unwrap_or("no detail given");
    let mut text = format!("the server refused ({}, HTTP {}): {said}", problem.code, problem.status);
    let fields = problem.errors.iter().map(|field| format!("; {}: {}", field.pointer, field.detail));
    text.extend(fields);
    text.extend(problem.retry_after_seconds.map(|seconds| format!("; it asks to wait {seconds} s")));
    text.extend(problem.correlation_id.iter().map(|id| format!(" [correlation id {id}]")));
    text
}
