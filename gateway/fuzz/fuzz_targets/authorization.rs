//! What is taken for a bearer token is one, and stands in the one header. Lines are header values.

#![no_main]

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use maintenant_gateway::auth::bearer::bearer;

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(AUTHORIZATION, value);
        }
    }
    if let Ok(token) = bearer(&headers) {
        assert_eq!(headers.len(), 1);
        let value = headers[AUTHORIZATION].to_str().unwrap();
        assert!(value.ends_with(token) && value[..6].eq_ignore_ascii_case("bearer"));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        assert!(!token.is_empty() && token.bytes().all(allowed));
    }
});
