//! No text is a good token: nobody here has the issuer's private key.
//!
//! The input is a token as it is, or `header` `\n` `claims` `\n` `signature` to be encoded, so that
//! most of it gets past the encoding.

#![no_main]

use std::cell::OnceCell;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use maintenant_gateway::auth::Verifier;
use maintenant_gateway::auth::keys::KeySet;
use maintenant_gateway::auth::refresh::Fetch;
use maintenant_gateway::auth::settings::AuthSettings;
use tokio::runtime::Runtime;

/// The example keys of RFC 7515 appendices A.2 and A.3, and of RFC 8037 appendix A.
const KEYS: &str = r#"{"keys":[
{"kty":"RSA","kid":"r","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
{"kty":"EC","kid":"e","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
{"kty":"OKP","kid":"o","crv":"Ed25519","x":"11qYAYrWVvZyAW0wm0jGpcUEgMzx6nsyb_5YvTZmwa8"}]}"#;

struct Fixed;

#[async_trait]
impl Fetch for Fixed {
    async fn fetch(&self) -> Result<KeySet, String> {
        KeySet::parse(KEYS.as_bytes())
    }
}

thread_local! {
    static BENCH: OnceCell<(Runtime, Verifier)> = const { OnceCell::new() };
}

fn bench() -> (Runtime, Verifier) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let settings = AuthSettings { audiences: vec!["m".to_owned()], ..AuthSettings::default() };
    let verifier =
        Verifier::over(&settings, vec![("i".to_owned(), Box::new(Fixed) as Box<dyn Fetch>)]).unwrap();
    let refreshing = verifier.clone();
    runtime.spawn(async move { refreshing.refresh().await });
    (runtime, verifier)
}

fuzz_target!(|data: &str| {
    let mut parts = data.splitn(3, '\n');
    let token = match (parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(claims), Some(signature)) => {
            [header, claims, signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
        }
        _ => data.to_owned(),
    };
    BENCH.with(|cell| {
        let (runtime, verifier) = cell.get_or_init(bench);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let verdict = runtime.block_on(verifier.verify(&token, now));
        assert!(verdict.is_err(), "{token}");
    });
});
