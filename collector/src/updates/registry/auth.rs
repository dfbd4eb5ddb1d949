//! What a registry asks for (`WWW-Authenticate`, RFC 9110 §11.6.1), and what a token is worth.

use std::time::Duration;

use serde::Deserialize;

/// One way to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    /// The distribution's token protocol.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Reads all challenges of a header; schemes that are not known are left out.
pub fn challenges(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            break;
        }
        let (parameters, after) = parameters(after);
        let get = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
        }
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    found
}

fn token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `name=value` pairs up to the next scheme, and what follows.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let begin = rest.trim_start_matches([',', ' ', '\t']);
        let (name, after) = token(begin);
        let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start) else {
            return (found, begin);
        };
        if name.is_empty() {
            return (found, "");
        }
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            unquoted(quoted)
        } else {
            let end = value.find([',', ' ']).unwrap_or(value.len());
            let (value, after) = value.split_at(end);
            (value.to_owned(), after)
        };
        found.push((name.to_owned(), value));
        rest = after;
    }
}

/// The value up to the closing quote, and what follows that.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter => value.push(letter),
        }
    }
    (value, "")
}

/// Answer of a token server.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Token {
    #[serde(rename = "token")]
    plain: Option<String>,
    /// As OAuth 2 calls it.
    #[serde(rename = "access_token")]
    access: Option<String>,
    expires_in: Option<u64>,
}

/// Tokens of which nothing is said last so long (distribution specification).
const USUAL_LIFE: Duration = Duration::from_mins(1);
/// No token is kept for longer.
const LONGEST_LIFE: Duration = Duration::from_hours(1);
/// A token is not used in its last moments.
const MARGIN: Duration = Duration::from_secs(10);

impl Token {
    /// The token, and how long to use it.
    pub fn usable(self) -> Option<(String, Duration)> {
        let token = self.plain.or(self.access).filter(|token| !token.is_empty())?;
        let life = self.expires_in.map_or(USUAL_LIFE, Duration::from_secs).min(LONGEST_LIFE);
        Some((token, life.saturating_sub(MARGIN)))
    }
}
