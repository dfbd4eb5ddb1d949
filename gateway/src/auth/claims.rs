//! What a token says, and when and for whom it holds (RFC 7519 §4.1, RFC 9068 §4).
//!
//! `exp`, `iss` and `aud` are required. `nbf` and `iat` are optional in RFC 7519 and in RFC 9068,
//! and common issuers leave `nbf` out, so they are honoured when they are there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Refusal;
use super::header::present;
use super::settings::AuthSettings;

/// The members that decide. A member given twice, or of another type, is no claim set.
#[derive(Debug, Clone, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: Several,
    pub exp: NumericDate,
    #[serde(default, deserialize_with = "present")]
    pub nbf: Option<NumericDate>,
    #[serde(default, deserialize_with = "present")]
    pub iat: Option<NumericDate>,
    #[serde(default)]
    pub sub: Option<String>,
    /// Kept as it is: an `email` of the wrong type is final, an absent one is not.
    #[serde(default, deserialize_with = "present")]
    pub email: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub email_verified: Option<Value>,
    #[serde(default)]
    pub client_id: Option<String>,
    #[serde(default)]
    pub azp: Option<String>,
    #[serde(default)]
    pub appid: Option<String>,
    /// Okta's `client_id`.
    #[serde(default)]
    pub cid: Option<String>,
    /// How the token was obtained (Auth0).
    #[serde(default)]
    pub gty: Option<Several>,
    /// `app` for a token of no user (Entra ID).
    #[serde(default)]
    pub idtyp: Option<String>,
    #[serde(default)]
    pub scope: Option<Several>,
    /// Scopes of Entra ID and Okta.
    #[serde(default)]
    pub scp: Option<Several>,
    #[serde(default, deserialize_with = "present")]
    pub cnf: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub nonce: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub at_hash: Option<Value>,
    /// What kind of token this is (Keycloak).
    #[serde(default, deserialize_with = "present")]
    pub typ: Option<Value>,
    /// Of an ID token (OpenID Connect Core §3.3.2.11, FAPI 1.0 part 2 §5.1).
    #[serde(default, deserialize_with = "present")]
    pub c_hash: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub s_hash: Option<Value>,
    /// Of a security event or logout token (RFC 8417 §2.2).
    #[serde(default, deserialize_with = "present")]
    pub events: Option<Value>,
    /// Of an authorization response (JARM §2.1).
    #[serde(default, deserialize_with = "present")]
    pub code: Option<Value>,
}

/// A string, or an array of strings.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Several {
    One(String),
    Many(Vec<String>),
}

impl Several {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        }
        .iter()
        .map(String::as_str)
    }
}

/// Seconds since the epoch, also broken ones (RFC 7519 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumericDate(pub Timestamp);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let instant = match number.as_i64() {
            Some(seconds) => Timestamp::from_second(seconds).ok(),
            None => number
                .as_f64()
                .and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok())
                .and_then(|since| Timestamp::from_duration(since).ok()),
        };
        instant
            .filter(|instant| *instant >= Timestamp::UNIX_EPOCH)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("no instant"))
    }
}

/// For whom a token must be, and how far its times may be off.
#[derive(Debug, Clone)]
pub struct Rules {
    pub audiences: Vec<String>,
    /// The one of these that is our URL.
    pub resource: String,
    pub leeway: Duration,
    pub max_token_age: Option<Duration>,
}

impl From<&AuthSettings> for Rules {
    fn from(settings: &AuthSettings) -> Self {
        Self {
            audiences: settings.audiences.clone(),
            resource: settings.resource.clone(),
            leeway: settings.leeway,
            max_token_age: settings.max_token_age,
        }
    }
}

