//! What is wrong with what a server presented, and how to mend it.
//!
//! Several things can be wrong at once; the verdict is the one to mend first, because mending it
//! replaces the certificate or decides about the rest:
//!
//! 1. nothing was presented: `unreachable`, `no_tls`, `protocol_too_old`, or `unacceptable` where
//!    the server refused us
//! 2. `expired`, `not_yet_valid`: any certificate of the path
//! 3. `name_mismatch`, `common_name_only`
//! 4. `self_signed`
//! 5. `incomplete_chain`, `untrusted_root`
//! 6. `revoked`: by the server's own stapled OCSP response
//! 7. `unacceptable`: whatever else clients refuse
//!
//! `chain_valid` and `hostname_match` are told beside it and do not depend on dates.

use jiff::{SignedDuration, Timestamp};
use maintenant_api::certificates::Verdict;
use maintenant_serve::logging::foreign;
use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::X509Certificate;

use super::facts::{self, Facts, Link};
use super::ocsp;
use super::path::{End, Path, is_self_signed};
use crate::net::tls::{Presented, Trust, is_for};

/// Certificates of a chain that are looked at; the rest is left aside.
const MOST_SENT: usize = 16;

/// The outcome of one check. Stored as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub verdict: Verdict,
    /// What is wrong, in one sentence. `None` with [`Verdict::Ok`].
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What works and should be mended.
    pub warnings: Vec<String>,
    /// Whether the path leads to a trusted root and obeys the rules, whatever name and date. `None`:
    /// its parts never held together, so no client can say.
    pub chain_valid: Option<bool>,
    pub chain_error: Option<String>,
    pub hostname_match: Option<bool>,
    /// It has not begun, is revoked, or we refused it for another reason: whatever the verdict, which
    /// may be something that is to be mended first.
    #[serde(default)]
    pub is_refused: bool,
    pub tls_version: Option<String>,
    pub facts: Option<Facts>,
    /// As sent.
    pub chain: Vec<Link>,
    /// When the last certificate of the path begins.
    #[serde(default)]
    pub path_not_before: Option<Timestamp>,
    /// When the first certificate of the path ends.
    pub path_not_after: Option<Timestamp>,
}

/// A sentence about what is wrong, and one about what to do.
struct Cause(Verdict, String, String);

impl Finding {
    /// Nothing was presented.
    pub fn without_chain(verdict: Verdict, error: String, hint: &str) -> Self {
        Self {
            verdict,
            error: Some(error),
            hint: Some(hint.to_owned()),
            warnings: Vec::new(),
            chain_valid: None,
            chain_error: None,
            hostname_match: None,
            is_refused: false,
            tls_version: None,
            facts: None,
            chain: Vec::new(),
            path_not_before: None,
            path_not_after: None,
        }
    }

    /// Judges what was presented for `name` at `now`. `fault` is why the handshake did not complete
    /// although a chain was presented.
    pub fn of(
        presented: &Presented,
        name: &ServerName<'_>,
        trust: &Trust,
        fault: Option<&rustls::Error>,
        now: Timestamp,
    ) -> Self {
        let shown = presented.chain.iter().take(MOST_SENT);
        let parsed: Vec<_> = shown.map_while(facts::parse).collect();
        let (Some(leaf), Some(der)) = (parsed.first(), presented.chain.first()) else {
            return Self::without_chain(
                Verdict::Unacceptable,
                "what the server sent as its certificate cannot be read".to_owned(),
                "Give the server an X.509 certificate.",
            );
        };
        let about = Facts::of(der, leaf);
        let path = Path::find(&parsed, trust, now);
        let (begin, end) = path.life(&parsed);
        // The server's own certificate is itself what is trusted; clients differ on CA:TRUE there.
        let is_pinned = path.sent.len() == 1 && matches!(path.end, End::Root { is_sent: true, .. });
        let chain = match path.end {
            _ if is_pinned => Some(Ok(())),
            // Judged within the life of the path; one whose parts never held together is not.
            End::Root { .. } if begin > end => None,
            End::Root { .. } => {
                let judged = trust.judge_chain(presented, now.clamp(begin, end));
                Some(judged.map_err(|error| words(&error)))
            }
            End::SelfSigned if path.sent.len() == 1 => {
                Some(Err("the certificate signed itself".to_owned()))
            }
            End::SelfSigned => Some(Err("it leads to a root that is not trusted here".to_owned())),
            End::IssuerUnknown => {
                Some(Err("an issuer was not sent and is not trusted here".to_owned()))
            }
        };
        let chain_valid = chain.as_ref().map(Result::is_ok);
        let chain_error = chain.and_then(Result::err);
        let hostname_match = !about.sans.is_empty()
            && is_for(der, name).unwrap_or_else(|| {
                let wanted = name.to_str();
                about.sans.iter().any(|san| covers(san, &wanted))
            });
        let revoked = revoked(presented, leaf);
        let refusal = fault.filter(|fault| is_our_refusal(fault));
        let is_refused = now < begin || revoked.is_some() || refusal.is_some();
        let cause = by_date(&parsed, &path, now)
            .or_else(|| (!hostname_match).then(|| by_name(&about, name)))
            .or_else(|| by_path(&parsed, &path, &about))
            .or(revoked)
            .or_else(|| chain_error.as_deref().map(unacceptable))
            .or_else(|| refusal.map(|refusal| unacceptable(&words(refusal))));
        let mut warnings = warnings(&parsed, presented.chain.len(), &path, now);
        if let Some(fault) = fault.filter(|fault| !is_our_refusal(fault)) {
            warnings.push(format!(
                "the server ended the handshake after it had shown its certificate ({}); it may \
                 ask for a client certificate",
                words(fault)
            ));
        }
        let (verdict, error, hint) = match cause {
            Some(Cause(verdict, error, hint)) => (verdict, Some(error), Some(hint)),
            None => (Verdict::Ok, None, None),
        };
        Self {
            verdict,
            error,
            hint,
            warnings,
            chain_valid,
            chain_error,
            hostname_match: Some(hostname_match),
            is_refused,
            tls_version: presented.version.map(version),
            facts: Some(about),
            chain: parsed.iter().map(Link::of).collect(),
            path_not_before: Some(begin),
            path_not_after: Some(end),
        }
    }
}

