//! Makes keys, publishes them and signs tokens, legal or not.

#![allow(dead_code, reason = "the benchmark uses a part of it")]

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Every `alg` that is taken.
pub(crate) const ALGORITHMS: [&str; 10] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519"];

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key pair. Those of [`Signer::good`] and [`Signer::other`] are made once for a process.
pub(crate) enum Signer {
    Rsa(RsaKeyPair),
    /// The key as PKCS #8 too, for signatures in DER.
    Ec(EcdsaKeyPair, Vec<u8>, &'static str),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn new(algorithm: &str) -> Self {
        let ec = |curve, algorithm: &'static EcdsaSigningAlgorithm| {
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap();
            Self::Ec(pair, document.as_ref().to_vec(), curve)
        };
        match algorithm {
            "ES256" => ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            "EdDSA" | "Ed25519" => Self::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        }
    }

    /// The issuer's key for an algorithm.
    pub(crate) fn good(algorithm: &str) -> &'static Self {
        static KEYS: [OnceLock<Signer>; 4] = [const { OnceLock::new() }; 4];
        KEYS[kind(algorithm)].get_or_init(|| Self::new(algorithm))
    }

    /// Somebody else's.
    pub(crate) fn other(algorithm: &str) -> &'static Self {
        static KEYS: [OnceLock<Signer>; 4] = [const { OnceLock::new() }; 4];
        KEYS[kind(algorithm)].get_or_init(|| Self::new(algorithm))
    }

    /// The raw signature of a message.
    pub(crate) fn sign(&self, algorithm: &str, message: &str) -> Vec<u8> {
        let (random, message) = (SystemRandom::new(), message.as_bytes());
        match self {
            Self::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ec(pair, ..) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// As X.509 has it and JOSE does not.
    pub(crate) fn sign_in_der(&self, message: &str) -> Option<Vec<u8>> {
        let Self::Ec(_, document, curve) = self else { return None };
        let algorithm = match *curve {
            "P-256" => &ECDSA_P256_SHA256_ASN1_SIGNING,
            _ => &ECDSA_P384_SHA384_ASN1_SIGNING,
        };
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document).unwrap();
        Some(pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec())
    }

    pub(crate) fn public(&self) -> &[u8] {
        match self {
            Self::Rsa(pair) => pair.public_key().as_ref(),
            Self::Ec(pair, ..) => pair.public_key().as_ref(),
            Self::Ed(pair) => pair.public_key().as_ref(),
        }
    }

    /// The public key without `kid` and `alg`.
    pub(crate) fn jwk(&self) -> Value {
        let public = self.public();
        match self {
            // RFC 8017 appendix A.1.1: two integers after heads of fixed length.
            Self::Rsa(_) => json!({"kty": "RSA", "n": encode(&public[9..265]), "e": "AQAB"}),
            Self::Ec(_, _, curve) => {
                let (x, y) = public[1..].split_at((public.len() - 1) / 2);
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Self::Ed(_) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(public)}),
        }
    }

    /// The public key under a name.
    pub(crate) fn named(&self, kid: &str) -> Value {
        let mut jwk = self.jwk();
        jwk["kid"] = json!(kid);
        jwk
    }

    /// A token of any header and claims, signed as `algorithm`.
    pub(crate) fn token(&self, algorithm: &str, header: &Value, claims: &Value) -> String {
        self.token_of_texts(algorithm, &header.to_string(), &claims.to_string())
    }

    pub(crate) fn token_of_texts(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.sign(algorithm, &message));
        format!("{message}.{signature}")
    }
}

fn kind(algorithm: &str) -> usize {
    match algorithm {
        "ES256" => 0,
        "ES384" => 1,
        "EdDSA" | "Ed25519" => 2,
        _ => 3,
    }
}
