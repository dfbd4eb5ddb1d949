//! A token before any key is looked at: its parts and its JOSE header (RFC 7515, 7519, 8725).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::Refusal;

/// Longest token, in bytes. Entra ID puts up to 200 groups into one, about 11 KiB of base64url beside
/// all else. It is half of the longest request head (`ConnectionLimits::head_bytes`), and what it
/// costs before the signature is checked is one decoding of 12 KiB, so there is nothing to set.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Longest `kid`, in bytes.
pub const MAX_KID: usize = 512;

/// Every signature that may hold. HMAC is missing on purpose (RFC 8725 §3.1, RFC 9068 §4); ES512
/// and Ed448 because no library here knows them.
pub const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The algorithm a JWS or JWK names, when it is one of [`ALGORITHMS`]. `Ed25519` is `EdDSA` with
/// its curve said (RFC 9864 §2.2).
pub fn algorithm(name: &str) -> Option<Algorithm> {
    let name = if name == "Ed25519" { "EdDSA" } else { name };
    name.parse().ok().filter(|algorithm| ALGORITHMS.contains(algorithm))
}

/// A token taken apart. Nothing of it is proven.
#[derive(Debug, PartialEq, Eq)]
pub struct Unverified<'a> {
    pub token: &'a str,
    /// What was signed.
    pub message: &'a str,
    /// Encoded.
    pub signature: &'a str,
    /// Decoded.
    pub payload: Vec<u8>,
    pub algorithm: Algorithm,
    /// `alg` is `Ed25519`, which `jsonwebtoken` does not read yet.
    pub names_curve: bool,
    pub kid: Option<String>,
}

/// The members that decide. `jwk`, `jku`, `x5u` and `x5c` are not read: a token does not bring its
/// own key (RFC 8725 §3.10).
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    b64: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    zip: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    enc: Option<IgnoredAny>,
}

/// Tells `null` from a member that is not there.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'a> Unverified<'a> {
    /// Takes a token apart. `strict`: only `at+jwt` (RFC 9068 §4).
    pub fn parse(token: &'a str, strict: bool) -> Result<Self, Refusal> {
        let refuse = |reason| Err(Refusal::Invalid(reason));
        if token.len() > MAX_TOKEN {
            return refuse("longer than 16 KiB");
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return refuse("not three parts");
        };
        let Some(message) = token.get(..header.len() + 1 + payload.len()) else {
            return refuse("not three parts");
        };
        // Canonical and without padding, so that a token has one spelling.
        let decode = |part: &str| match URL_SAFE_NO_PAD.decode(part) {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes),
            _ => Err(Refusal::Invalid("a part is not base64url")),
        };
        decode(signature)?;
        let payload = decode(payload)?;
        let header = decode(header)?;
        let header: Header = std::str::from_utf8(&header)
            .ok()
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or(Refusal::Invalid("the header is not a JOSE header"))?;

        if header.crit.is_some() || header.b64.is_some() {
            return refuse("extensions of JWS are not supported");
        }
        if header.zip.is_some() || header.enc.is_some() {
            return refuse("encrypted or compressed");
        }
        if !type_fits(header.typ.as_deref(), strict) {
            return refuse("typ is not that of an access token");
        }
        if header.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
            return refuse("kid is longer than 512 bytes");
        }
        let Some(algorithm) = algorithm(&header.alg) else {
            return refuse("alg is none of the asymmetric algorithms");
        };
        Ok(Self {
            token,
            message,
            signature,
            payload,
            algorithm,
            names_curve: header.alg == "Ed25519",
            kid: header.kid,
        })
    }
}

