//! Signature vectors of Project Wycheproof, through the function that verifies our tokens.
//!
//! Each group of vectors is run, or is left out for one of the named reasons; the counts of both
//! are fixed, so that a new version of the vectors is looked at. The crate holds no JOSE vectors.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use wycheproof::{EllipticCurve, HashFunction, Mgf, TestResult, ecdsa, eddsa};
use wycheproof::{rsa_pkcs1_verify, rsa_pss_verify};

use crate::signer::encode;

#[derive(Default)]
struct Tally {
    run: usize,
    left_out: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Tally {
    fn check(
        &mut self,
        name: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
        (message, signature, result): (&[u8], &[u8], TestResult),
    ) {
        self.run += 1;
        let holds = crypto::verify(&encode(signature), message, key, algorithm);
        let holds = holds.is_ok_and(|holds| holds);
        let right = match result {
            TestResult::Valid => holds,
            TestResult::Invalid => !holds,
            TestResult::Acceptable => true,
        };
        if !right {
            self.wrong.push(format!("{name}: {result:?}"));
        }
    }

    fn finish(self, run: usize, left_out: &[(&str, usize)]) {
        println!("{} vectors run, left out {:?}", self.run, self.left_out);
        assert!(self.wrong.is_empty(), "{:?}", self.wrong);
        assert_eq!((self.run, self.left_out), (run, left_out.iter().copied().collect()));
    }
}

fn rsa_key(modulus: &[u8], exponent: &[u8]) -> DecodingKey {
    // The vectors write integers as ASN.1 does, with a zero before a leading one.
    let bare =
        |number: &[u8]| number[number.iter().take_while(|byte| **byte == 0).count()..].to_vec();
    DecodingKey::from_rsa_raw_components(&bare(modulus), &bare(exponent))
}

#[test]
fn rsa_pkcs1_signatures() {
    let mut tally = Tally::default();
    for name in rsa_pkcs1_verify::TestName::all() {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let algorithm = match group.hash {
                HashFunction::Sha2_256 => Algorithm::RS256,
                HashFunction::Sha2_384 => Algorithm::RS384,
                HashFunction::Sha2_512 => Algorithm::RS512,
                _ => {
                    *tally.left_out.entry("no hash of RFC 7518 §3.3").or_default() +=
                        group.tests.len();
                    continue;
                }
            };
            let key = rsa_key(&group.key.n, &group.key.e);
            for test in group.tests {
                let vector = (test.msg.as_slice(), test.sig.as_slice(), test.result);
                tally.check(&format!("{name:?} {}", test.tc_id), &key, algorithm, vector);
            }
        }
    }
    tally.finish(3106, &[("no hash of RFC 7518 §3.3", 3096)]);
}

#[test]
fn rsa_pss_signatures() {
    let mut tally = Tally::default();
    for name in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            // RFC 7518 §3.5: the same hash inside, a salt as long as the hash.
            let algorithm = match (&group.hash, group.salt_size) {
                (HashFunction::Sha2_256, 32) => Algorithm::PS256,
                (HashFunction::Sha2_384, 48) => Algorithm::PS384,
                (HashFunction::Sha2_512, 64) => Algorithm::PS512,
                _ => {
                    *tally.left_out.entry("no hash, or no salt, of RFC 7518 §3.5").or_default() +=
                        group.tests.len();
                    continue;
                }
            };
            if group.mgf != Mgf::Mgf1 || group.mgf_hash.as_ref() != Some(&group.hash) {
                *tally.left_out.entry("another mask than RFC 7518 §3.5 says").or_default() +=
                    group.tests.len();
                continue;
            }
            let key = rsa_key(&group.key.n, &group.key.e);
            for test in group.tests {
                let vector = (test.msg.as_slice(), test.sig.as_slice(), test.result);
                tally.check(&format!("{name:?} {}", test.tc_id), &key, algorithm, vector);
            }
        }
    }
    tally.finish(
        1186,
        &[
            ("another mask than RFC 7518 §3.5 says", 24),
            ("no hash, or no salt, of RFC 7518 §3.5", 2287),
        ],
    );
}

#[test]
fn ecdsa_signatures() {
    let mut tally = Tally::default();
    for name in ecdsa::TestName::all() {
        // In JOSE a signature is two numbers of fixed length (RFC 7518 §3.4), not DER.
        let fixed_length = format!("{name:?}").ends_with("P1363");
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let algorithm = match (&group.key.curve, &group.hash) {
                (EllipticCurve::Secp256r1, HashFunction::Sha2_256) => Algorithm::ES256,
                (EllipticCurve::Secp384r1, HashFunction::Sha2_384) => Algorithm::ES384,
                (EllipticCurve::Secp521r1, HashFunction::Sha2_512) => {
                    *tally.left_out.entry("ES512, which jsonwebtoken lacks").or_default() +=
                        group.tests.len();
                    continue;
                }
                _ => {
                    let reason = "no pair of curve and hash of RFC 7518 §3.4";
                    *tally.left_out.entry(reason).or_default() += group.tests.len();
                    continue;
                }
            };
            if !fixed_length {
                *tally.left_out.entry("signatures in DER").or_default() += group.tests.len();
                continue;
            }
            // Any length of point, as the verifier must be safe with it.
            let key = DecodingKey::from_ec_der(&group.key.key);
            for test in group.tests {
                let vector = (test.msg.as_slice(), test.sig.as_slice(), test.result);
                tally.check(&format!("{name:?} {}", test.tc_id), &key, algorithm, vector);
            }
        }
    }
    tally.finish(
        542,
        &[
            ("ES512, which jsonwebtoken lacks", 860),
            ("no pair of curve and hash of RFC 7518 §3.4", 27_513),
            ("signatures in DER", 988),
        ],
    );
}

#[test]
fn eddsa_signatures() {
    let mut tally = Tally::default();
    for name in eddsa::TestName::all() {
        for group in eddsa::TestSet::load(name).unwrap().test_groups {
            if name == eddsa::TestName::Ed448 {
                *tally.left_out.entry("Ed448, which jsonwebtoken lacks").or_default() +=
                    group.tests.len();
                continue;
            }
            let key = DecodingKey::from_ed_der(&group.key.pk);
            for test in group.tests {
                let vector = (test.msg.as_slice(), test.sig.as_slice(), test.result);
                tally.check(&format!("{name:?} {}", test.tc_id), &key, Algorithm::EdDSA, vector);
            }
        }
    }
    tally.finish(151, &[("Ed448, which jsonwebtoken lacks", 87)]);
}
