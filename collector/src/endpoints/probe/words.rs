//! What went wrong, in one sentence. Texts of servers and libraries are foreign and made printable.

use std::error::Error;

use jiff::Timestamp;
use maintenant_serve::logging::foreign;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use crate::net::connect::words;
use crate::net::tls::HandshakeError;

/// Characters of an error.
const MOST: usize = 300;
/// Characters of a configured text within an error.
const MOST_QUOTED: usize = 100;

/// Printable and at most 300 characters.
pub(super) fn bounded(text: &str) -> String {
    // `foreign` takes 256 characters at most, and an escaped one is longer.
    let (head, tail) = text.split_at(text.char_indices().nth(200).map_or(text.len(), |(at, _)| at));
    let printable = foreign(head) + &foreign(tail);
    match printable.char_indices().nth(MOST - 1) {
        Some((at, _)) if printable.chars().count() > MOST => {
            format!("{}…", printable.get(..at).unwrap_or_default())
        }
        _ => printable,
    }
}

/// What was configured, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MOST_QUOTED) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// An exchange that broke before its answer began.
pub(super) fn no_answer(error: &hyper::Error) -> String {
    if let Some(cause) = cause(error) {
        return format!("no answer: {cause}");
    }
    if error.is_parse_too_large() {
        return "the head of the answer is larger than 64 KiB or has more than 100 headers".into();
    }
    if error.is_parse_version_h2() {
        return "the server answered in HTTP/2 without being asked to".to_owned();
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "the server closed the connection without an answer".to_owned();
    }
    format!("the answer is not HTTP: {error}")
}

/// An exchange that broke while its body was read.
pub(super) fn no_end(error: &hyper::Error) -> String {
    match cause(error) {
        Some(cause) => format!("the answer broke off: {cause}"),
        None => "the answer broke off before its end".to_owned(),
    }
}

/// The fault of the connection itself, if that was it.
fn cause(error: &hyper::Error) -> Option<String> {
    let io = error.source()?.downcast_ref::<std::io::Error>()?;
    let tls = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(error) => Some(tls_fault(error)),
        None if io.kind() == std::io::ErrorKind::UnexpectedEof => None,
        None => Some(words(io)),
    }
}

pub(super) fn handshake(error: &HandshakeError) -> String {
    match error {
        HandshakeError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the server closed the connection during the TLS handshake".to_owned()
        }
        HandshakeError::Tls(error) => tls_fault(error),
        error => error.to_string(),
    }
}

fn tls_fault(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS".to_owned(),
        rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) => {
            "the server does not speak TLS 1.2 or 1.3".to_owned()
        }
        rustls::Error::AlertReceived(alert) => format!("the server ended TLS with {alert:?}"),
        error => format!("TLS failed: {error}"),
    }
}

/// Why a certificate was not accepted.
pub(super) fn untrusted(error: &rustls::Error, name: &str) -> String {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return format!("the certificate is not trusted: {error}");
    };
    let reason = match reason {
        CertificateError::Expired => "expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}", day(*not_after))
        }
        CertificateError::NotValidYet => "not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("not valid before {}", day(*not_before))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("not valid for {name}")
        }
        CertificateError::UnknownIssuer => "signed by an unknown authority".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "not meant for servers".to_owned()
        }
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "it is that of an authority, not of a server".to_owned()
        }
        reason => reason.to_string(),
    };
    format!("the certificate is not trusted: {reason}")
}

/// `2026-01-01`.
fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match Timestamp::from_second(seconds) {
        Ok(instant) => instant.strftime("%Y-%m-%d").to_string(),
        Err(_) => "a day out of range".to_owned(),
    }
}
