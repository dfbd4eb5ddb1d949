//! Where a token may stand in a request: the `Authorization` header, once (RFC 6750 §2.1; MCP:
//! never in the query).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Refusal;

/// The bearer token of a request. Another scheme is no credential here.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Malformed("more than one Authorization header"));
    }
    let value = value.to_str().map_err(|_| Refusal::Malformed("not visible ASCII"))?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        // `Bearer,Basic x` or `Bearer\tx` are attempts at this scheme that failed.
        let meant = scheme.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("Bearer"));
        let odd = meant && !scheme.as_bytes().get(6).is_some_and(u8::is_ascii_alphanumeric);
        return Err(if odd {
            Refusal::Malformed("not `Bearer <token>`")
        } else {
            Refusal::Missing
        });
    }
    let token = token.trim_start_matches(' ');
    if is_b64token(token) { Ok(token) } else { Err(Refusal::Malformed("not `Bearer <token>`")) }
}

/// `b64token` of RFC 6750 §2.1.
pub(super) fn is_b64token(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    !bare.is_empty()
        && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "calls read better")]
    fn check(values: &[&[u8]], expected: Result<&str, Refusal>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let got = bearer(&headers);
        let kind = |refusal: &Refusal| std::mem::discriminant(refusal);
        match (&got, &expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(got), Err(expected)) if kind(got) == kind(expected) => {}
            _ => panic!("{values:?}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn one_header_with_one_token_is_read() {
        for value in ["Bearer a.b-_~+/9==", "bearer a.b-_~+/9==", "BEARER   a.b-_~+/9=="] {
            check(&[value.as_bytes()], Ok("a.b-_~+/9=="));
        }
    }

    #[test]
    fn no_header_and_other_schemes_are_no_credentials() {
        check(&[], Err(Refusal::Missing));
        for value in ["Basic dTpw", "Negotiate", "", "Bearers x", "Bearer2 x"] {
            check(&[value.as_bytes()], Err(Refusal::Missing));
        }
    }

    #[test]
    fn two_headers_lists_and_other_characters_are_malformed() {
        let cases: [&[&[u8]]; 15] = [
            &[b"Bearer a", b"Bearer a"],
            &[b"Bearer a", b"Basic b"],
            &[b"Basic b", b"Bearer a"],
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Bearer ="],
            &[b"Bearer a,b"],
            &[b"Bearer a, Bearer b"],
            &[b"Bearer a b"],
            &[b"Bearer a "],
            &[b"Bearer\ta"],
            &[b"Bearer a=b"],
            &[b"Bearer \"a\""],
            &[b"Bearer, Basic x"],
            &[b"Bearer caf\xc3\xa9"],
        ];
        for values in cases {
            check(values, Err(Refusal::Malformed("")));
        }
    }
}
