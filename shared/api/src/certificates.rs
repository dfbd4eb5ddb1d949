//! Certificates: what TLS servers present, and whether clients will accept it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::{null_as_default, zero_time_as_none};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CertificateStatus {
    Valid,
    /// Valid, and past a warning threshold.
    Expiring,
    Expired,
    /// Clients refuse it, or nobody answers; `latest_check.verdict` says which.
    Error,
    #[serde(other)]
    Unknown,
}

impl CertificateStatus {
    pub const ALL: [Self; 5] =
        [Self::Valid, Self::Expiring, Self::Expired, Self::Error, Self::Unknown];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// Why a certificate is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CertificateSource {
    /// An endpoint speaks HTTPS to it.
    Auto,
    /// The label `maintenant.tls.certificates` of a container.
    Label,
    /// The REST API.
    #[serde(other)]
    Standalone,
}

impl CertificateSource {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Label => "label",
            Self::Standalone => "standalone",
        }
    }

    /// The source of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Auto, Self::Label, Self::Standalone]
            .into_iter()
            .find(|source| source.as_str() == word)
    }
}

/// What a client that checks certificates would find: one cause, the one to mend first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Expired,
    NotYetValid,
    /// Issued by itself and trusted by nobody.
    SelfSigned,
    /// The server leaves out an intermediate certificate.
    IncompleteChain,
    /// Complete, up to a root that is not trusted here.
    UntrustedRoot,
    /// None of its names is the one asked for.
    NameMismatch,
    /// It names its host in the subject only, which clients stopped reading.
    CommonNameOnly,
    Revoked,
    /// The server offers nothing newer than TLS 1.1.
    ProtocolTooOld,
    /// It breaks a rule that clients enforce, such as a weak signature or a wrong use.
    Unacceptable,
    /// The host name is unknown, or nobody listens.
    Unreachable,
    /// Something listens that does not speak TLS there.
    NoTls,
    #[serde(other)]
    Unknown,
}

impl Verdict {
    pub const ALL: [Self; 14] = [
        Self::Ok,
        Self::Expired,
        Self::NotYetValid,
        Self::SelfSigned,
        Self::IncompleteChain,
        Self::UntrustedRoot,
        Self::NameMismatch,
        Self::CommonNameOnly,
        Self::Revoked,
        Self::ProtocolTooOld,
        Self::Unacceptable,
        Self::Unreachable,
        Self::NoTls,
        Self::Unknown,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::SelfSigned => "self_signed",
            Self::IncompleteChain => "incomplete_chain",
            Self::UntrustedRoot => "untrusted_root",
            Self::NameMismatch => "name_mismatch",
            Self::CommonNameOnly => "common_name_only",
            Self::Revoked => "revoked",
            Self::ProtocolTooOld => "protocol_too_old",
            Self::Unacceptable => "unacceptable",
            Self::Unreachable => "unreachable",
            Self::NoTls => "no_tls",
            Self::Unknown => "unknown",
        }
    }

    /// The verdict of that name, if there is one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }
}

/// A server whose certificate is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    pub id: i64,
    pub hostname: String,
    pub port: i64,
    pub source: CertificateSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<i64>,
    pub status: CertificateStatus,
    #[serde(default)]
    pub check_interval_seconds: i64,
    /// Days before the end at which to warn. Those outside the last third of a certificate's life do
    /// not count; where none is left, a third and a tenth of that life do.
    #[serde(default, deserialize_with = "null_as_default")]
    pub warning_thresholds: Vec<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_alerted_threshold: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub last_check_at: Option<Timestamp>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub next_check_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Docker's id of the container whose label names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub external_id: String,
    pub created_at: Timestamp,
    /// Name to ask for in the handshake where it differs from `hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// `smtp`, `imap` or `postgres`: TLS begins after a few words of that protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starttls: Option<String>,
    /// Roots trusted for this server besides the system's, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificates: Option<String>,
    /// Since when `status` is what it is.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub status_since: Option<Timestamp>,
}

/// A certificate in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListedCertificate {
    #[serde(flatten)]
    pub certificate: Certificate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_check: Option<CertificateCheck>,
}

