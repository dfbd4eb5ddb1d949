//! Reading requests: ids, numbers, times. What cannot be read is refused with what is accepted.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use maintenant_serve::guard::BodyFault;
use maintenant_serve::logging::foreign;
use maintenant_serve::settings;

use super::error::ApiError;

/// The `{id}` of a path.
pub struct Id(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let given = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(given)) => given,
            Err(_) => String::new(),
        };
        given.parse().map(Self).map_err(|_| ApiError::InvalidId { given: foreign(&given) })
    }
}

/// A query as text fields; unknown keys are ignored, as the contract says.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map(|query| Self(query.0))
            .map_err(|error| ApiError::InvalidParameter {
                name: "query",
                fault: foreign(&error.body_text()),
            })
    }
}

/// A JSON body, whatever its content type says.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            BodyFault::find(&error)
                .map_or_else(|| ApiError::InvalidJson(foreign(&error.body_text())), ApiError::Body)
        })?;
        // serde would take the values of a list as the fields in their order.
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(ApiError::InvalidJson("it is a list".to_owned()));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| ApiError::InvalidJson(foreign(&error.to_string())))
    }
}

/// A whole number in a range, or its default.
pub fn number(
    name: &'static str,
    given: Option<&str>,
    range: std::ops::RangeInclusive<i64>,
    default: i64,
) -> Result<i64, ApiError> {
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(default) };
    given.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let (low, high) = (range.start(), range.end());
        let fault = format!("`{}` is not a whole number from {low} to {high}", foreign(given));
        ApiError::InvalidParameter { name, fault }
    })
}

/// A moment: RFC 3339, or an age such as `15m` before `now`.
pub fn moment(
    name: &'static str,
    given: Option<&str>,
    now: Timestamp,
) -> Result<Option<Timestamp>, ApiError> {
    let Some(given) = given.filter(|given| !given.is_empty()) else { return Ok(None) };
    // An unescaped `+` of an offset arrives as a space.
    let text = given.replace(' ', "+");
    if let Ok(time) = text.parse() {
        return Ok(Some(time));
    }
    settings::duration(given)
        .ok()
        .and_then(|age| SignedDuration::try_from(age).ok())
        .and_then(|age| now.checked_sub(age).ok())
        .map(Some)
        .ok_or_else(|| ApiError::InvalidParameter {
            name,
            fault: format!(
                "`{}` is no time; use RFC 3339 such as 2026-05-05T10:00:00Z, or an age such as 15m",
                foreign(given)
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_name_the_range() {
        assert_eq!(number("lines", None, 1..=1000, 100).unwrap(), 100);
        assert_eq!(number("lines", Some("7"), 1..=1000, 100).unwrap(), 7);
        for bad in ["0", "1001", "-1", "x", "1.0", "99999999999999999999"] {
            let error = number("lines", Some(bad), 1..=1000, 100).unwrap_err().to_string();
            assert!(error.contains("from 1 to 1000"), "{error}");
        }
    }

    #[test]
    fn moments_are_times_or_ages() {
        let now: Timestamp = "2026-05-05T10:00:00Z".parse().unwrap();
        let read = |text| moment("since", Some(text), now).unwrap().unwrap().to_string();
        assert_eq!(read("2026-05-05T11:00:00+02:00"), "2026-05-05T09:00:00Z");
        assert_eq!(read("2026-05-05T11:00:00 02:00"), "2026-05-05T09:00:00Z");
        assert_eq!(read("15m"), "2026-05-05T09:45:00Z");
        assert!(moment("since", None, now).unwrap().is_none());
        for bad in ["yesterday", "15", "99999999d"] {
            assert!(moment("since", Some(bad), now).unwrap_err().to_string().contains("RFC 3339"));
        }
    }
}
