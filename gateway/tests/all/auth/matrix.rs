//! Every kind of bad token, in both eras. Beside each a legal token is taken.

use aws_lc_rs::hmac;
use maintenant_serve::clock;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::ERAS;
use super::place::{ALGORITHM, Place, Told, good_keys, jwks, key};
use crate::fake::object;
use crate::issuers::ok;
use crate::log::Log;
use crate::signer::{Signer, encode};

/// A token with an HMAC under a secret that everyone knows.
fn hs256(claims: &Value, kid: &str, secret: &[u8]) -> String {
    let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": kid});
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", encode(tag))
}

/// What hostile or careless clients send; nothing of it depends on what the issuer does.
fn cases(place: &Place) -> Vec<(&'static str, Vec<String>, Told)> {
    let now = clock::now().as_second();
    let good = place.good();
    let claims = place.claims(json!({}));
    let changed = |changes: Value| place.token(key(), "k", changes);
    let headed = |changes: Value| {
        let header = object(json!({"alg": ALGORITHM, "typ": "at+jwt", "kid": "k"}), changes);
        key().token(ALGORITHM, &header, &claims)
    };
    let unsigned = |algorithm: &str, signature: &str| {
        let header = encode(json!({"alg": algorithm, "kid": "k"}).to_string());
        format!("{header}.{}.{signature}", encode(claims.to_string()))
    };
    let (message, signature) = good.rsplit_once('.').unwrap();
    let rsa = Signer::good("RS256");
    let mut cases: Vec<(&str, Vec<String>, Told)> = vec![
        ("no header", vec![], Told::Missing),
        ("an empty header", vec![String::new()], Told::Missing),
        ("another scheme", vec!["Basic YWxpY2U6c2VjcmV0".to_owned()], Told::Missing),
        ("two headers", vec![format!("Bearer {good}"); 2], Told::Malformed),
        (
            "two schemes",
            vec![format!("Bearer {good}"), "Basic YWxpY2U6c2VjcmV0".to_owned()],
            Told::Malformed,
        ),
        ("a list", vec![format!("Bearer {good}, Bearer {good}")], Told::Malformed),
        ("no token", vec!["Bearer ".to_owned()], Told::Malformed),
        ("other characters", vec![format!("Bearer {good}\u{22}")], Told::Malformed),
    ];
    let bearers = [
        ("a word", "token".to_owned(), Told::Invalid),
        ("dots", "...".to_owned(), Told::Invalid),
        ("two parts", message.to_owned(), Told::Invalid),
        ("five parts", format!("{good}.e30.e30"), Told::Invalid),
        ("no JSON in it", "YQ.YQ.YQ".to_owned(), Told::Invalid),
        ("huge", format!("{message}.{}", signature.repeat(100)), Told::Invalid),
        ("huger", format!("{message}.{}", signature.repeat(300)), Told::Invalid),
        ("expired", changed(json!({"exp": now - 120})), Told::Invalid),
        ("without an end", changed(json!({"exp": null})), Told::Invalid),
        ("not yet valid", changed(json!({"nbf": now + 300})), Told::Invalid),
        ("issued in the future", changed(json!({"iat": now + 300})), Told::Invalid),
        ("too old", changed(json!({"iat": now - 90_000})), Told::Invalid),
        ("wrong issuer", changed(json!({"iss": "https://evil.example"})), Told::Invalid),
        ("a slash more", changed(json!({"iss": format!("{}/", place.issuer())})), Told::Invalid),
        ("wrong audience", changed(json!({"aud": "https://m.example.org"})), Told::Invalid),
        ("no audience", changed(json!({"aud": []})), Told::Invalid),
        ("bound to a proof", changed(json!({"cnf": {"jkt": "x"}})), Told::Invalid),
        ("alg none", unsigned("none", ""), Told::Invalid),
        ("alg None with a signature", unsigned("None", signature), Told::Invalid),
        ("alg HS256, the public key", hs256(&claims, "r", rsa.public()), Told::Invalid),
        (
            "alg HS256, the JWK",
            hs256(&claims, "k", key().jwk().to_string().as_bytes()),
            Told::Invalid,
        ),
        ("alg of another key", headed(json!({"alg": "RS256"})), Told::Invalid),
        ("crit", headed(json!({"crit": ["b64"], "b64": false})), Told::Invalid),
        ("another kind of token", headed(json!({"typ": "logout+jwt"})), Told::Invalid),
        (
            "unknown kid",
            place.token(Signer::other(ALGORITHM), "nobody's", json!({})),
            Told::Invalid,
        ),
        (
            "somebody else's signature",
            place.token(Signer::other(ALGORITHM), "k", json!({})),
            Told::Invalid,
        ),
        (
            "its own key",
            {
                let other = Signer::other(ALGORITHM);
                let header = json!({"alg": ALGORITHM, "kid": "k", "jwk": other.jwk()});
                other.token(ALGORITHM, &header, &claims)
            },
            Told::Invalid,
        ),
        ("another person", changed(json!({"sub": "mallory"})), Told::Stranger),
        ("no scope", changed(json!({"scope": "openid"})), Told::Scope),
    ];
    cases.extend(bearers.map(|(name, token, told)| (name, vec![format!("Bearer {token}")], told)));
    cases
}

