//! Any document is a bounded set of keys that can be used without harm, or none.

#![no_main]

use jsonwebtoken::{DecodingKey, crypto};
use jwks_client_rs::JsonWebKey;
use libfuzzer_sys::fuzz_target;
use maintenant_gateway::auth::header::ALGORITHMS;
use maintenant_gateway::auth::keys::KeySet;

fuzz_target!(|data: &[u8]| {
    let Ok(set) = KeySet::parse(data) else { return };
    assert!(!set.is_empty() && set.len() <= 64);
    let keys = set.published().keys();
    for algorithm in ALGORITHMS {
        for kid in [None, Some("a"), Some("")] {
            let found = set.candidates(kid, algorithm);
            assert!(found.ids.len() <= 8);
            for id in found.ids {
                let key = keys.iter().find(|key| key.key_id() == id).expect("a published key");
                let key = match key {
                    JsonWebKey::Rsa(key) => {
                        DecodingKey::from_rsa_components(key.modulus(), key.exponent())
                    }
                    JsonWebKey::Ec(key) => DecodingKey::from_ec_components(key.x(), key.y()),
                    JsonWebKey::Okp(key) => DecodingKey::from_ed_components(key.x()),
                };
                let key = key.expect("its numbers were decoded before");
                let holds = crypto::verify("AAAA", b"message", &key, algorithm);
                assert_eq!(holds.ok(), Some(false), "the algorithm follows from the key");
            }
        }
    }
});
