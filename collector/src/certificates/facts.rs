//! What a certificate says of itself.

use std::fmt::Write;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// Characters kept of one text of a certificate.
const LONGEST: usize = 256;
/// Alternative names kept.
const MOST_NAMES: usize = 100;

/// The server's own certificate, in words. Texts are the issuer's, not ours: data, never trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub subject_cn: String,
    pub issuer_cn: String,
    pub issuer_org: String,
    /// DNS names and IP addresses; others are left out.
    pub sans: Vec<String>,
    /// Hexadecimal, without leading zero bytes.
    pub serial_number: String,
    pub signature_algorithm: String,
    /// First and last moment of its life, both included (RFC 5280 §4.1.2.5).
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// SHA-256 over the DER, hexadecimal.
    pub fingerprint_sha256: String,
    pub is_ca: bool,
    /// Where the issuer's certificate can be fetched (RFC 5280 §4.2.2.1).
    pub issuer_url: Option<String>,
}

/// One certificate of a chain as sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub subject_cn: String,
    pub issuer_cn: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// `None`: this is no X.509 certificate.
pub fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

impl Facts {
    pub fn of(der: &[u8], certificate: &X509Certificate<'_>) -> Self {
        let Link { subject_cn, issuer_cn, not_before, not_after } = Link::of(certificate);
        let organisation = certificate.issuer().iter_organization().next();
        let serial: String = hex(certificate.raw_serial().iter().skip_while(|byte| **byte == 0));
        Self {
            subject_cn,
            issuer_cn,
            issuer_org: cut(organisation.and_then(|name| name.as_str().ok()).unwrap_or_default()),
            sans: names(certificate),
            serial_number: if serial.is_empty() { "00".to_owned() } else { serial },
            signature_algorithm: algorithm(certificate),
            not_before,
            not_after,
            fingerprint_sha256: fingerprint(der),
            is_ca: certificate.is_ca(),
            issuer_url: issuer_url(certificate),
        }
    }
}

impl Link {
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let subject = certificate.subject().iter_common_name().next();
        let issuer = certificate.issuer().iter_common_name().next();
        Self {
            subject_cn: cut(subject.and_then(|name| name.as_str().ok()).unwrap_or_default()),
            issuer_cn: cut(issuer.and_then(|name| name.as_str().ok()).unwrap_or_default()),
            not_before: moment(certificate.validity().not_before),
            not_after: moment(certificate.validity().not_after),
        }
    }
}

/// A time of a certificate. The last days of the year 9999, which stand for "never ends"
/// (RFC 5280 §4.1.2.5), are one moment.
pub fn moment(time: ASN1Time) -> Timestamp {
    let seconds = time.timestamp().min(Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(cut(name)),
        GeneralName::IPAddress(bytes) => {
            match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                (Ok(v4), _) => Some(std::net::Ipv4Addr::from(v4).to_string()),
                (_, Ok(v6)) => Some(std::net::Ipv6Addr::from(v6).to_string()),
                _ => None,
            }
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).take(MOST_NAMES).collect()
}

fn algorithm(certificate: &X509Certificate<'_>) -> String {
    let oid = &certificate.signature_algorithm.algorithm;
    let registry = x509_parser::objects::oid_registry();
    x509_parser::objects::oid2sn(oid, registry)
        .map_or_else(|_| oid.to_id_string(), ToOwned::to_owned)
}

fn issuer_url(certificate: &X509Certificate<'_>) -> Option<String> {
    let access = certificate.extensions().iter().find_map(|extension| {
        match extension.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => Some(access),
            _ => None,
        }
    })?;
    access.iter().find_map(|description| match &description.access_location {
        GeneralName::URI(url)
            if description.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS =>
        {
            Some(cut(url))
        }
        _ => None,
    })
}

fn fingerprint(der: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref())
}

fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    bytes.into_iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
