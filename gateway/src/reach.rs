//! What keeps a gateway from reaching a collector, in words that say what helps.
//!
//! A cause is recognised by words of the system, of hyper or of rustls. [`crate::error`] makes the
//! sentences.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The day in UTC on which a certificate ends or begins to be valid, in rustls's words. It is the
/// one thing that is taken out of a cause, and nothing but a number.
pub(crate) fn boundary(cause: &str) -> Option<jiff::civil::Date> {
    let (_, rest) = ["is not valid after ", "is not valid before "]
        .iter()
        .find_map(|words| cause.split_once(words))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let second = rest.get(..digits)?.parse().ok()?;
    Some(Timestamp::from_second(second).ok()?.to_zoned(TimeZone::UTC).date())
}

pub(crate) type Said = (&'static str, &'static str);

/// Why there is no connection, and what to do next.
pub(crate) fn unreachable(cause: &str) -> Said {
    said_of(cause, &UNREACHABLE).unwrap_or(BROKEN)
}

/// Why there is no TLS, and what the operator has to do.
pub(crate) fn untrusted(cause: &str) -> Said {
    said_of(cause, &UNTRUSTED).unwrap_or(DISTRUSTED)
}

/// The sentence for a cause: words of the system or of a library, of which nothing is repeated.
/// Names in another's certificate may be among them, so all that they can do is to choose here.
fn said_of(cause: &str, known: &[(&str, Said)]) -> Option<Said> {
    known.iter().find(|(words, _)| cause.contains(words)).map(|(_, said)| *said)
}

const BROKEN: Said = (
    "there is no connection, or it broke",
    "Try again in a few seconds; get_health shows which collectors answer.",
);
const DISTRUSTED: Said = (
    "one side does not trust the other's certificate, or it speaks no TLS",
    "check MAINTENANT_URL, MAINTENANT_CA_CERT and MAINTENANT_CLIENT_CERT; the gateway's log has \
     the reason",
);
const SILENT: Said = (
    "nothing answers at the address in MAINTENANT_URL",
    "Try again in a few seconds; if it stays so, the operator has to look at the address, the \
     network and firewalls between.",
);

/// Words of the system, of the resolver, of hyper and of rustls, with why and what next.
pub(crate) const UNREACHABLE: [(&str, Said); 9] = [
    (
        "No such file or directory",
        (
            "its socket does not exist",
            "The operator has to start the collector, or to correct the path in MAINTENANT_URL.",
        ),
    ),
    (
        "Permission denied",
        (
            "the gateway may not open its socket",
            "Trying again does not help: the operator has to let the gateway's user or group \
             write to the socket.",
        ),
    ),
    (
        "failed to lookup address",
        (
            "the name in MAINTENANT_URL does not resolve",
            "The operator has to start the collector, since in Docker what is stopped has no name, \
             or to correct the name.",
        ),
    ),
    (
        "Connection refused",
        (
            "nobody listens at the address in MAINTENANT_URL",
            "Try again in a few seconds; if it stays so, the operator has to start the collector, \
             or to correct the port.",
        ),
    ),
    ("operation timed out", SILENT),
    ("No route to host", SILENT),
    ("Network is unreachable", SILENT),
    (
        "invalid HTTP version",
        (
            "it speaks no plain HTTP",
            "Trying again does not help: the operator has to write https:// in MAINTENANT_URL if \
             the collector speaks TLS.",
        ),
    ),
    (
        "No CA certificates were loaded",
        (
            "the gateway's machine trusts no CA",
            "Trying again does not help: the operator has to set MAINTENANT_CA_CERT.",
        ),
    ),
];

/// The same of TLS.
pub(crate) const UNTRUSTED: [(&str, Said); 12] = [
    (
        "corrupt message",
        (
            "it speaks no TLS",
            "write http:// in MAINTENANT_URL, or to give the collector a certificate",
        ),
    ),
    ("not valid for name", WRONG_NAME),
    ("NotValidForName", WRONG_NAME),
    ("certificate expired", EXPIRED),
    ("Expired", EXPIRED),
    ("not valid yet", TOO_EARLY),
    ("NotValidYet", TOO_EARLY),
    ("UnknownIssuer", STRANGE),
    (
        "CaUsedAsEndEntity",
        (
            "its certificate is one of a CA, as `openssl req -x509` makes them",
            "give the collector one that is not, with `-addext basicConstraints=CA:FALSE`",
        ),
    ),
    // A CA of the same name, but another one.
    ("BadSignature", STRANGE),
    (
        "alert: CertificateRequired",
        (
            "it asks for a client certificate",
            "set MAINTENANT_CLIENT_CERT and MAINTENANT_CLIENT_KEY",
        ),
    ),
    (
        "received fatal alert",
        (
            "it refused the connection, most likely for the lack of a client certificate that it \
             trusts",
            "check MAINTENANT_CLIENT_CERT, and the CA for clients at the collector",
        ),
    ),
];
const STRANGE: Said = (
    "its certificate is of a CA that is not known here",
    "set MAINTENANT_CA_CERT to the certificate of that CA",
);
const WRONG_NAME: Said = (
    "its certificate is for another name",
    "write one of the certificate's names in MAINTENANT_URL, or to have this name added to the \
     certificate",
);
const EXPIRED: Said = (
    "its certificate has expired",
    "renew the certificate at the collector, or to correct the clock of this machine",
);
const TOO_EARLY: Said = (
    "its certificate becomes valid only later",
    "correct the clock of this machine, or of the one that made the certificate",
);
