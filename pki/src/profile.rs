//! What each kind of certificate says: subject, names, usages, extensions (RFC 5280, section 4.2).

mod extensions;
mod pattern;
mod rehearsal;
mod set;
mod subject;
mod template;

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};
use rsa::pkcs8::der::asn1::{AnyRef, ObjectIdentifier};
use rsa::pkcs8::der::{self, Encode, Tag, TagNumber};
use rustls_pki_types::ServerName;
use signalbeam_domain::{AuthorityId, SerialNumber};

use crate::validity::Validity;

pub use set::{ProfileSet, Profiles};
pub use template::{InvalidProfile, Profile, ProfileSettings};

const ORGANIZATION: &str = "SignalBeam";
const COUNTRY: &str = "US";
/// id-pe-authorityInfoAccess (RFC 5280, section 4.2.2.1).
const AUTHORITY_INFO_ACCESS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 1];
/// id-pkix-ocsp-nocheck (RFC 6960, section 4.2.2.2.1).
const OCSP_NO_CHECK: [u64; 10] = [1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
const ID_AD_OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const ID_AD_CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

/// What stands in a URL for the id of the authority that it belongs to.
const AUTHORITY_PLACEHOLDER: &str = "{authority}";

/// An `http://` or `https://` URL that goes into certificates: printable ASCII without spaces, at most 2048 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedUrl(String);

/// The text is no URL that can go into a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an http:// or https:// URL of printable ASCII characters without spaces, at most 2048")]
pub struct InvalidPublishedUrl;

impl PublishedUrl {
    /// Takes the text as it stands.
    ///
    /// # Errors
    /// [`InvalidPublishedUrl`] where it is anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidPublishedUrl> {
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or(InvalidPublishedUrl)?;
        let has_host = host.bytes().next().is_some_and(|c| !matches!(c, b'/' | b'?' | b'#' | b':'));
        if has_host && text.len() <= 2048 && text.bytes().all(|c| c.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPublishedUrl)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of one authority's: its id stands in the place of `{authority}`, where the text has that.
    #[must_use]
    pub fn for_authority(&self, id: AuthorityId) -> Self {
        Self(self.0.replace(AUTHORITY_PLACEHOLDER, &id.to_string()))
    }
}

/// Where whoever checks a certificate finds more; what is not configured does not appear in certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedUrls {
    /// The revocation list (CRL distribution point).
    pub crl: Option<PublishedUrl>,
    /// The OCSP responder (authority information access).
    pub ocsp: Option<PublishedUrl>,
    /// The certificate authority's own certificate (authority information access).
    pub issuer: Option<PublishedUrl>,
}

impl PublishedUrls {
    /// Those of one authority's certificates for devices and services.
    #[must_use]
    pub fn for_authority(&self, id: AuthorityId) -> Self {
        let of = |url: &Option<PublishedUrl>| url.as_ref().map(|url| url.for_authority(id));
        Self { crl: of(&self.crl), ocsp: self.ocsp.clone(), issuer: of(&self.issuer) }
    }

    /// Those of its certificates for other authorities. A list or certificate that is found under one URL whoever signs is
    /// that of the authority that signs for devices, so it is not named here.
    #[must_use]
    pub fn for_authorities_under(&self, id: AuthorityId) -> Self {
        let is_told_apart = |url: &PublishedUrl| url.as_str().contains(AUTHORITY_PLACEHOLDER);
        let told_apart = |url: &Option<PublishedUrl>| url.clone().filter(is_told_apart);
        Self { crl: told_apart(&self.crl), ocsp: self.ocsp.clone(), issuer: told_apart(&self.issuer) }.for_authority(id)
    }
}

