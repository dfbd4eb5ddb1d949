//! Authorities and certificates of a test. Times are days around [`NOW`].

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::net::tls::{Presented, Trust};

pub(super) const DAY: i64 = 86_400;
/// 2030-01-01T00:00:00Z.
const EPOCH: i64 = 1_893_456_000;

/// A moment this many days from the tests' present.
pub(super) fn day(days: i64) -> Timestamp {
    Timestamp::from_second(EPOCH + days * DAY).unwrap()
}

pub(super) fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// A certificate and the key to sign others with.
pub(super) struct Signer {
    pub(super) der: CertificateDer<'static>,
    params: CertificateParams,
    key: KeyPair,
}

/// What a certificate shall say.
#[derive(Clone)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) sans: Vec<&'static str>,
    /// Days of its life.
    pub(super) life: (i64, i64),
    pub(super) is_ca: bool,
    pub(super) usage: ExtendedKeyUsagePurpose,
    pub(super) issuer_url: Option<&'static str>,
    /// Says something that nobody knows and everybody must.
    pub(super) has_unknown_critical: bool,
}

/// A server's certificate for `lab.test` that lives from a day ago for a year.
pub(super) fn server() -> Spec {
    Spec {
        name: "lab.test",
        sans: vec!["lab.test", "*.lab.test", "192.0.2.7", "2001:db8::7"],
        life: (-1, 364),
        is_ca: false,
        usage: ExtendedKeyUsagePurpose::ServerAuth,
        issuer_url: None,
        has_unknown_critical: false,
    }
}

/// An authority's certificate that lives for ten years.
pub(super) fn authority(name: &'static str) -> Spec {
    Spec { name, sans: Vec::new(), life: (-100, 3650), is_ca: true, ..server() }
}

impl Spec {
    fn params(&self) -> CertificateParams {
        let sans: Vec<String> = self.sans.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(sans).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.name);
        params.distinguished_name.push(DnType::OrganizationName, format!("{} Ltd", self.name));
        let moment = |days: i64| {
            let days = std::time::Duration::from_secs(u64::try_from((days + 7300) * DAY).unwrap());
            // 7300 days before 2030-01-01.
            date_time_ymd(2010, 1, 6) + days
        };
        (params.not_before, params.not_after) = (moment(self.life.0), moment(self.life.1));
        params.use_authority_key_identifier_extension = true;
        if self.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        } else {
            params.is_ca = IsCa::ExplicitNoCa;
            params.extended_key_usages = vec![self.usage.clone()];
        }
        if let Some(url) = self.issuer_url {
            // AuthorityInfoAccess: one caIssuers, as a URI.
            let oid = [6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2];
            let length = u8::try_from(url.len()).unwrap();
            let mut access = oid.to_vec();
            access.extend([0x86, length]);
            access.extend(url.as_bytes());
            let content = super::super::der::sequence(&super::super::der::sequence(&access));
            let oid = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
            params.custom_extensions.push(CustomExtension::from_oid_content(oid, content));
        }
        if self.has_unknown_critical {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        }
        params
    }

    pub(super) fn self_signed(&self) -> Signer {
        let (params, key) = (self.params(), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().clone();
        Signer { der, params, key }
    }

    /// Another certificate of the same authority, under the same name and key.
    pub(super) fn resigned(&self, of: &Signer) -> Signer {
        let (params, key) = (self.params(), KeyPair::from_pem(&of.key.serialize_pem()).unwrap());
        let der = params.self_signed(&key).unwrap().der().clone();
        Signer { der, params, key }
    }

    pub(super) fn issued_by(&self, issuer: &Signer) -> Signer {
        self.issued_for(KeyPair::generate().unwrap(), issuer)
    }

    fn issued_for(&self, key: KeyPair, issuer: &Signer) -> Signer {
        let params = self.params();
        let by = Issuer::from_params(&issuer.params, &issuer.key);
        let der = params.signed_by(&key, &by).unwrap().der().clone();
        Signer { der, params, key }
    }

    /// The same authority, name and key, vouched for by another one: a cross-signed certificate.
    pub(super) fn cross_signed(&self, of: &Signer, issuer: &Signer) -> Signer {
        let key = KeyPair::from_pem(&of.key.serialize_pem()).unwrap();
        self.issued_for(key, issuer)
    }
}

/// A root, an intermediate and what trusts the root.
pub(super) struct Pki {
    pub(super) root: Signer,
    pub(super) intermediate: Signer,
    pub(super) trust: Trust,
}

pub(super) fn pki() -> Pki {
    let root = authority("Lab Root").self_signed();
    let intermediate = authority("Lab Issuing").issued_by(&root);
    let trust = trusting(&[&root]);
    Pki { root, intermediate, trust }
}

pub(super) fn trusting(roots: &[&Signer]) -> Trust {
    let nothing = Trust::of(RootCertStore::empty()).unwrap();
    let roots: Vec<_> = roots.iter().map(|root| root.der.clone()).collect();
    nothing.with(&roots).unwrap()
}

/// What a server that sends these shows.
pub(super) fn shows(chain: &[&Signer]) -> Presented {
    Presented {
        chain: chain.iter().map(|signer| signer.der.clone()).collect(),
        ocsp: Vec::new(),
        version: Some(rustls::ProtocolVersion::TLSv1_3),
    }
}