/// Access tokens say `at+jwt` (RFC 9068 §2.1), most issuers say `JWT` or nothing. Everything else
/// is a token of another kind (RFC 8725 §3.11).
fn type_fits(typ: Option<&str>, strict: bool) -> bool {
    let Some(typ) = typ else { return !strict };
    let is = |name: &str| typ.eq_ignore_ascii_case(name);
    is("at+jwt") || is("application/at+jwt") || (!strict && (is("JWT") || is("application/jwt")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode(header), encode("{}"), encode("signature"))
    }

    fn check(header: &str, strict: bool, expected: Result<Algorithm, &'static str>) {
        let token = token(header);
        let got = Unverified::parse(&token, strict).map(|token| token.algorithm);
        assert_eq!(got, expected.map_err(Refusal::Invalid), "{header}");
    }

    const NO_HEADER: &str = "the header is not a JOSE header";
    const NO_ALGORITHM: &str = "alg is none of the asymmetric algorithms";
    const NO_TYPE: &str = "typ is not that of an access token";

    #[test]
    fn the_parts_are_what_was_signed_and_the_signature() {
        let text = token(r#"{"alg":"Ed25519","kid":"k"}"#);
        let parsed = Unverified::parse(&text, false).unwrap();
        assert_eq!(format!("{}.{}", parsed.message, parsed.signature), text);
        assert_eq!((parsed.payload.as_slice(), parsed.kid.as_deref()), (&b"{}"[..], Some("k")));
        assert!(parsed.names_curve && parsed.algorithm == Algorithm::EdDSA);
    }

    #[test]
    fn only_asymmetric_algorithms_are_known() {
        for known in ALGORITHMS {
            check(&format!(r#"{{"alg":"{known:?}"}}"#), false, Ok(known));
        }
        check(r#"{"alg":"Ed25519"}"#, false, Ok(Algorithm::EdDSA));
        for unknown in [
            "none",
            "None",
            "NONE",
            "nOnE",
            "",
            "HS256",
            "HS384",
            "HS512",
            "ES512",
            "ES256K",
            "Ed448",
            "rs256",
            "RS256 ",
            "RSA-OAEP",
            "dir",
            "ML-DSA-44",
        ] {
            check(&format!(r#"{{"alg":"{unknown}"}}"#), false, Err(NO_ALGORITHM));
        }
    }

    #[test]
    fn a_header_is_one_object_with_each_member_once_and_of_its_type() {
        for bad in [
            "",
            "{",
            "[]",
            "null",
            "1",
            r#""RS256""#,
            "{}",
            r#"{"alg":null}"#,
            r#"{"alg":1}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"none","alg":"RS256"}"#,
            r#"{"alg":"RS256","\u0061lg":"RS256"}"#,
            r#"{"alg":"RS256","kid":null}"#,
            r#"{"alg":"RS256","kid":1}"#,
            r#"{"alg":"RS256","kid":"a","kid":"b"}"#,
            r#"{"alg":"RS256","typ":null}"#,
            r#"{"alg":"RS256"}x"#,
            "\u{feff}{\"alg\":\"RS256\"}",
        ] {
            let token = token(bad);
            let expected = if bad.is_empty() { "a part is not base64url" } else { NO_HEADER };
            assert_eq!(Unverified::parse(&token, false), Err(Refusal::Invalid(expected)), "{bad}");
        }
        let deep = format!(r#"{{"alg":"RS256","x":{}}}"#, "[".repeat(5000));
        check(&deep, false, Err(NO_HEADER));
        let token =
            format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(b"{\"alg\":\"RS256\",\"x\":\"\xff\"}"));
        assert_eq!(Unverified::parse(&token, false), Err(Refusal::Invalid(NO_HEADER)));
    }

    #[test]
    fn extensions_encryption_and_compression_are_refused_even_when_null() {
        for (member, reason) in [
            ("crit", "extensions of JWS are not supported"),
            ("b64", "extensions of JWS are not supported"),
            ("zip", "encrypted or compressed"),
            ("enc", "encrypted or compressed"),
        ] {
            for value in ["null", "[]", "true", r#"["b64"]"#, r#""DEF""#] {
                let header = format!(r#"{{"alg":"RS256","{member}":{value}}}"#);
                check(&header, false, Err(reason));
            }
        }
    }

    #[test]
    fn keys_brought_along_are_not_read() {
        let header = r#"{"alg":"RS256","jwk":{"kty":"oct"},"jku":"http://x","x5u":"u","x5c":[]}"#;
        check(header, false, Ok(Algorithm::RS256));
    }

    #[test]
    fn the_type_is_that_of_an_access_token_or_in_compatible_mode_none() {
        let cases = [
            ("at+jwt", true, true),
            ("AT+JWT", true, true),
            ("application/at+jwt", true, true),
            ("JWT", true, false),
            ("jwt", true, false),
            ("application/jwt", true, false),
            ("logout+jwt", false, false),
            ("dpop+jwt", false, false),
            ("secevent+jwt", false, false),
            ("at+jwt ", false, false),
            ("", false, false),
        ];
        for (typ, compatible, strict) in cases {
            assert_eq!(type_fits(Some(typ), false), compatible, "{typ}");
            assert_eq!(type_fits(Some(typ), true), strict, "{typ}");
        }
        assert!(type_fits(None, false) && !type_fits(None, true));
        check(r#"{"alg":"RS256","typ":"logout+jwt"}"#, false, Err(NO_TYPE));
        check(r#"{"alg":"RS256"}"#, true, Err(NO_TYPE));
    }

    #[test]
    fn a_token_has_three_parts_in_one_spelling() {
        let good = token(r#"{"alg":"RS256"}"#);
        let parts: Vec<_> = good.split('.').collect();
        let (header, payload, signature) = (parts[0], parts[1], parts[2]);
        for bad in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            header.to_owned(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!(".{payload}.{signature}"),
            format!("{header}..{signature}"),
            format!("{good}."),
            format!("{good}.{signature}"),
            format!("{good}.a.b"),
            format!("{header}=.{payload}.{signature}"),
            format!("{good}=="),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{header}.{payload}.AB"), // trailing bits that say nothing
            format!("{header}.{payload}.+/"),
            format!("{header}.é.{signature}"),
            format!("{header}.{payload}.{}", "A".repeat(MAX_TOKEN)),
        ] {
            let got = Unverified::parse(&bad, false);
            assert!(matches!(got, Err(Refusal::Invalid(_))), "{bad}: {got:?}");
        }
    }

    #[test]
    fn sizes_end_where_they_say() {
        let kid = |length: usize| format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(length));
        check(&kid(MAX_KID), false, Ok(Algorithm::RS256));
        check(&kid(MAX_KID + 1), false, Err("kid is longer than 512 bytes"));
        let start = token(r#"{"alg":"RS256"}"#);
        let start = start.rsplit_once('.').unwrap().0;
        let signature = |length: usize| "A".repeat(length - start.len() - 1);
        let exact = format!("{start}.{}", signature(MAX_TOKEN));
        let longer = format!("{start}.{}", signature(MAX_TOKEN + 1));
        // One of four lengths is no base64; the reason tells which bound was met.
        assert_ne!(
            Unverified::parse(&exact, false).err(),
            Some(Refusal::Invalid("longer than 16 KiB"))
        );
        assert_eq!(
            Unverified::parse(&longer, false).err(),
            Some(Refusal::Invalid("longer than 16 KiB"))
        );
    }
}
