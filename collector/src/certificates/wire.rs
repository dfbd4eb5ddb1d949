//! What is stored, as the REST API tells it.

use jiff::Timestamp;
use maintenant_api::certificates::{
    Certificate, CertificateCheck, ChainLink, DetailedCheck, ListedCertificate,
};

use super::facts::Facts;
use super::model::Monitor;
use super::sql::Check;
use super::starttls::StartTls;
use super::thresholds::days_left;

/// Links of one chain that have an id of their own.
const LINKS: i64 = 64;

pub fn certificate(monitor: Monitor) -> Certificate {
    let Monitor { target, state, .. } = monitor;
    Certificate {
        id: monitor.id,
        hostname: target.host,
        port: target.port.into(),
        source: monitor.source,
        endpoint_id: monitor.endpoint_id,
        status: state.status,
        check_interval_seconds: monitor.interval_seconds,
        warning_thresholds: monitor.thresholds,
        last_alerted_threshold: state.alerts.expiring.map(|(_, days)| days),
        last_check_at: state.last_check_at,
        next_check_at: Some(state.next_check_at),
        last_error: state.last_error,
        external_id: monitor.external_id,
        created_at: monitor.created_at,
        server_name: target.server_name,
        starttls: target.starttls.map(|kind| StartTls::as_str(kind).to_owned()),
        ca_certificates: target.ca_certificates,
        status_since: Some(state.status_since),
    }
}

pub fn listed((monitor, check): (Monitor, Option<Check>), now: Timestamp) -> ListedCertificate {
    ListedCertificate {
        certificate: certificate(monitor),
        latest_check: check.map(|one| self::check(one, now)),
    }
}

/// A check with what is known of it.
pub fn check(check: Check, now: Timestamp) -> CertificateCheck {
    let finding = check.finding;
    let facts = finding.facts;
    let text =
        |of: fn(&Facts) -> &String| facts.as_ref().map(of).filter(|text| !text.is_empty()).cloned();
    let not_after = facts.as_ref().map(|facts| facts.not_after);
    CertificateCheck {
        id: check.id,
        monitor_id: check.monitor_id,
        subject_cn: text(|facts| &facts.subject_cn),
        issuer_cn: text(|facts| &facts.issuer_cn),
        issuer_org: text(|facts| &facts.issuer_org),
        serial_number: text(|facts| &facts.serial_number),
        signature_algorithm: text(|facts| &facts.signature_algorithm),
        fingerprint_sha256: text(|facts| &facts.fingerprint_sha256),
        not_before: facts.as_ref().map(|facts| facts.not_before),
        not_after,
        sans: facts.map(|facts| facts.sans).unwrap_or_default(),
        chain_valid: finding.chain_valid,
        chain_error: finding.chain_error,
        hostname_match: finding.hostname_match,
        error_message: finding.error,
        checked_at: check.checked_at,
        days_remaining: finding.path_not_after.map(|end| days_left(end, now)),
        verdict: Some(finding.verdict),
        hint: finding.hint,
        warnings: finding.warnings,
        path_not_after: finding.path_not_after.filter(|end| Some(*end) != not_after),
        tls_version: finding.tls_version,
    }
}

/// The same with every key and the chain.
pub fn detailed(check: Check, now: Timestamp) -> DetailedCheck {
    let links = check.finding.chain.clone();
    let check_result_id = check.id;
    let check = self::check(check, now);
    let link = |(position, link): (i64, super::facts::Link)| ChainLink {
        id: check_result_id.saturating_mul(LINKS).saturating_add(position),
        check_result_id,
        position,
        subject_cn: link.subject_cn,
        issuer_cn: link.issuer_cn,
        not_before: Some(link.not_before),
        not_after: Some(link.not_after),
    };
    DetailedCheck {
        id: check.id,
        subject_cn: check.subject_cn.unwrap_or_default(),
        issuer_cn: check.issuer_cn.unwrap_or_default(),
        issuer_org: check.issuer_org.unwrap_or_default(),
        sans: check.sans,
        serial_number: check.serial_number.unwrap_or_default(),
        signature_algorithm: check.signature_algorithm.unwrap_or_default(),
        not_before: check.not_before,
        not_after: check.not_after,
        chain_valid: check.chain_valid,
        chain_error: check.chain_error.unwrap_or_default(),
        hostname_match: check.hostname_match,
        error_message: check.error_message.unwrap_or_default(),
        checked_at: check.checked_at,
        days_remaining: check.days_remaining.unwrap_or(-1),
        verdict: check.verdict,
        hint: check.hint.unwrap_or_default(),
        warnings: check.warnings,
        path_not_after: check.path_not_after,
        tls_version: check.tls_version.unwrap_or_default(),
        fingerprint_sha256: check.fingerprint_sha256.unwrap_or_default(),
        chain: (0..).zip(links).map(link).collect(),
    }
}