/// A profile cannot be expressed as a certificate.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A name has characters that its field cannot hold.
    #[error(transparent)]
    Name(#[from] rcgen::Error),
    /// An extension cannot be encoded.
    #[error("an extension cannot be encoded")]
    Extension(#[from] der::Error),
}

/// A root: may sign certificates and revocation lists, nothing else.
pub(crate) fn root(
    common_name: &str,
    serial: &SerialNumber,
    validity: Validity,
) -> Result<CertificateParams, ProfileError> {
    authority(common_name, serial, validity, BasicConstraints::Unconstrained)
}

/// An issuing authority under a root: signs end entities' certificates, and no further authority's (RFC 5280, section
/// 4.2.1.9).
pub(crate) fn intermediate(
    common_name: &str,
    serial: &SerialNumber,
    validity: Validity,
    urls: &PublishedUrls,
) -> Result<CertificateParams, ProfileError> {
    let mut params = authority(common_name, serial, validity, BasicConstraints::Constrained(0))?;
    params.use_authority_key_identifier_extension = true;
    name_urls(&mut params, urls)?;
    Ok(params)
}

/// An authority's subject, as it is read out of its certificate.
pub(crate) fn authority_subject(common_name: &str) -> String {
    format!("CN={common_name}, O={ORGANIZATION}, C={COUNTRY}")
}

fn authority(
    common_name: &str,
    serial: &SerialNumber,
    validity: Validity,
    constraints: BasicConstraints,
) -> Result<CertificateParams, ProfileError> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    subject.push(DnType::OrganizationName, ORGANIZATION);
    subject.push(DnType::CountryName, DnValue::PrintableString(COUNTRY.try_into()?));
    let mut params = base(subject, serial, validity);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Our own listener: server authentication only, for the given names; always on a P-256 key.
pub(crate) fn server(
    serial: &SerialNumber,
    names: &[ServerName<'static>],
    validity: Validity,
    urls: &PublishedUrls,
) -> Result<CertificateParams, ProfileError> {
    // Names stand in the extension alone (RFC 9525, section 2); a common name holds 64 characters at most.
    let mut params = end_entity(end_entity_subject("SignalBeam server"), serial, validity, urls)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = names.iter().filter_map(subject_alternative_name).collect::<Result<_, _>>()?;
    Ok(params)
}

/// Our own OCSP responder: signs answers and nothing else, and is itself not to be asked about (RFC 6960, 4.2.2.2.1).
pub(crate) fn ocsp_signer(serial: &SerialNumber, validity: Validity) -> Result<CertificateParams, ProfileError> {
    let subject = end_entity_subject("SignalBeam OCSP responder");
    let mut params = end_entity(subject, serial, validity, &PublishedUrls::default())?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    params.custom_extensions.push(CustomExtension::from_oid_content(&OCSP_NO_CHECK, AnyRef::NULL.to_der()?));
    Ok(params)
}

fn subject_alternative_name(name: &ServerName<'static>) -> Option<Result<SanType, rcgen::Error>> {
    match name {
        ServerName::DnsName(name) => Some(name.as_ref().try_into().map(SanType::DnsName)),
        ServerName::IpAddress(address) => Some(Ok(SanType::IpAddress((*address).into()))),
        _ => None,
    }
}

fn end_entity_subject(common_name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    subject.push(DnType::OrganizationName, ORGANIZATION);
    subject
}

fn end_entity(
    subject: DistinguishedName,
    serial: &SerialNumber,
    validity: Validity,
    urls: &PublishedUrls,
) -> Result<CertificateParams, ProfileError> {
    let mut params = base(subject, serial, validity);
    // With the plain `NoCa` neither basicConstraints nor the subject key identifier would appear.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    name_urls(&mut params, urls)?;
    Ok(params)
}

fn name_urls(params: &mut CertificateParams, urls: &PublishedUrls) -> Result<(), ProfileError> {
    params.crl_distribution_points =
        urls.crl.iter().map(|url| CrlDistributionPoint { uris: vec![url.as_str().to_owned()] }).collect();
    params.custom_extensions = authority_info_access(urls)?.into_iter().collect();
    Ok(())
}

fn base(subject: DistinguishedName, serial: &SerialNumber, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(serial.as_octets().to_vec().into());
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params
}

fn authority_info_access(urls: &PublishedUrls) -> Result<Option<CustomExtension>, der::Error> {
    let mut descriptions = Vec::new();
    for (method, url) in [(ID_AD_OCSP, &urls.ocsp), (ID_AD_CA_ISSUERS, &urls.issuer)] {
        if let Some(url) = url {
            descriptions.extend(access_description(method, url)?);
        }
    }
    if descriptions.is_empty() {
        return Ok(None);
    }
    let contents = AnyRef::new(Tag::Sequence, &descriptions)?.to_der()?;
    Ok(Some(CustomExtension::from_oid_content(&AUTHORITY_INFO_ACCESS, contents)))
}

/// `AccessDescription`: a method and a `GeneralName`, here `[6] IMPLICIT IA5String`.
fn access_description(method: ObjectIdentifier, url: &PublishedUrl) -> Result<Vec<u8>, der::Error> {
    let uri = Tag::ContextSpecific { constructed: false, number: TagNumber::N6 };
    let mut contents = method.to_der()?;
    contents.extend(AnyRef::new(uri, url.as_str().as_bytes())?.to_der()?);
    AnyRef::new(Tag::Sequence, &contents)?.to_der()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_name_the_authority_that_it_belongs_to() {
        let id = AuthorityId::parse("018f3c5e-7b1a-7cc2-9d3e-000000000401").unwrap();
        let filled = |text| PublishedUrl::parse(text).unwrap().for_authority(id).as_str().to_owned();
        assert_eq!(filled("http://a/crl/{authority}/delta"), format!("http://a/crl/{id}/delta"));
        assert_eq!(filled("http://a/crl"), "http://a/crl");
    }

    #[test]
    fn certificates_of_authorities_name_only_what_is_their_issuers_own() {
        let id = AuthorityId::parse("018f3c5e-7b1a-7cc2-9d3e-000000000401").unwrap();
        let url = |text| Some(PublishedUrl::parse(text).unwrap());
        let urls = PublishedUrls {
            crl: url("http://a/crl"),
            ocsp: url("http://a/ocsp"),
            issuer: url("http://a/ca/{authority}"),
        };
        let issuer = url(&format!("http://a/ca/{id}"));
        assert_eq!(urls.for_authority(id), PublishedUrls { issuer: issuer.clone(), ..urls.clone() });
        assert_eq!(urls.for_authorities_under(id), PublishedUrls { crl: None, issuer, ..urls });
    }

    #[test]
    fn only_absolute_web_addresses_go_into_certificates() {
        for good in ["http://pki.example.com/crl", "https://[::1]:8443/api/certificates/crl?x=1"] {
            assert_eq!(PublishedUrl::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "crl", "ftp://a/b", "http://", "http:///crl", "http://a b", "http://é/", "http://a\n"] {
            assert_eq!(PublishedUrl::parse(bad), Err(InvalidPublishedUrl), "{bad}");
        }
        assert_eq!(PublishedUrl::parse(&format!("http://{}", "a".repeat(2048))), Err(InvalidPublishedUrl));
    }
}
