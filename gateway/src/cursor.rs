//! Where the next page begins: the sort key of the last item shown, and a hash of the filters it
//! was made with. It holds no position, so a list that changed in between loses and repeats
//! nothing that stayed where it was; and no secret, so it needs no signature.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ToolError;

/// A key is some names and numbers; anything longer was not made here.
const MAX_LENGTH: usize = 4096;

/// A cursor that continues after `key` in a list made with `filters`.
pub fn encode<K: Serialize, F: Serialize>(key: &K, filters: &F) -> Option<String> {
    let bytes = serde_json::to_vec(&(hash(filters), key)).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes)).filter(|cursor| cursor.len() <= MAX_LENGTH)
}

/// The key inside a cursor, when it was made with the same filters.
pub fn decode<K: DeserializeOwned, F: Serialize>(
    cursor: &str,
    filters: &F,
) -> Result<K, ToolError> {
    let bad = "`cursor` was not made by this tool; call again without it for the first page.";
    if cursor.len() > MAX_LENGTH {
        return Err(ToolError::new(bad));
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| ToolError::new(bad))?;
    let (made_with, key): (u64, K) =
        serde_json::from_slice(&bytes).map_err(|_| ToolError::new(bad))?;
    if made_with != hash(filters) {
        return Err(ToolError::new(
            "`cursor` belongs to a call with other filters; repeat the filters of that call, or \
             call without cursor for the first page.",
        ));
    }
    Ok(key)
}

/// FNV-1a: the same on every replica and in every version, which std's hasher does not promise.
fn hash<F: Serialize>(filters: &F) -> u64 {
    serde_json::to_vec(filters)
        .unwrap_or_default()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Key = (u8, String, i64);

    fn key() -> Key {
        (3, "wéb".to_owned(), 42)
    }

    #[test]
    fn a_cursor_comes_back_as_its_key() {
        let cursor = encode(&key(), &("running", "a")).unwrap();
        assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(decode::<Key, _>(&cursor, &("running", "a")), Ok(key()));
    }

    #[test]
    fn other_filters_and_garbage_are_refused_with_the_way_out() {
        let cursor = encode(&key(), &"running").unwrap();
        let error = decode::<Key, _>(&cursor, &"exited").unwrap_err().to_string();
        assert!(error.contains("other filters"), "{error}");
        for bad in ["", "%%%", "AAAA", &"A".repeat(5000), &cursor[1..]] {
            let error = decode::<Key, _>(bad, &"running").unwrap_err().to_string();
            assert!(error.contains("without it"), "{error}");
        }
    }
}
