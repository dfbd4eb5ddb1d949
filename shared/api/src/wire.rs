//! Reading what other servers of this contract write.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// `null` and an absent key both mean "nothing": the type's default.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The year 1 is how other servers write "never"; so is an empty string.
pub fn zero_time_as_none<'de, D>(deserializer: D) -> Result<Option<Timestamp>, D::Error>
where
    D: Deserializer<'de>,
{
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    if text.is_empty() || text.starts_with("0001-") {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, PartialEq, Debug)]
    struct Row {
        #[serde(default, deserialize_with = "null_as_default")]
        items: Vec<i64>,
        #[serde(default, deserialize_with = "zero_time_as_none")]
        at: Option<Timestamp>,
    }

    fn check(json: &str, items: &[i64], at: Option<&str>) {
        let row: Row = serde_json::from_str(json).unwrap();
        assert_eq!(row, Row { items: items.to_vec(), at: at.map(|at| at.parse().unwrap()) });
    }

    #[test]
    fn null_and_absent_lists_are_empty() {
        check(r#"{"items":null}"#, &[], None);
        check("{}", &[], None);
        check(r#"{"items":[1]}"#, &[1], None);
    }

    #[test]
    fn year_one_means_never_and_any_offset_is_read() {
        check(r#"{"at":"0001-01-01T00:00:00Z"}"#, &[], None);
        check(r#"{"at":""}"#, &[], None);
        check(
            r#"{"at":"2026-05-05T12:00:00.123456789+02:00"}"#,
            &[],
            Some("2026-05-05T10:00:00.123456789Z"),
        );
    }
}