#[tokio::test]
async fn every_bad_token_is_refused_as_the_rfcs_say_and_a_good_one_beside_it_taken() {
    let (log, _guard) = Log::begin();
    let place = Place::new(good_keys()).await;
    place.taken("first", &place.good()).await;
    let cases = cases(&place);
    for (name, values, told) in &cases {
        place.refused(name, values, *told).await;
        place.taken(name, &place.good()).await;
    }
    let rsa = {
        let header = json!({"alg": "RS256", "kid": "r"});
        Signer::good("RS256").token("RS256", &header, &place.claims(json!({})))
    };
    place.taken("another key", &rsa).await;
    // Nor does a log hold a token, or any of its parts.
    let log = log.text();
    assert!(log.contains("refused: invalid token: expired"), "{log}");
    for value in cases.iter().flat_map(|(_, values, _)| values) {
        let parts = value.split([' ', '.', ',', '"']).filter(|part| part.len() > 30);
        for part in parts {
            assert!(!log.contains(part), "{value}");
        }
    }
}

/// Beyond the largest head it is not the gateway that answers; and it answers without a challenge,
/// as a new token would be as long.
#[tokio::test]
async fn a_token_larger_than_any_head_is_refused_before_it_is_read() {
    let place = Place::new(good_keys()).await;
    for era in ERAS {
        for request in place.requests(era) {
            let values = [format!("Bearer {}", "a".repeat(200_000))];
            let response = place.send("larger than a head", request, &values).await;
            assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
            assert!(response.headers().get("www-authenticate").is_none());
            assert!(response.text().await.unwrap().is_empty());
        }
    }
    place.taken("beside it", &place.good()).await;
}

#[tokio::test]
async fn strange_keys_in_the_set_open_no_door_and_close_none() {
    let twin = Signer::new(ALGORITHM);
    let secret = b"a secret that everyone can read";
    let set = jwks(&[
        json!({"kty": "oct", "kid": "k", "alg": "HS256", "k": encode(secret)}),
        json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": encode(secret)}),
        json!({"kty": "unknown", "kid": "k"}),
        Value::Null,
        object(Signer::other(ALGORITHM).named("k"), json!({"use": "enc"})),
        twin.named("k"),
        key().named("k"),
    ]);
    let place = Place::new(ok(&set)).await;
    let other = place.token(Signer::other(ALGORITHM), "k", json!({}));
    let claims = place.claims(json!({}));
    for (name, token) in [
        ("oct beside others", hs256(&claims, "k", secret)),
        ("oct alone", hs256(&claims, "s", secret)),
        ("a key for encryption", other),
    ] {
        place.refused(name, &[format!("Bearer {token}")], Told::Invalid).await;
        place.taken(name, &place.good()).await;
        place.taken("the twin", &place.token(&twin, "k", json!({}))).await;
    }
}