impl Claims {
    pub fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        std::str::from_utf8(payload)
            .ok()
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or(Refusal::Invalid("the claims are not those of an access token"))
    }

    /// Whether the token is for us and holds `now`. Who issued it is for the choice of keys.
    pub fn check(&self, rules: &Rules, now: Timestamp) -> Result<(), Refusal> {
        let refuse = |reason| Err(Refusal::Invalid(reason));
        let for_us = |audience: &&str| rules.audiences.iter().any(|own| own == audience);
        let Some(audience) = self.aud.iter().find(for_us) else {
            return refuse("aud is not ours");
        };
        if now >= self.expires_at(rules) {
            return refuse("expired");
        }
        let latest = later(now, rules.leeway);
        if self.nbf.is_some_and(|nbf| nbf.0 > latest) {
            return refuse("not yet valid");
        }
        if self.iat.is_some_and(|iat| iat.0 > latest) {
            return refuse("issued in the future");
        }
        if self.cnf.is_some() {
            return refuse("bound to a key whose proof is not checked here");
        }
        self.check_kind(audience == rules.resource)?;
        if self.sub.is_none() && self.clients().iter().all(|client| client.is_none()) {
            return refuse("neither sub nor a client");
        }
        Ok(())
    }

    /// Issuers sign more than access tokens with the same keys (RFC 8725 §2.8, §3.12).
    /// `for_resource`: the audience is our URL; an ID token is for a client, by its id.
    fn check_kind(&self, for_resource: bool) -> Result<(), Refusal> {
        let typ = self.typ.as_ref().and_then(Value::as_str).unwrap_or_default();
        let is_other_type = ["ID", "Logout", "Refresh", "Offline"]
            .iter()
            .any(|kind| typ.eq_ignore_ascii_case(kind));
        let has_hash = self.c_hash.is_some() || self.s_hash.is_some();
        let of_a_login = (self.nonce.is_some() || self.at_hash.is_some()) && !for_resource;
        let kinds = [
            (is_other_type, "its typ is that of another kind of token"),
            (self.events.is_some(), "a logout or event token"),
            (self.code.is_some(), "an authorization response"),
            (has_hash || of_a_login, "an ID token"),
        ];
        match kinds.into_iter().find(|(holds, _)| *holds) {
            Some((_, reason)) => Err(Refusal::Invalid(reason)),
            None => Ok(()),
        }
    }

    /// Where issuers name the OAuth client.
    pub fn clients(&self) -> [&Option<String>; 4] {
        [&self.client_id, &self.azp, &self.appid, &self.cid]
    }

    /// The end of the token with leeway: that of `exp`, or of the longest life since `iat`.
    pub fn expires_at(&self, rules: &Rules) -> Timestamp {
        let aged = self.iat.zip(rules.max_token_age).map(|(iat, age)| later(iat.0, age));
        later(aged.map_or(self.exp.0, |aged| aged.min(self.exp.0)), rules.leeway)
    }
}

