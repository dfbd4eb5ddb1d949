//! Numbers of a public key, as far as they decide whether a signature means anything.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// base64url without padding (RFC 7515 §2).
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: Option<&str>) -> Result<Vec<u8>, &'static str> {
    text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or("a number is no base64url")
}

/// Exactly as long as the curve (RFC 7518 §6.2.1.2, RFC 8037 §2).
pub(super) fn coordinate(text: Option<&str>, length: usize) -> Result<Vec<u8>, &'static str> {
    let bytes = decode(text)?;
    if bytes.len() == length { Ok(bytes) } else { Err("a coordinate of another length") }
}

/// Modulus of 2048 to 8192 bits (RFC 7518 §3.3), odd exponent from 3 to 33 bits: what aws-lc takes.
/// Leading zeros, which some issuers write against RFC 7518 §2, are left away.
pub(super) fn rsa(
    modulus: Option<&str>,
    exponent: Option<&str>,
) -> Result<(String, String), &'static str> {
    let (modulus, exponent) = (decode(modulus)?, decode(exponent)?);
    let (modulus, exponent) = (without_zeros(&modulus), without_zeros(&exponent));
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    if !(2048..=8192).contains(&bits(modulus)) || !odd(modulus) {
        return Err("an RSA modulus not of 2048 to 8192 bits");
    }
    if !odd(exponent) || exponent == [1] || bits(exponent) > 33 {
        return Err("an RSA exponent that is even, 1 or huge");
    }
    if is_roca(modulus) {
        return Err("an RSA key of a broken generator (CVE-2017-15361)");
    }
    Ok((encode(modulus), encode(exponent)))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let start = number.iter().take_while(|byte| **byte == 0).count();
    number.get(start..).unwrap_or_default()
}

fn bits(number: &[u8]) -> usize {
    let first = number.first().map_or(0, |byte| byte.leading_zeros() as usize);
    number.len() * 8 - first
}

/// Whether a modulus is of the form that Infineon's chips made and that can be factored: a power of
/// 65537 modulo each of these primes (Nemec et al., "The Return of Coppersmith's Attack", 2017).
fn is_roca(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89,
        97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|prime| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65537 % prime));
        powers.take(*prime as usize).any(|power| power == rest)
    })
}

/// Every encoding of a point of order 1, 2, 4 or 8, whose signatures hold for more than one
/// message. The sign bit does not matter.
pub(super) fn is_small_order(point: &[u8]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut point = point.to_vec();
    let Some((last, [first, middle @ ..])) = point.split_last_mut() else { return true };
    *last &= 0x7f;
    let all = |byte: u8| middle.iter().all(|one| *one == byte);
    let zero_or_one = *first <= 1 && all(0) && *last == 0;
    // p - 1, p and p + 1, for p = 2^255 - 19
    let around_p = (0xec..=0xee).contains(first) && all(0xff) && *last == 0x7f;
    zero_or_one || around_p || ORDER_8.iter().any(|bad| bad.as_slice() == point.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An odd number of so many bits; never used to verify anything.
    fn modulus(bits: usize) -> Vec<u8> {
        let mut bytes = vec![0xa5; bits.div_ceil(8)];
        bytes[0] = 1 << ((bits - 1) % 8);
        *bytes.last_mut().unwrap() |= 1;
        bytes
    }

    fn check_rsa(modulus: &[u8], exponent: &[u8], expected: Result<(), &str>) {
        let got = rsa(Some(&encode(modulus)), Some(&encode(exponent))).map(|_| ());
        assert_eq!(got, expected, "{} bytes, {exponent:?}", modulus.len());
    }

    #[test]
    fn rsa_keys_have_2048_to_8192_bits_and_an_odd_exponent() {
        for bits in [2048, 2049, 3072, 4096, 8192] {
            check_rsa(&modulus(bits), &[1, 0, 1], Ok(()));
        }
        let size = Err("an RSA modulus not of 2048 to 8192 bits");
        for bits in [1, 8, 1024, 2047, 8193] {
            check_rsa(&modulus(bits), &[1, 0, 1], size);
        }
        check_rsa(&[], &[1, 0, 1], size);
        check_rsa(&[0xa4; 256], &[1, 0, 1], size);
        for good in [&[3][..], &[17], &[1, 0, 1], &[0, 1, 0, 1], &[1, 0, 0, 0, 1]] {
            check_rsa(&modulus(2048), good, Ok(()));
        }
        let exponent = Err("an RSA exponent that is even, 1 or huge");
        for bad in [&[][..], &[0], &[1], &[0, 1], &[2], &[1, 0, 0], &[3, 0, 0, 0, 1], &[1; 9]] {
            check_rsa(&modulus(2048), bad, exponent);
        }
    }

    #[test]
    fn leading_zeros_of_a_modulus_make_no_other_key() {
        let bare = modulus(2048);
        let padded = [&[0, 0], bare.as_slice()].concat();
        let exponent = encode(&[1, 0, 1]);
        let (number, _) = rsa(Some(&encode(&padded)), Some(&exponent)).unwrap();
        assert_eq!(number, encode(&bare));
    }

    #[test]
    fn keys_of_the_broken_generator_are_recognised() {
        // 65537^128 has 2049 bits and is a power of 65537 modulo everything.
        let mut power = vec![1_u8];
        for _ in 0..128 {
            let shifted = [0, 0].iter().chain(&power).chain(&[0]);
            let mut carry = 0;
            let product = shifted.zip(power.iter().chain(&[0, 0, 0])).map(|(a, b)| {
                let sum = u16::from(*a) + u16::from(*b) + carry;
                carry = sum >> 8;
                sum.to_le_bytes()[0]
            });
            power = product.collect();
        }
        power.reverse();
        let refused = Err("an RSA key of a broken generator (CVE-2017-15361)");
        check_rsa(&power, &[1, 0, 1], refused);
        let mut ends_alike = modulus(2048);
        *ends_alike.last_mut().unwrap() = 1;
        check_rsa(&ends_alike, &[1, 0, 1], Ok(()));
    }

    #[test]
    fn points_of_small_order_are_no_keys() {
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xec, 0x7f);
        let mut bad = vec![[0; 32], p];
        bad.push({
            let mut one = [0; 32];
            one[0] = 1;
            one
        });
        bad.push({
            p[0] = 0xed;
            p
        });
        bad.push({
            p[0] = 0xee;
            p
        });
        for hex in [
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        ] {
            let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
            bad.push(std::array::from_fn(byte));
        }
        for mut point in bad {
            for sign in [0, 0x80] {
                point[31] |= sign;
                assert!(is_small_order(&point), "{point:?}");
            }
        }
        // Each differs from one of them in one part.
        for (first, middle, last) in
            [(0xeb, 0xff, 0x7f), (0xef, 0xff, 0x7f), (2, 0, 0), (1, 2, 0), (0, 0, 2)]
        {
            let mut good = [middle; 32];
            (good[0], good[31]) = (first, last);
            assert!(!is_small_order(&good), "{good:?}");
        }
    }
}
