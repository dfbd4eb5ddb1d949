//! The path from a server's certificate to a root, as a client finds it among what was sent.
//!
//! Servers send chains in any order, with certificates nobody needs, and with cross-signed ones that
//! have ended. What counts is the path a client uses. Links are found by names, key identifiers and
//! signatures; dates are not asked here.

use jiff::Timestamp;
use x509_parser::error::X509Error;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::der;
use super::facts::moment;
use crate::net::tls::Trust;

/// Certificates looked at in one path.
const LONGEST: usize = 8;
/// Signatures checked in one search: chains made to be costly are given up. Usual ones need three for
/// each certificate.
const MOST_SIGNATURES: u32 = 100;

/// Where a path ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At a trusted root, or at a certificate that is itself trusted, and when that ends where it is
    /// known.
    Root { not_after: Option<Timestamp>, is_sent: bool },
    /// At a certificate that signed itself and is not trusted.
    SelfSigned,
    /// At a certificate whose issuer was not sent and is not trusted.
    IssuerUnknown,
}

/// Indexes into what was sent, the server's own first, and where they lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub sent: Vec<usize>,
    pub end: End,
}

impl Path {
    /// The best path there is: to a trusted root before any other, of those one that holds `now`,
    /// of those the one that ends last.
    pub fn find(sent: &[X509Certificate<'_>], trust: &Trust, now: Timestamp) -> Self {
        let mut search = Search { sent, trust, found: Vec::new(), signatures: 0 };
        if !sent.is_empty() {
            search.extend(&mut vec![0]);
        }
        let rank = |path: &Self| {
            let (begin, end) = path.life(sent);
            let kind = match path.end {
                End::Root { .. } => 2,
                End::SelfSigned => 1,
                End::IssuerUnknown => 0,
            };
            (kind, begin <= now && now <= end, end)
        };
        let best = search.found.into_iter().max_by_key(rank);
        best.unwrap_or(Self { sent: vec![0], end: End::IssuerUnknown })
    }

    /// From the latest beginning to the first end of its certificates, the root included.
    pub fn life(&self, sent: &[X509Certificate<'_>]) -> (Timestamp, Timestamp) {
        let on_path = || self.sent.iter().filter_map(|index| sent.get(*index));
        let begin = on_path().map(|certificate| moment(certificate.validity().not_before)).max();
        let end = on_path().map(|certificate| moment(certificate.validity().not_after)).min();
        let end = end.unwrap_or(Timestamp::MAX);
        let root = match self.end {
            End::Root { not_after, .. } => not_after,
            _ => None,
        };
        (begin.unwrap_or(Timestamp::MIN), root.map_or(end, |root| root.min(end)))
    }
}

struct Search<'a> {
    sent: &'a [X509Certificate<'a>],
    trust: &'a Trust,
    found: Vec<Path>,
    signatures: u32,
}

impl Search<'_> {
    fn extend(&mut self, path: &mut Vec<usize>) {
        let sent = self.sent;
        let Some(last) = path.last().and_then(|index| sent.get(*index)) else { return };
        if let Some(end) = self.root_of(last) {
            self.found.push(Path { sent: path.clone(), end });
            return;
        }
        if names_itself(last) && self.signed_by(last, last.public_key()) {
            self.found.push(Path { sent: path.clone(), end: End::SelfSigned });
            return;
        }
        let mut dead_end = true;
        for (index, candidate) in sent.iter().enumerate() {
            if self.signatures >= MOST_SIGNATURES || path.len() >= LONGEST {
                break;
            }
            if !path.contains(&index)
                && may_issue(candidate, last)
                && self.signed_by(last, candidate.public_key())
            {
                dead_end = false;
                path.push(index);
                self.extend(path);
                path.pop();
            }
        }
        if dead_end {
            self.found.push(Path { sent: path.clone(), end: End::IssuerUnknown });
        }
    }

    /// The trusted root that issued `certificate`, or that it is itself. Roots are renewed under the
    /// same name and key: the one that ends last counts.
    fn root_of(&mut self, certificate: &X509Certificate<'_>) -> Option<End> {
        let (mut issuer, mut own) = (None, None);
        let trust = self.trust;
        for (root, not_after) in trust.roots() {
            let key = || der::sequence(&root.subject_public_key_info);
            let is_named = |name: &[u8]| der::content(name) == Some(root.subject.as_ref());
            if is_named(certificate.subject().as_raw()) && key() == certificate.public_key().raw {
                own = own.max(Some(not_after));
            } else if is_named(certificate.issuer().as_raw())
                && SubjectPublicKeyInfo::from_der(&key())
                    .is_ok_and(|(_, key)| self.signed_by(certificate, &key))
            {
                issuer = issuer.max(Some(not_after));
            }
        }
        let is_sent = own.is_some();
        own.or(issuer).map(|not_after| End::Root { not_after, is_sent })
    }

    /// Beyond the limit nothing is known to be signed.
    fn signed_by(
        &mut self,
        certificate: &X509Certificate<'_>,
        key: &SubjectPublicKeyInfo<'_>,
    ) -> bool {
        if self.signatures >= MOST_SIGNATURES {
            return false;
        }
        self.signatures += 1;
        signed_by(certificate, key)
    }
}

/// It names itself as its issuer and carries its own signature.
pub fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    names_itself(certificate) && signed_by(certificate, certificate.public_key())
}

fn names_itself(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject().as_raw() == certificate.issuer().as_raw()
}

/// By name and key identifier.
fn may_issue(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    issuer.subject().as_raw() == certificate.issuer().as_raw() && key_ids_fit(issuer, certificate)
}

fn key_ids_fit(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    let named = certificate.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
        _ => None,
    });
    let own = issuer.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id),
        _ => None,
    });
    match (named, own) {
        (Some(named), Some(own)) => named == own,
        _ => true,
    }
}

/// A signature of a kind that is not checked here is left to the judgement that follows, if it can
/// be of this key.
fn signed_by(certificate: &X509Certificate<'_>, key: &SubjectPublicKeyInfo<'_>) -> bool {
    match certificate.verify_signature(Some(key)) {
        Ok(()) => true,
        Err(X509Error::SignatureUnsupportedAlgorithm) => {
            let family = |oid: String| {
                let known = ["1.2.840.10045.", "1.2.840.113549.1.1."];
                let known = known.into_iter().find(|family| oid.starts_with(family));
                known.map_or(oid, ToOwned::to_owned)
            };
            let signature = certificate.signature_algorithm.algorithm.to_id_string();
            family(signature) == family(key.algorithm.algorithm.to_id_string())
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    #[test]
    fn a_chain_made_to_be_costly_is_given_up() {
        // Authorities of two names and one key, each of which issued all of the other name.
        let key = KeyPair::generate().unwrap();
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let (one, two) = (authority("one"), authority("two"));
        let signed = |params: &CertificateParams, by: &CertificateParams| {
            params.signed_by(&key, &Issuer::from_params(by, &key)).unwrap()
        };
        let mut chain = vec![signed(&authority("leaf"), &one)];
        for _ in 0..7 {
            chain.extend([signed(&one, &two), signed(&two, &one)]);
        }
        let sent: Vec<_> =
            chain.iter().map(|one| X509Certificate::from_der(one.der()).unwrap().1).collect();
        let trust = Trust::of(rustls::RootCertStore::empty()).unwrap();
        let mut search = Search { sent: &sent, trust: &trust, found: Vec::new(), signatures: 0 };
        search.extend(&mut vec![0]);
        assert_eq!(search.signatures, MOST_SIGNATURES);
    }
}