/// Ends where time does.
fn later(instant: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| instant.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn rules() -> Rules {
        Rules {
            audiences: ["https://m.example/mcp", "client", "api://app"].map(str::to_owned).into(),
            resource: "https://m.example/mcp".to_owned(),
            leeway: Duration::from_mins(1),
            max_token_age: Some(Duration::from_hours(24)),
        }
    }

    /// The claims of a good token with `change` on top; `null` takes a member away.
    fn check(change: &Value, expected: Result<(), &'static str>) {
        let mut claims = json!({"iss": "i", "aud": "https://m.example/mcp", "exp": NOW + 300,
                                "sub": "s"});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let now = Timestamp::from_second(NOW).unwrap();
        let got = Claims::parse(claims.to_string().as_bytes())
            .and_then(|claims| claims.check(&rules(), now));
        assert_eq!(got, expected.map_err(Refusal::Invalid), "{change}");
    }

    const NO_CLAIMS: &str = "the claims are not those of an access token";

    #[test]
    fn expiry_is_required_and_ends_with_the_leeway() {
        check(&json!({}), Ok(()));
        check(&json!({"exp": NOW - 59}), Ok(()));
        check(&json!({"exp": NOW - 60}), Err("expired"));
        check(&json!({"exp": 1_799_999_940.5}), Ok(()));
        check(&json!({"exp": 0}), Err("expired"));
        for bad in [
            json!(null),
            json!("1800000300"),
            json!(-1),
            json!(u64::MAX),
            json!(1e300),
            json!([NOW + 300]),
            json!({}),
            json!(true),
        ] {
            check(&json!({"exp": bad}), Err(NO_CLAIMS));
        }
    }

    #[test]
    fn a_start_is_honoured_and_not_required() {
        check(&json!({"nbf": NOW + 60}), Ok(()));
        check(&json!({"nbf": NOW + 61}), Err("not yet valid"));
        check(&json!({"nbf": 0}), Ok(()));
        for bad in [json!(null), json!("0"), json!(-5)] {
            check(&json!({"nbf": bad}), Err(NO_CLAIMS));
        }
    }

    #[test]
    fn a_token_is_not_of_the_future_and_not_too_old() {
        check(&json!({"iat": NOW + 60}), Ok(()));
        check(&json!({"iat": NOW + 61}), Err("issued in the future"));
        check(&json!({"iat": NOW - 86_400 - 59}), Ok(()));
        check(&json!({"iat": NOW - 86_400 - 60}), Err("expired"));
        check(&json!({"iat": "now"}), Err(NO_CLAIMS));
        let claims =
            json!({"iss": "i", "aud": "client", "exp": NOW * 2, "iat": 0, "sub": "s"}).to_string();
        let claims = Claims::parse(claims.as_bytes()).unwrap();
        let now = Timestamp::from_second(NOW).unwrap();
        let ageless = Rules { max_token_age: None, ..rules() };
        assert_eq!(claims.check(&ageless, now), Ok(()));
        assert!(claims.check(&rules(), now).is_err());
    }

    #[test]
    fn a_stream_ends_with_the_token_and_its_leeway() {
        let end = |claims: Value| {
            let claims = Claims::parse(claims.to_string().as_bytes()).unwrap();
            claims.expires_at(&rules()).as_second()
        };
        assert_eq!(end(json!({"iss": "i", "aud": "a", "exp": NOW})), NOW + 60);
        assert_eq!(end(json!({"iss": "i", "aud": "a", "exp": NOW, "iat": 0})), 86_460);
        let last = Timestamp::MAX.as_second();
        assert_eq!(end(json!({"iss": "i", "aud": "a", "exp": last})), last);
    }

    #[test]
    fn one_audience_is_exactly_ours() {
        check(&json!({"aud": ["other", "https://m.example/mcp"]}), Ok(()));
        check(&json!({"aud": "client"}), Ok(()));
        for other in [
            json!(""),
            json!([]),
            json!("https://m.example/mcp/"),
            json!("https://M.example/mcp"),
            json!("https://m.example"),
            json!(["x", "y"]),
        ] {
            check(&json!({"aud": other}), Err("aud is not ours"));
        }
        for bad in [
            json!(null),
            json!(true),
            json!(1),
            json!({"client": 1}),
            json!([["client"]]),
            json!(["client", 1]),
        ] {
            check(&json!({"aud": bad}), Err(NO_CLAIMS));
        }
    }

    #[test]
    fn the_issuer_is_one_string() {
        for bad in [json!(null), json!(["i"]), json!(1), json!({"i": 1})] {
            check(&json!({"iss": bad}), Err(NO_CLAIMS));
        }
    }

    #[test]
    fn bound_tokens_and_id_tokens_are_no_bearer_tokens() {
        let bound = "bound to a key whose proof is not checked here";
        check(&json!({"cnf": {"jkt": "x"}}), Err(bound));
        check(&json!({"cnf": null}), Err(bound));
        for member in ["nonce", "at_hash"] {
            check(&json!({"aud": "client", member: "x"}), Err("an ID token"));
            check(&json!({"aud": "api://app", member: "x"}), Err("an ID token"));
            check(&json!({member: "x"}), Ok(()));
        }
    }

    #[test]
    fn what_issuers_sign_for_other_ends_is_no_access_token() {
        let logout = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
        check(&json!({"events": logout}), Err("a logout or event token"));
        check(&json!({"code": "x", "state": "y"}), Err("an authorization response"));
        check(&json!({"state": "y"}), Ok(()));
        for member in ["s_hash", "c_hash"] {
            check(&json!({member: "x"}), Err("an ID token"));
        }
        for typ in ["ID", "Logout", "Refresh", "Offline", "offline"] {
            check(&json!({"typ": typ}), Err("its typ is that of another kind of token"));
        }
        for typ in [json!("Bearer"), json!("at+jwt"), json!("JWT"), json!(1)] {
            check(&json!({"typ": typ}), Ok(()));
        }
    }

    #[test]
    fn a_token_names_somebody() {
        for client in ["client_id", "azp", "appid", "cid"] {
            check(&json!({"sub": null, client: "c"}), Ok(()));
        }
        check(&json!({"sub": null}), Err("neither sub nor a client"));
    }

    #[test]
    fn members_twice_and_trailing_text_are_no_claims() {
        let start = r#"{"iss":"i","aud":"client","exp":1800000300"#;
        assert!(Claims::parse(format!("{start}}}").as_bytes()).is_ok());
        for end in [
            r#","exp":1}"#,
            r#","iss":"i"}"#,
            r#","aud":"x"}"#,
            r#","email":"a@b","email":"c@d"}"#,
            r#","sub":"a","sub":"b"}"#,
            r#","\u0065xp":9}"#,
            "}}",
            "} x",
            "",
            r#","sub":1}"#,
            r#","client_id":["a"]}"#,
        ] {
            assert!(Claims::parse(format!("{start}{end}").as_bytes()).is_err(), "{end}");
        }
        assert!(Claims::parse(b"{\"iss\":\"i\",\"aud\":\"a\",\"exp\":1,\"x\":\"\xff\"}").is_err());
    }
}