/// What one handshake showed. Facts that were not seen are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateCheck {
    pub id: i64,
    #[serde(default)]
    pub monitor_id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_cn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_cn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_org: Option<String>,
    /// DNS names and IP addresses it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub sans: Vec<String>,
    /// Hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_algorithm: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub not_before: Option<Timestamp>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub not_after: Option<Timestamp>,
    /// Whether it leads to a trusted root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_valid: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname_match: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    pub checked_at: Timestamp,
    /// Whole days until the first certificate of the path in use ends, rounded down; negative once it has
    /// ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_remaining: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What to do about the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What works today and should be mended, such as a chain in the wrong order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub warnings: Vec<String>,
    /// When the first certificate of the path in use ends, where it is not the server's own.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_time_as_none"
    )]
    pub path_not_after: Option<Timestamp>,
    /// Such as `TLSv1.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// SHA-256 of the server's certificate, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint_sha256: Option<String>,
}

/// Answer of `GET /certificates`, by host name and port.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateList {
    #[serde(default, deserialize_with = "null_as_default")]
    pub certificates: Vec<ListedCertificate>,
    #[serde(default)]
    pub total: i64,
}

/// Query of `GET /certificates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CertificateListQuery {
    /// `valid`, `expiring`, `expired`, `error` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `auto`, `label` or `standalone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Body of `POST /certificates` (needs `hostname`) and `PUT /certificates/{id}` (which changes
/// everything but `hostname` and `port`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CertificateInput {
    /// A host name or an IP address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Default 443.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// 3600 to 604800. Default 43200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_interval_seconds: Option<i64>,
    /// Days, 1 to 3650 each. Default 30, 14, 7, 3, 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning_thresholds: Option<Vec<i64>>,
    /// Name to ask for in the handshake; empty text asks for none. Default: `hostname`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// `smtp`, `imap` or `postgres`; empty text for TLS from the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starttls: Option<String>,
    /// Roots to trust for this server besides the system's, as PEM; empty text for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificates: Option<String>,
}

/// Answer to creating a certificate monitor. Without `latest_check` the first check is still under
/// way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateCreated {
    pub certificate: Certificate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_check: Option<CertificateCheck>,
}

/// Answer to changing a certificate monitor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateAnswer {
    pub certificate: Certificate,
}

/// Answer of `GET /certificates/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateDetail {
    pub certificate: Certificate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_check: Option<DetailedCheck>,
}

/// A check with every key present, and the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DetailedCheck {
    pub id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub subject_cn: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub issuer_cn: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub issuer_org: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub sans: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub serial_number: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub signature_algorithm: String,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub not_before: Option<Timestamp>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub not_after: Option<Timestamp>,
    #[serde(default)]
    pub chain_valid: Option<bool>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub chain_error: String,
    #[serde(default)]
    pub hostname_match: Option<bool>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub error_message: String,
    pub checked_at: Timestamp,
    /// As in lists; −1 where nothing is known.
    #[serde(default)]
    pub days_remaining: i64,
    #[serde(default)]
    pub verdict: Option<Verdict>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub hint: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub warnings: Vec<String>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub path_not_after: Option<Timestamp>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub tls_version: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub fingerprint_sha256: String,
    /// As the server sent it, its own certificate first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub chain: Vec<ChainLink>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChainLink {
    #[serde(default)]
    pub id: i64,
    #[serde(default)]
    pub check_result_id: i64,
    /// 0 is the server's own.
    #[serde(default)]
    pub position: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub subject_cn: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub issuer_cn: String,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub not_before: Option<Timestamp>,
    #[serde(default, deserialize_with = "zero_time_as_none")]
    pub not_after: Option<Timestamp>,
}

/// Answer of `GET /certificates/{id}/checks`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateCheckList {
    #[serde(default)]
    pub monitor_id: i64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub checks: Vec<CertificateCheck>,
    #[serde(default)]
    pub total: i64,
    #[serde(default)]
    pub has_more: bool,
}
