//! The one thing asked of a stapled OCSP response (RFC 6960 §4.2.1): does it say "revoked"?
//!
//! It is the server's own word against itself, so its signature is not checked. A response that
//! cannot be read says nothing.

use super::der;

/// `responseBytes [0] EXPLICIT` and the like.
const EXPLICIT_0: u8 = 0xa0;
/// `revoked [1] IMPLICIT` of `CertStatus`.
const REVOKED: u8 = 0xa1;
const SEQUENCE: u8 = 0x30;

/// Whether `response` (DER, may be empty) says that the certificate of this serial is revoked.
pub fn is_revoked(response: &[u8], serial: &[u8]) -> bool {
    single_responses(response).is_some_and(|responses| {
        der::all(responses).any(|(_, response)| revokes(response, serial).unwrap_or(false))
    })
}

fn single_responses(response: &[u8]) -> Option<&[u8]> {
    let (_, bytes) = der::all(der::content(response)?).find(|(tag, _)| *tag == EXPLICIT_0)?;
    let (_, basic) = der::all(der::content(bytes)?).nth(1)?;
    let data = der::content(der::content(basic)?)?;
    // The version and the responder's id have tags of their own.
    der::all(data).find(|(tag, _)| *tag == SEQUENCE).map(|(_, responses)| responses)
}

fn revokes(response: &[u8], serial: &[u8]) -> Option<bool> {
    let mut parts = der::all(response);
    let (_, id) = parts.next()?;
    let (status, _) = parts.next()?;
    let (_, of) = der::all(id).nth(3)?;
    Some(status == REVOKED && of == serial)
}