fn by_date(sent: &[X509Certificate<'_>], path: &Path, now: Timestamp) -> Option<Cause> {
    let clock = format!("This machine's clock says {now:.0}");
    for (place, index) in path.sent.iter().enumerate() {
        let link = Link::of(sent.get(*index)?);
        let whose = if place == 0 {
            "the certificate".to_owned()
        } else {
            format!("the issuing certificate `{}`", foreign(&link.subject_cn))
        };
        if now > link.not_after {
            let ago = period(now.duration_since(link.not_after));
            let error = format!("{whose} ended at {}, {ago} ago", link.not_after);
            let hint = if place == 0 {
                format!("Renew it, and reload the server if it was renewed already. {clock}.")
            } else {
                format!("Let the server send the current one of its issuer. {clock}.")
            };
            return Some(Cause(Verdict::Expired, error, hint));
        }
        if now < link.not_before {
            let left = link.not_before.duration_since(now);
            let error = format!("{whose} begins at {}, in {}", link.not_before, period(left));
            let hint = if left < SignedDuration::from_hours(24) {
                format!(
                    "{clock}: if that is {} behind, set it right; else wait, or issue the \
                     certificate anew.",
                    period(left)
                )
            } else {
                format!("Let the server use the earlier one until then. {clock}.")
            };
            return Some(Cause(Verdict::NotYetValid, error, hint));
        }
    }
    match path.end {
        End::Root { not_after: Some(end), .. } if now > end => Some(Cause(
            Verdict::Expired,
            format!("the root of its path ended at {end}"),
            format!("Use a certificate of a current root; many clients refuse this one. {clock}."),
        )),
        _ => None,
    }
}

fn by_name(about: &Facts, name: &ServerName<'_>) -> Cause {
    let wanted = name.to_str();
    if about.sans.is_empty() && covers(&about.subject_cn, &wanted) {
        return Cause(
            Verdict::CommonNameOnly,
            format!("it names `{wanted}` only as its common name, which clients ignore"),
            format!("Issue it anew with `{wanted}` as subject alternative name (RFC 6125)."),
        );
    }
    let names: Vec<_> =
        about.sans.iter().take(10).map(|name| format!("`{}`", foreign(name))).collect();
    let more = about.sans.len().saturating_sub(names.len());
    let names = match (names.is_empty(), more) {
        (true, _) => "no name at all".to_owned(),
        (_, 0) => names.join(", "),
        (_, more) => format!("{} and {more} more", names.join(", ")),
    };
    Cause(
        Verdict::NameMismatch,
        format!("it is not for `{wanted}` but for {names}"),
        format!(
            "Issue it for `{wanted}`, or check under a name it is for (`server_name`). A server of \
             several names may have answered with its default certificate."
        ),
    )
}

/// Whether a name of a certificate, which may begin with `*.`, is this name.
fn covers(name: &str, wanted: &str) -> bool {
    let (name, wanted) = (name.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    match name.strip_prefix("*.") {
        Some(domain) => wanted.split_once('.').is_some_and(|(_, rest)| rest == domain),
        None => name == wanted,
    }
}

fn by_path(sent: &[X509Certificate<'_>], path: &Path, about: &Facts) -> Option<Cause> {
    const ADD: &str = "to this monitor's `ca_certificates` or to MAINTENANT_PROBE_CA_CERT";
    let last = Link::of(sent.get(*path.sent.last()?)?);
    let issuer = foreign(&last.issuer_cn);
    match path.end {
        End::Root { .. } => None,
        End::SelfSigned if path.sent.len() == 1 => {
            let kind = if about.is_ca {
                " It says it is an authority (CA:TRUE), which some clients refuse for a server \
                 even then."
            } else {
                ""
            };
            Some(Cause(
                Verdict::SelfSigned,
                "the certificate signed itself".to_owned(),
                format!(
                    "Use one that an authority issued, or add this very certificate {ADD}.{kind}"
                ),
            ))
        }
        End::SelfSigned => Some(Cause(
            Verdict::UntrustedRoot,
            format!("its chain is complete, but its root `{issuer}` is not trusted here"),
            format!("If `{issuer}` is your own authority, add its certificate {ADD}."),
        )),
        End::IssuerUnknown if path.sent.len() == 1 => {
            let fetch = about.issuer_url.as_deref().map_or_else(String::new, |url| {
                format!(" The certificate says where it is: `{}`.", foreign(url))
            });
            Some(Cause(
                Verdict::IncompleteChain,
                format!("the server did not send the certificate of its issuer `{issuer}`"),
                format!(
                    "Let the server send the whole chain (`fullchain.pem`).{fetch} If `{issuer}` is \
                     a root of your own, add it {ADD}."
                ),
            ))
        }
        End::IssuerUnknown => Some(Cause(
            Verdict::UntrustedRoot,
            format!("its chain ends at `{issuer}`, which was not sent and is not trusted here"),
            format!(
                "If `{issuer}` is your own root, add its certificate {ADD}; if it is an \
                 intermediate, let the server send it too."
            ),
        )),
    }
}

fn revoked(presented: &Presented, leaf: &X509Certificate<'_>) -> Option<Cause> {
    ocsp::is_revoked(&presented.ocsp, leaf.raw_serial()).then(|| {
        Cause(
            Verdict::Revoked,
            "its issuer has revoked it: the server staples an OCSP response that says so".into(),
            "Replace it by a new one with a new key.".to_owned(),
        )
    })
}

fn unacceptable(error: &str) -> Cause {
    Cause(
        Verdict::Unacceptable,
        format!("clients refuse it: {error}"),
        "Issue it anew as X.509 version 3 for server authentication, signed with SHA-256 or \
         better, by an authority that may issue for this name."
            .to_owned(),
    )
}

/// It is us who refused, not the server.
fn is_our_refusal(fault: &rustls::Error) -> bool {
    matches!(
        fault,
        rustls::Error::InvalidCertificate(_)
            | rustls::Error::PeerMisbehaved(_)
            | rustls::Error::PeerIncompatible(_)
            | rustls::Error::InvalidMessage(_)
    )
}

fn warnings(
    sent: &[X509Certificate<'_>],
    count: usize,
    path: &Path,
    now: Timestamp,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if !path.sent.is_sorted() {
        warnings.push("the chain is out of order; some clients refuse that".to_owned());
    }
    let leaf_end = sent.first().map(|leaf| Link::of(leaf).not_after);
    for index in path.sent.iter().skip(1) {
        let Some(link) = sent.get(*index).map(Link::of) else { continue };
        if Some(link.not_after) < leaf_end && link.not_after >= now {
            warnings.push(format!(
                "the issuing certificate `{}` ends at {}, before the server's own",
                foreign(&link.subject_cn),
                link.not_after
            ));
        }
    }
    if let (End::Root { not_after: Some(end), .. }, Some(leaf_end)) = (path.end, leaf_end)
        && (now..leaf_end).contains(&end)
    {
        warnings.push(format!("the root ends at {end}, before the server's own certificate"));
    }
    for (index, certificate) in sent.iter().enumerate() {
        // Many servers send the root too.
        if path.sent.contains(&index) || is_end_of(sent, path, certificate) {
            continue;
        }
        let link = Link::of(certificate);
        let name = foreign(&link.subject_cn);
        warnings.push(if link.not_after < now {
            format!("`{name}` is sent although it ended at {}; no client needs it", link.not_after)
        } else {
            format!("`{name}` is sent although no client needs it")
        });
    }
    if count > sent.len() {
        warnings.push(format!("{} more certificates were sent and not read", count - sent.len()));
    }
    warnings
}

/// It is the root that the path ends at, sent along.
fn is_end_of(sent: &[X509Certificate<'_>], path: &Path, root: &X509Certificate<'_>) -> bool {
    let last = path.sent.last().and_then(|index| sent.get(*index));
    matches!(path.end, End::Root { .. })
        && last.is_some_and(|last| last.issuer().as_raw() == root.subject().as_raw())
        && is_self_signed(root)
}

/// What rustls says, without the names it repeats.
pub fn words(error: &rustls::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("invalid peer certificate: ").unwrap_or(&text);
    foreign(text)
}

fn version(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A length of time by its largest unit.
fn period(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    let (count, unit) = match seconds {
        172_800.. => (seconds / 86_400, "day"),
        7_200.. => (seconds / 3_600, "hour"),
        120.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
