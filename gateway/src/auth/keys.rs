//! The keys of one issuer: a published set (RFC 7517) read leniently, of which only what can carry
//! a signature we take is kept. One bad key does not spoil the others.

use std::collections::BTreeMap;
use std::fmt::Write;

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use jwks_client_rs::{JsonWebKey, JsonWebKeySet};
use serde::Deserialize;
use serde_json::{Value, json};

use super::header::{self, MAX_KID};
use super::strength::{coordinate, encode, is_small_order, rsa};

/// Keys read of one set; the rest is skipped.
const MAX_KEYS: usize = 64;
/// Keys tried for one token.
const MAX_CANDIDATES: usize = 8;

/// The usable keys of a set.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
    published: JsonWebKeySet,
    /// Reason and count of what was left out.
    skipped: BTreeMap<&'static str, usize>,
}

struct Usable {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    id: String,
    jwk: JsonWebKey,
}

#[derive(Clone)]
struct Key {
    kid: Option<String>,
    /// Unlike `kid` never missing and never twice: the key material itself. So an id that outlives
    /// its set still means the same key.
    id: String,
    algorithms: Vec<Algorithm>,
}

/// Which keys of a set may have signed a token.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidates {
    /// Ids to ask the key store for.
    pub ids: Vec<String>,
    /// The set has the token's `kid`, so that a newer set would not know more.
    pub named: bool,
}

impl KeySet {
    /// Reads a set. Without a usable key it is none: it must not replace one that has some.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Published {
            keys: Vec<Value>,
        }
        let published: Published = serde_json::from_slice(body)
            .map_err(|_| "the answer is no JWK set: {\"keys\": [...]} is missing".to_owned())?;
        let mut set =
            Self { keys: Vec::new(), published: Vec::new().into(), skipped: BTreeMap::new() };
        let mut jwks: Vec<JsonWebKey> = Vec::new();
        for (at, jwk) in published.keys.iter().enumerate() {
            let read = if at < MAX_KEYS { usable(jwk) } else { Err("beyond the first 64") };
            match read {
                Ok(usable) => {
                    if jwks.iter().all(|known| known.key_id() != usable.id) {
                        jwks.push(usable.jwk);
                    }
                    let Usable { kid, id, algorithms, .. } = usable;
                    set.keys.push(Key { kid, id, algorithms });
                }
                Err(reason) => *set.skipped.entry(reason).or_default() += 1,
            }
        }
        if set.keys.is_empty() {
            let mut text = "the JWK set has no usable key".to_owned();
            for (reason, count) in &set.skipped {
                let _ = write!(text, "; {count} × {reason}");
            }
            return Err(text);
        }
        set.published = jwks.into();
        Ok(set)
    }

    /// Of usable keys; never zero.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Reason and count of the keys that cannot be used.
    pub fn skipped(&self) -> &BTreeMap<&'static str, usize> {
        &self.skipped
    }

    /// As `jwks_client_rs` keeps them: by our ids, without `alg`.
    pub fn published(&self) -> JsonWebKeySet {
        self.published.clone()
    }

    /// The keys that may have made a signature: those of this `kid`, else those that have none,
    /// and only where the algorithm is theirs (RFC 8725 §3.1).
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Candidates {
        let named = kid.is_some() && self.keys.iter().any(|key| key.kid.as_deref() == kid);
        let fits = |key: &&Key| {
            let meant = match kid {
                Some(_) if named => key.kid.as_deref() == kid,
                Some(_) => key.kid.is_none(),
                None => true,
            };
            meant && key.algorithms.contains(&algorithm)
        };
        let mut ids = Vec::new();
        for key in self.keys.iter().filter(fits) {
            if ids.len() < MAX_CANDIDATES && !ids.contains(&key.id) {
                ids.push(key.id.clone());
            }
        }
        Candidates { ids, named }
    }
}

