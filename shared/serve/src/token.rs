//! The bearer token of `/api/v1`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::settings::Secret;

/// What the `Authorization` header of a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// No credentials were sent.
    Missing,
    /// Credentials were sent, and they are not the token.
    Wrong,
}

/// Compares the bearer token (RFC 6750 §2.1) with the expected one in constant time: digests of
/// equal length are compared, so neither content nor length leaks through time.
pub fn check(headers: &HeaderMap, expected: &Secret) -> Verdict {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Verdict::Missing };
    if values.next().is_some() {
        return Verdict::Wrong;
    }
    let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return Verdict::Wrong;
    };
    let sent = digest(&SHA256, token.trim_start_matches(' ').as_bytes());
    let wanted = digest(&SHA256, expected.expose().as_bytes());
    let equal = verify_slices_are_equal(sent.as_ref(), wanted.as_ref()).is_ok();
    if equal && scheme.eq_ignore_ascii_case("bearer") { Verdict::Accepted } else { Verdict::Wrong }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(values: &[&str]) -> Verdict {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        check(&headers, &Secret::new("s3cret"))
    }

    #[test]
    fn only_the_token_as_a_bearer_is_accepted() {
        assert_eq!(verdict(&["Bearer s3cret"]), Verdict::Accepted);
        assert_eq!(verdict(&["bearer   s3cret"]), Verdict::Accepted);
        assert_eq!(verdict(&[]), Verdict::Missing);
        let wrong = ["Bearer s3cre", "Bearer s3cretx", "Bearer S3CRET", "Basic s3cret", "s3cret"];
        for value in wrong {
            assert_eq!(verdict(&[value]), Verdict::Wrong, "{value}");
        }
    }

    #[test]
    fn two_headers_are_refused_even_if_one_is_right() {
        assert_eq!(verdict(&["Bearer s3cret", "Bearer s3cret"]), Verdict::Wrong);
    }
}
