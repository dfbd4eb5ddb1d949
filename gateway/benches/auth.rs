//! Verifying a token, next to the bare `jsonwebtoken::decode` of the same token with its key at
//! hand: what is between them is the price of our own checks and of finding the key.
//! `cargo bench -p maintenant-gateway --bench auth`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "it measures or fails")]

#[path = "../tests/all/signer.rs"]
mod signer;

use async_trait::async_trait;
use divan::Bencher;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use maintenant_gateway::auth::Verifier;
use maintenant_gateway::auth::keys::KeySet;
use maintenant_gateway::auth::refresh::Fetch;
use maintenant_gateway::auth::settings::AuthSettings;
use serde_json::{Value, json};
use signer::Signer;
use tokio::runtime::{Builder, Runtime};

const ALGORITHMS: [&str; 4] = ["RS256", "ES256", "ES384", "EdDSA"];
const NOW: i64 = 1_800_000_000;

struct Fixed(Value);

#[async_trait]
impl Fetch for Fixed {
    async fn fetch(&self) -> Result<KeySet, String> {
        KeySet::parse(self.0.to_string().as_bytes())
    }
}

fn main() {
    divan::main();
}

fn token(algorithm: &str, kid: &str) -> String {
    let header = json!({"alg": algorithm, "kid": kid, "typ": "at+jwt"});
    let claims = json!({"iss": "i", "aud": "m", "exp": NOW + 300, "iat": NOW, "sub": "s",
        "client_id": "c", "scope": "monitor:read logs:read"});
    Signer::good(algorithm).token(algorithm, &header, &claims)
}

/// A verifier that has its keys.
fn verifier(algorithm: &str) -> (Runtime, Verifier) {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let settings = AuthSettings { audiences: vec!["m".to_owned()], ..AuthSettings::default() };
    let keys = json!({"keys": [Signer::good(algorithm).named("k")]});
    let issuers = vec![("i".to_owned(), Box::new(Fixed(keys)) as Box<dyn Fetch>)];
    let verifier = Verifier::over(&settings, issuers).unwrap();
    runtime.block_on(async {
        let token = token(algorithm, "k");
        tokio::select! {
            () = verifier.refresh() => {}
            verdict = verifier.verify(&token, Timestamp::from_second(NOW).unwrap()) => {
                verdict.unwrap();
            }
        }
    });
    (runtime, verifier)
}

#[divan::bench(args = ALGORITHMS)]
fn verify(bencher: Bencher<'_, '_>, algorithm: &str) {
    let (runtime, verifier) = verifier(algorithm);
    let (token, now) = (token(algorithm, "k"), Timestamp::from_second(NOW).unwrap());
    bencher.bench(|| runtime.block_on(verifier.verify(&token, now)).unwrap());
}

#[divan::bench(args = ALGORITHMS)]
fn floor_decode(bencher: Bencher<'_, '_>, algorithm: &str) {
    let jwk = Signer::good(algorithm).jwk();
    let text = |name: &str| jwk[name].as_str().unwrap_or_default();
    let key = match text("kty") {
        "RSA" => DecodingKey::from_rsa_components(text("n"), text("e")),
        "EC" => DecodingKey::from_ec_components(text("x"), text("y")),
        _ => DecodingKey::from_ed_components(text("x")),
    };
    let key = key.unwrap();
    let mut validation = Validation::new(algorithm.parse::<Algorithm>().unwrap());
    validation.validate_exp = false;
    validation.set_audience(&["m"]);
    validation.set_issuer(&["i"]);
    let token = token(algorithm, "k");
    bencher.bench(|| jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap());
}

/// What somebody without a key can make us do.
#[divan::bench]
fn refuse_an_unknown_key(bencher: Bencher<'_, '_>) {
    let (runtime, verifier) = verifier("ES256");
    let (token, now) = (token("ES256", "made-up"), Timestamp::from_second(NOW).unwrap());
    bencher.bench(|| runtime.block_on(verifier.verify(&token, now)).unwrap_err());
}

#[divan::bench]
fn refuse_another_issuer(bencher: Bencher<'_, '_>) {
    let (runtime, verifier) = verifier("ES256");
    let claims = json!({"iss": "other", "aud": "m", "exp": NOW + 300});
    let token = Signer::good("ES256").token("ES256", &json!({"alg": "ES256"}), &claims);
    let now = Timestamp::from_second(NOW).unwrap();
    bencher.bench(|| runtime.block_on(verifier.verify(&token, now)).unwrap_err());
}