/// A key that can carry a signature we take, or why it cannot.
fn usable(jwk: &Value) -> Result<Usable, &'static str> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= MAX_KID => Some(kid.clone()),
        Some(_) => return Err("kid is no short string"),
    };
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err("use is not sig");
    }
    let verifies = |operations: &Value| {
        operations.as_array().is_some_and(|list| list.iter().any(|one| one == "verify"))
    };
    if jwk.get("key_ops").is_some_and(|operations| !verifies(operations)) {
        return Err("key_ops lacks verify");
    }
    // RSA, EC and OKP have their secret in `d` (RFC 7518 §6.2.2, §6.3.2; RFC 8037 §2).
    if jwk.get("d").is_some() {
        return Err("a private key, published");
    }
    let (id, mut copy, mut algorithms) = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => {
            let (modulus, exponent) = rsa(text("n"), text("e"))?;
            (
                format!("RSA.{modulus}.{exponent}"),
                json!({"kty": "RSA", "n": modulus, "e": exponent}),
                AlgorithmFamily::Rsa.algorithms().to_vec(),
            )
        }
        (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
            let (length, algorithm) =
                if curve == "P-256" { (32, Algorithm::ES256) } else { (48, Algorithm::ES384) };
            let (x, y) = (coordinate(text("x"), length)?, coordinate(text("y"), length)?);
            (
                format!("{curve}.{}.{}", encode(&x), encode(&y)),
                json!({"kty": "EC", "crv": curve, "x": encode(&x), "y": encode(&y)}),
                vec![algorithm],
            )
        }
        (Some("OKP"), Some(curve @ "Ed25519")) => {
            let x = coordinate(text("x"), 32)?;
            if is_small_order(&x) {
                return Err("a point of small order");
            }
            (
                format!("{curve}.{}", encode(&x)),
                json!({"kty": "OKP", "crv": curve, "x": encode(&x)}),
                vec![Algorithm::EdDSA],
            )
        }
        (Some("EC" | "OKP"), _) => return Err("an unsupported curve"),
        (Some("oct"), _) => return Err("a symmetric key"),
        _ => return Err("an unknown kty"),
    };
    if let Some(named) = jwk.get("alg") {
        let named = named.as_str().and_then(header::algorithm);
        algorithms.retain(|algorithm| Some(*algorithm) == named);
    }
    if algorithms.is_empty() {
        return Err("alg does not fit the key or is unsupported");
    }
    if let Some(members) = copy.as_object_mut() {
        members.insert("kid".to_owned(), Value::String(id.clone()));
    }
    let jwk = serde_json::from_value(copy).map_err(|_| "an unknown form")?;
    Ok(Usable { kid, algorithms, id, jwk })
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
mod tests {
    use super::*;

    /// An RSA modulus of so many bits, as base64url; never used to verify anything.
    fn modulus(bits: usize) -> String {
        let mut bytes = vec![0xa5; bits.div_ceil(8)];
        bytes[0] = 1 << ((bits - 1) % 8);
        *bytes.last_mut().unwrap() |= 1;
        encode(&bytes)
    }

    fn rsa_key() -> Value {
        json!({"kty": "RSA", "kid": "k", "n": modulus(2048), "e": "AQAB"})
    }

