//! Issuers that change their keys, fail, hang and come back, as callers see it in both eras.

use std::time::Duration;

use maintenant_gateway::auth::refresh::{COOLDOWN, INTERVAL};
use serde_json::json;
use tokio::time::advance;

use super::place::{ALGORITHM, Place, Told, good_keys, jwks, key};
use crate::issuers::{Act, answer, ok};
use crate::signer::Signer;

#[tokio::test]
async fn a_rotated_key_is_taken_and_the_old_one_no_longer() {
    let place = Place::new(good_keys()).await;
    let old = place.good();
    place.taken("before", &old).await;
    let new = Signer::other(ALGORITHM);
    let token = place.token(new, "new", json!({}));
    place.publish(ok(&jwks(&[new.named("new")])));
    place.refused("too early", &[format!("Bearer {token}")], Told::Invalid).await;
    place.taken("before", &old).await;
    advance(COOLDOWN).await;
    place.taken("rotated", &token).await;
    place.refused("withdrawn", &[format!("Bearer {old}")], Told::Invalid).await;
    assert_eq!(place.fetches(), 2);
}

/// What an issuer does instead of sending its keys.
fn faults() -> Vec<(&'static str, Act)> {
    let set = jwks(&[key().named("k")]);
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(4 << 20));
    vec![
        ("a huge set", ok(&format!("{set}{}", " ".repeat(256 * 1024)))),
        ("an endless set", Act::Send(endless.into_bytes())),
        ("many keys, all strange", {
            let strange = json!({"kty": "oct", "kid": "k", "k": "AAAA"});
            ok(&jwks(&vec![strange; 1000]))
        }),
        ("no keys", ok(&jwks(&[]))),
        ("half a set", ok(&set[..set.len() - 2])),
        ("HTML", ok("<!doctype html><html></html>")),
        ("an error", answer("500 Internal Server Error", "", &set)),
        ("a redirect", answer("302 Found", "Location: http://127.0.0.1:1/\r\n", &set)),
        ("closes", Act::Send(Vec::new())),
        ("hangs", Act::Stall(Vec::new())),
        ("hangs in the body", {
            let Act::Send(bytes) = ok(&set) else { unreachable!() };
            Act::Stall(bytes[..bytes.len() - 9].to_vec())
        }),
    ]
}

#[tokio::test]
async fn an_issuer_that_never_gave_a_key_is_no_fault_of_the_token_s() {
    for (name, fault) in faults() {
        let place = Place::new(fault).await;
        let good = place.good();
        let unknown = place.token(Signer::other(ALGORITHM), "nobody's", json!({}));
        for token in [&good, &unknown] {
            place.refused(name, &[format!("Bearer {token}")], Told::Unavailable).await;
        }
        // Whatever needs no key is told as ever.
        let expired = place.token(key(), "k", json!({"exp": 1}));
        place.refused(name, &[format!("Bearer {expired}")], Told::Invalid).await;
        place.refused(name, &[], Told::Missing).await;
        let unready = (503, 503, json!({"keys": 0, "usable": false}));
        assert_eq!(place.state(&good).await, unready, "{name}");
        place.publish(good_keys());
        place.recovers(name, &good).await;
        let forged = [format!("Bearer {unknown}")];
        place.refused(name, &forged, Told::Invalid).await;
    }
}

#[tokio::test]
async fn an_issuer_that_fails_later_takes_nothing_from_whom_it_gave_tokens() {
    for (name, fault) in faults() {
        let place = Place::new(good_keys()).await;
        let good = place.good();
        place.taken(name, &good).await;
        place.publish(fault);
        advance(INTERVAL + INTERVAL / 10).await;
        let unknown = place.token(Signer::other(ALGORITHM), "nobody's", json!({}));
        place.refused(name, &[format!("Bearer {unknown}")], Told::Invalid).await;
        assert!(place.fetches() >= 2, "{name}");
        place.taken(name, &good).await;
        let ready = (200, 200, json!({"keys": 2, "usable": true}));
        assert_eq!(place.state(&good).await, ready, "{name}");
    }
}

#[tokio::test]
async fn keys_that_are_too_old_are_used_no_more_until_new_ones_come() {
    let place = Place::new(good_keys()).await;
    let good = place.good();
    place.taken("new keys", &good).await;
    place.publish(answer("503 Service Unavailable", "", ""));
    advance(Duration::from_hours(23)).await;
    place.taken("old keys", &good).await;
    let ready = (200, 200, json!({"keys": 2, "usable": true}));
    assert_eq!(place.state(&good).await, ready);
    advance(Duration::from_hours(2)).await;
    place.refused("keys too old", &[format!("Bearer {good}")], Told::Unavailable).await;
    let unready = (503, 503, json!({"keys": 2, "usable": false}));
    assert_eq!(place.state(&good).await, unready);
    place.publish(good_keys());
    place.recovers("keys too old", &good).await;
    assert_eq!(place.state(&good).await, ready);
}
