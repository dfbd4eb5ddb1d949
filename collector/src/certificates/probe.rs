//! One check: connection, perhaps a few words in the clear, handshake, judgement.

use std::time::Duration;

use jiff::Timestamp;
use maintenant_api::certificates::Verdict;
use maintenant_serve::logging::foreign;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, Error, PeerIncompatible};
use tokio::time::Instant;

use super::starttls::{StartTls, StartTlsError};
use super::verdict::{Finding, words};
use crate::net::Net;
use crate::net::connect::ConnectFault;
use crate::net::tls::{HandshakeError, Presented, Trust, server_name};

/// For connection, STARTTLS and handshake together.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What is checked and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    /// Asked for in the handshake and expected in the certificate instead of `host`; empty asks for
    /// none.
    pub server_name: Option<String>,
    pub starttls: Option<StartTls>,
    /// Roots trusted besides all others, PEM.
    pub ca_certificates: Option<String>,
}

/// Checks a server. `None`: this machine could not try, which says nothing about it.
pub async fn check(net: &Net, target: &Target, clock: fn() -> Timestamp) -> Option<Finding> {
    net.turn().await;
    let mut until = Instant::now() + DEADLINE;
    let mut connected = match net.connect(&target.host, target.port, until).await {
        Ok(connected) => connected,
        Err(error) if error.fault.is_ours() => return None,
        Err(error) => return Some(unreachable(&error.fault, target)),
    };
    until += connected.waited;
    if let Some(starttls) = target.starttls {
        let began = tokio::time::timeout_at(until, starttls.begin(&mut connected.stream)).await;
        match began {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(no_starttls(&error)),
            Err(_) => return Some(silent("the server did not answer in time before TLS")),
        }
    }
    let asked = target.server_name.as_deref();
    let name = asked.filter(|name| !name.is_empty()).unwrap_or(&target.host);
    let Some(name) = server_name(name) else {
        return Some(Finding::without_chain(
            Verdict::Unreachable,
            format!("`{}` is no name that TLS knows", foreign(name)),
            "Use a host name or an address.",
        ));
    };
    let sni = asked != Some("");
    let own;
    let trust: &Trust = match &target.ca_certificates {
        None => &net.trust,
        Some(pem) => match read_roots(pem).and_then(|roots| net.trust.with(&roots)) {
            Ok(with) => {
                own = with;
                &own
            }
            Err(error) => {
                tracing::error!("certificates that were accepted before cannot be read: {error:#}");
                &net.trust
            }
        },
    };
    let (presented, stream) = trust.record(connected.stream, name.clone(), sni, until).await;
    Some(judge(&presented, stream.err(), &name, trust, clock()))
}

/// The certificates of a PEM text; there must be one.
pub fn read_roots(pem: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let roots = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!roots.is_empty(), "there is no certificate in it");
    Ok(roots)
}

fn judge(
    presented: &Presented,
    fault: Option<HandshakeError>,
    name: &ServerName<'_>,
    trust: &Trust,
    now: Timestamp,
) -> Finding {
    if !presented.chain.is_empty() {
        let fault = match fault {
            Some(HandshakeError::Tls(error)) => Some(error),
            Some(other) => Some(Error::General(other.to_string())),
            None => None,
        };
        return Finding::of(presented, name, trust, fault.as_ref(), now);
    }
    match fault {
        Some(HandshakeError::Tls(error)) => refused(&error, name),
        Some(HandshakeError::Timeout) => silent("connected, but no TLS handshake in time"),
        Some(HandshakeError::Io(error)) => no_tls(&format!(
            "the server ended the connection instead of answering the handshake ({})",
            crate::net::connect::words(&error)
        )),
        None => no_tls("the server presented no certificate"),
    }
}

fn unreachable(fault: &ConnectFault, target: &Target) -> Finding {
    let (host, port) = (foreign(&target.host), target.port);
    let error = format!("{host} port {port}: {}", foreign(&fault.to_string()));
    let hint = match fault {
        ConnectFault::Resolve(_) => "Check the name and this machine's resolver.",
        ConnectFault::Refused(_) => "Addresses of this kind are not probed by default.",
        _ => "Check that the server runs and that this machine may reach it.",
    };
    Finding::without_chain(Verdict::Unreachable, error, hint)
}

fn silent(error: &str) -> Finding {
    let hint = "The server is overloaded, or waits for something other than TLS; for mail and \
                databases set `starttls`.";
    Finding::without_chain(Verdict::Unreachable, error.to_owned(), hint)
}

fn no_tls(error: &str) -> Finding {
    let hint = "Check the port. Mail servers and databases begin in the clear: set `starttls` to \
                smtp, imap or postgres.";
    Finding::without_chain(Verdict::NoTls, error.to_owned(), hint)
}

fn no_starttls(error: &StartTlsError) -> Finding {
    let text = foreign(&error.to_string());
    match error {
        StartTlsError::Injected(_) => Finding::without_chain(
            Verdict::Unacceptable,
            text,
            "Somebody between here and the server may be forging its words; so does a faulty server.",
        ),
        StartTlsError::Refused(..) => Finding::without_chain(
            Verdict::NoTls,
            text,
            "Switch TLS on in the server, or remove `starttls` if it speaks TLS from the first byte.",
        ),
        _ => Finding::without_chain(
            Verdict::NoTls,
            text,
            "Check the port and `starttls`; remove it if the server speaks TLS from the first byte.",
        ),
    }
}

/// The handshake failed before a certificate was shown.
fn refused(error: &Error, name: &ServerName<'_>) -> Finding {
    match error {
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => Finding::without_chain(
            Verdict::ProtocolTooOld,
            "the server speaks nothing newer than TLS 1.1".to_owned(),
            "Switch on TLS 1.2 or 1.3; clients no longer speak the old versions (RFC 8996).",
        ),
        Error::AlertReceived(AlertDescription::UnrecognisedName) => Finding::without_chain(
            Verdict::Unacceptable,
            format!("the server knows no `{}`", name.to_str()),
            "Check under a name the server knows: set `server_name`.",
        ),
        Error::AlertReceived(_) | Error::PeerIncompatible(_) | Error::PeerMisbehaved(_) => {
            Finding::without_chain(
                Verdict::Unacceptable,
                format!("no TLS could be agreed on: {}", words(error)),
                "Switch on a cipher suite with forward secrecy (ECDHE) and AES-GCM or ChaCha20, or \
                 check under a name the server knows (`server_name`).",
            )
        }
        error => {
            no_tls(&format!("the server answers with something other than TLS ({})", words(error)))
        }
    }
}