    fn ec_key() -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": encode(&[1; 32]), "y": encode(&[2; 32])})
    }

    fn ed_key() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&[3; 32])})
    }

    fn with(mut key: Value, changes: Value) -> Value {
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn set(keys: &[Value]) -> Result<KeySet, String> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    /// What the only key of a set may verify, or why it is not used.
    fn check(key: Value, expected: Result<&[Algorithm], &str>) {
        let got = usable(&key).map(|usable| usable.algorithms);
        assert_eq!(got.as_deref().map_err(|reason| *reason), expected, "{key}");
    }

    const RSA: [Algorithm; 6] = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ];

    #[test]
    fn the_algorithm_follows_from_the_key() {
        check(rsa_key(), Ok(&RSA));
        check(with(rsa_key(), json!({"alg": "PS384"})), Ok(&[Algorithm::PS384]));
        check(ec_key(), Ok(&[Algorithm::ES256]));
        let longer = json!({"crv": "P-384", "x": encode(&[1; 48]), "y": encode(&[2; 48])});
        check(with(ec_key(), longer), Ok(&[Algorithm::ES384]));
        check(ed_key(), Ok(&[Algorithm::EdDSA]));
        for name in ["EdDSA", "Ed25519"] {
            check(with(ed_key(), json!({"alg": name})), Ok(&[Algorithm::EdDSA]));
        }
        let misfit = Err("alg does not fit the key or is unsupported");
        for alg in [
            json!("ES256"),
            json!("HS256"),
            json!("none"),
            json!("RSA-OAEP"),
            json!(null),
            json!(""),
            json!(1),
            json!(["RS256"]),
        ] {
            check(with(rsa_key(), json!({"alg": alg})), misfit);
        }
        check(with(ec_key(), json!({"alg": "ES384"})), misfit);
        check(with(ed_key(), json!({"alg": "Ed448"})), misfit);
    }

    #[test]
    fn use_and_operations_are_honoured() {
        check(with(rsa_key(), json!({"use": "sig", "key_ops": ["verify"]})), Ok(&RSA));
        check(with(rsa_key(), json!({"key_ops": ["sign", "verify"]})), Ok(&RSA));
        for purpose in [json!("enc"), json!("tls"), json!(null), json!(["sig"]), json!("SIG")] {
            check(with(rsa_key(), json!({"use": purpose})), Err("use is not sig"));
        }
        for operations in [json!(["encrypt"]), json!([]), json!(null), json!("verify")] {
            let key = with(rsa_key(), json!({"key_ops": operations}));
            check(key, Err("key_ops lacks verify"));
        }
    }

    #[test]
    fn other_types_curves_and_private_keys_are_left_out() {
        check(json!({"kty": "oct", "k": "AAAA"}), Err("a symmetric key"));
        for key in [
            json!({"kty": "rsa"}),
            json!({"kty": "AKP"}),
            json!({}),
            json!(null),
            json!(1),
            json!([]),
            json!("RSA"),
            json!({"kty": null}),
        ] {
            check(key, Err("an unknown kty"));
        }
        for curve in ["P-521", "secp256k1", "p-256", ""] {
            check(with(ec_key(), json!({"crv": curve})), Err("an unsupported curve"));
        }
        for curve in [json!("Ed448"), json!("X25519"), json!(null)] {
            check(with(ed_key(), json!({"crv": curve})), Err("an unsupported curve"));
        }
        for key in [rsa_key(), ec_key(), ed_key()] {
            check(with(key, json!({"d": "AAAA"})), Err("a private key, published"));
        }
        for kid in [json!(null), json!(1), json!("k".repeat(513))] {
            check(with(rsa_key(), json!({"kid": kid})), Err("kid is no short string"));
        }
    }

    #[test]
    fn numbers_have_the_length_of_their_kind_and_are_strong_enough() {
        for length in [0, 31, 33, 48] {
            let other = Err("a coordinate of another length");
            check(with(ec_key(), json!({"x": encode(&vec![1; length])})), other);
            check(with(ec_key(), json!({"y": encode(&vec![1; length])})), other);
            check(with(ed_key(), json!({"x": encode(&vec![1; length])})), other);
        }
        check(with(ed_key(), json!({"x": encode(&[0; 32])})), Err("a point of small order"));
        let short = Err("an RSA modulus not of 2048 to 8192 bits");
        check(with(rsa_key(), json!({"n": modulus(1024)})), short);
        for bad in [json!(null), json!(1), json!("="), json!("a+/b")] {
            check(with(ec_key(), json!({"y": bad})), Err("a number is no base64url"));
        }
    }

    #[test]
    fn one_bad_key_does_not_spoil_the_others_and_is_counted() {
        let keys = [json!({"kty": "oct", "k": "AA"}), rsa_key(), json!(null), ec_key()];
        let set = set(&keys).unwrap();
        assert_eq!((set.count(), set.skipped().values().sum::<usize>()), (2, 2));
    }

    #[test]
    fn a_set_without_a_usable_key_is_none() {
        let error = set(&[json!({"kty": "oct", "k": "AA"})]).err().unwrap();
        assert_eq!(error, "the JWK set has no usable key; 1 × a symmetric key");
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"keys":[]}"#,
            r#"{"keys":{}}"#,
            "<html>",
            r#"{"keys":null}"#,
            r#"{"keys":[]"#,
            "\u{feff}{}",
            r#"{"keys":[],"keys":[]}"#,
        ] {
            assert!(KeySet::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn only_the_first_64_keys_are_read() {
        let keys = |count| (0..count).map(|_| rsa_key()).collect::<Vec<_>>();
        assert_eq!(set(&keys(64)).unwrap().count(), 64);
        let many = set(&keys(70)).unwrap();
        assert_eq!((many.count(), many.skipped()["beyond the first 64"]), (64, 6));
    }

    #[test]
    fn each_key_is_published_once_under_an_id_of_its_own() {
        let twin = with(rsa_key(), json!({"kid": "another name of the same key"}));
        let set = set(&[rsa_key(), ec_key(), twin, ed_key()]).unwrap();
        let mut published: Vec<_> =
            set.published().keys().iter().map(|key| key.key_id().to_owned()).collect();
        assert_eq!(published.len(), 3);
        published.sort_unstable();
        published.dedup();
        assert_eq!(published.len(), 3, "{published:?}");
    }

    /// How many keys are candidates for a token, and whether its kid is known.
    fn candidates(keys: &[Value], kid: Option<&str>, algorithm: Algorithm) -> (usize, bool) {
        let found = set(keys).unwrap().candidates(kid, algorithm);
        (found.ids.len(), found.named)
    }

    #[test]
    fn candidates_are_the_keys_of_the_kid_else_those_without_one() {
        let named = with(ec_key(), json!({"kid": "a"}));
        let twin = with(named.clone(), json!({"x": encode(&[9; 32])}));
        let nameless = with(ec_key(), json!({"x": encode(&[8; 32])}));
        let keys = [named.clone(), twin, nameless, with(rsa_key(), json!({"kid": "a"}))];
        assert_eq!(candidates(&keys, Some("a"), Algorithm::ES256), (2, true));
        assert_eq!(candidates(&keys, Some("a"), Algorithm::PS256), (1, true));
        assert_eq!(candidates(&keys, Some("a"), Algorithm::EdDSA), (0, true));
        assert_eq!(candidates(&keys, Some("b"), Algorithm::ES256), (1, false));
        assert_eq!(candidates(&keys, None, Algorithm::ES256), (3, false));
        assert_eq!(candidates(&[named], Some("A"), Algorithm::ES256), (0, false));
    }

    #[test]
    fn at_most_eight_different_keys_are_tried() {
        let key = |n: u8| with(ec_key(), json!({"kid": "a", "x": encode(&[n; 32])}));
        let many: Vec<_> = (0..20).map(key).collect();
        assert_eq!(candidates(&many, Some("a"), Algorithm::ES256), (8, true));
        let same: Vec<_> = (0..20).map(|_| key(1)).collect();
        assert_eq!(candidates(&same, Some("a"), Algorithm::ES256), (1, true));
    }
}
