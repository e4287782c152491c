//! Getting a certificate: a first one, a new one, a successor. Every attempt can be repeated after a lost answer.

use time::OffsetDateTime;
use tracing::info;

use crate::api::{self, IssuedCertificate, RequestCertificate};
use crate::cert_store::{Installation, Purpose};
use crate::certificate::{CertificateFault, KeyedCertificate, certificate_request};
use crate::decision::{Age, certificate_age};
use crate::failure::Failure;
use crate::problem::{Problem, RenewableFrom};
use crate::secret::Secret;
use crate::session::{Method, Session};
use crate::transport::CallError;

/// Who makes the private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// This device; the key never leaves it.
    Device,
    /// The server, which shows it once.
    Server,
}

/// Requests a certificate by the API key and puts it in force. The server revokes the one before.
///
/// # Errors
/// When the server refuses, or its answer does not fit; nothing is changed then.
pub fn issue(session: &mut Session, origin: KeyOrigin, now: OffsetDateTime) -> Result<(), Failure> {
    let own_key = match origin {
        KeyOrigin::Device => Some(session.certs().pending_key(Purpose::Issue)?),
        KeyOrigin::Server => None,
    };
    let request = RequestCertificate { csr_pem: own_key.as_ref().map(sign_request).transpose()? };
    let call = api::issue_certificate(session.device_id(), &request)?;
    let issued = session.send_with_api_key(&call, now)?;
    install(session, issued, own_key, now)
}

/// Renews the installed certificate by itself, or by the API key where it is refused, and puts the successor in force.
///
/// # Errors
/// When there is no certificate, it may not be renewed, or the answer does not fit; the old one stays in force then.
pub fn renew(session: &mut Session, now: OffsetDateTime) -> Result<Method, Failure> {
    let Some(installed) = session.installed()? else {
        return Err(Failure::NoCertificate(session.certs().dir().to_owned()));
    };
    let serial_number = &installed.identity.info().serial_number;
    let key = session.certs().pending_key(Purpose::Renewal(serial_number))?;
    let request = RequestCertificate { csr_pem: Some(sign_request(&key)?) };
    let call = api::renew_certificate(serial_number, &request)?;
    let (issued, method) = match session.send_as_device(&call, now) {
        Err(Failure::Call(CallError::Refused(problem))) if problem.code == "CERTIFICATE_NOT_RENEWABLE" => {
            session.certs().forget_pending_key(Purpose::Renewal(serial_number))?;
            return Err(match problem.renewable_from {
                RenewableFrom::At(renewable_from) if renewable_from > now => {
                    Failure::NotRenewableYet { renewable_from }
                }
                _ => Failure::Call(CallError::Refused(problem)),
            });
        }
        other => other?,
    };
    install(session, issued, Some(key), now)?;
    Ok(method)
}

/// What became of an attempt to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The successor is in force.
    Renewed,
    /// A new certificate, requested by the API key, is in force.
    Replaced,
}

/// As [`renew`]; a certificate that is over, that another one took the place of, or that the server does not know is
/// replaced by a new one, so that no device needs a visit. One that an administrator revoked is replaced only where
/// `replace_revoked` says so.
///
/// # Errors
/// As [`renew`] and [`issue`].
pub fn renew_or_replace(session: &mut Session, now: OffsetDateTime, replace_revoked: bool) -> Result<Renewed, Failure> {
    let expired =
        session.installed()?.is_some_and(|installed| certificate_age(now, installed.identity.info()) == Age::Expired);
    match renew(session, now) {
        Ok(_) => Ok(Renewed::Renewed),
        Err(Failure::Call(CallError::Refused(problem)))
            if calls_for_a_new_one(&problem, expired || replace_revoked) =>
        {
            info!(code = problem.code, "the certificate cannot be renewed; requesting a new one by the API key");
            issue(session, KeyOrigin::Device, now)?;
            Ok(Renewed::Replaced)
        }
        Err(failure) => Err(failure),
    }
}

fn calls_for_a_new_one(problem: &Problem, even_if_revoked: bool) -> bool {
    match problem.code.as_str() {
        "CERTIFICATE_NOT_RENEWABLE" => problem.renewable_from == RenewableFrom::Never || even_if_revoked,
        "CERTIFICATE_EXPIRED" => even_if_revoked,
        "NOT_FOUND" | "CERTIFICATE_NOT_FOUND" => true,
        _ => false,
    }
}

fn sign_request(key: &Secret) -> Result<String, Failure> {
    certificate_request(key).map_err(|error| Failure::system("cannot sign a certificate request", error))
}

fn install(
    session: &mut Session,
    issued: IssuedCertificate,
    own_key: Option<Secret>,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let in_answer = |fault| Failure::Certificate { what: "the certificate in the server's answer".to_owned(), fault };
    let key = own_key.or(issued.private_key_pem).ok_or_else(|| in_answer(CertificateFault::NotAKey))?;
    let identity = KeyedCertificate::new(issued.certificate_pem, key).map_err(in_answer)?;
    if !session.is_ours(&identity) {
        return Err(in_answer(CertificateFault::OtherSubject(identity.info().subject.clone())));
    }
    session.install(Installation { identity, ca_pem: issued.ca_certificate_pem }, now)
}
