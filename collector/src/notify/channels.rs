//! Channels: what may be asked for, and what of it is shown.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use maintenant_api::alerts::Severity;
use maintenant_api::channels::{Channel as Wire, ChannelInput, RoutingRule};
use maintenant_serve::logging::foreign;
use url::Url;

use super::kinds::{Kind, email, ntfy, telegram};

/// What stands in place of a secret.
pub const HIDDEN: &str = "***";
/// Headers of one channel.
const MOST_HEADERS: usize = 20;
/// Bytes of an address, and of a header's value.
const LONGEST: usize = 2048;
/// Headers that are the sender's own.
const RESERVED: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Where alerts are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    pub id: i64,
    pub name: String,
    pub kind: Kind,
    pub url: String,
    pub headers: Headers,
    pub enabled: bool,
    pub rules: Vec<Rule>,
    pub failing_since: Option<Timestamp>,
    pub last_error: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Names in lower case, and their values, which are secrets.
pub type Headers = BTreeMap<String, String>;

/// What it is told; an empty list matches all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub id: i64,
    pub sources: Vec<String>,
    pub severities: Vec<Severity>,
    pub created_at: Timestamp,
}

/// What of a channel is decided by who makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub name: String,
    pub kind: Kind,
    pub url: String,
    pub headers: Headers,
    pub enabled: bool,
}

/// What is wrong with a field, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {text}")]
pub struct Fault {
    pub field: &'static str,
    pub text: String,
}

pub(super) fn fault<T>(field: &'static str, text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { field, text: text.into() })
}

/// A new channel.
pub fn create(input: &ChannelInput, plain: bool) -> Result<Draft, Fault> {
    let kind = kind(input.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("webhook"))?;
    let Some(url) = input.url.as_deref() else { return fault("url", "it is missing") };
    Ok(Draft {
        name: name(input.name.as_deref().unwrap_or_default())?,
        kind,
        url: address(kind, url, plain)?,
        headers: headers(kind, input.headers.as_deref().unwrap_or_default(), None)?,
        enabled: input.enabled.unwrap_or(false),
    })
}

/// A channel as it is to be. What was hidden stays only where it was meant for: whoever may change
/// where a channel leads must not learn its secrets by that.
pub fn update(input: &ChannelInput, old: &Channel, plain: bool) -> Result<Draft, Fault> {
    let kind = input.kind.as_deref().map_or(Ok(old.kind), kind)?;
    let shown = masked(old.kind, &old.url);
    let is_kept = input.url.as_ref().is_none_or(|url| *url == shown);
    if is_kept && kind != old.kind {
        return fault("url", "another type needs its url given anew");
    }
    let given = input.url.as_deref().filter(|_| !is_kept).unwrap_or(&old.url);
    let url = address(kind, given, plain)?;
    let moved = origin(&url) != origin(&old.url);
    let headers = match input.headers.as_deref() {
        Some(given) => headers(kind, given, (!moved).then_some(&old.headers))?,
        None if moved && !old.headers.is_empty() => {
            return fault("headers", "another server needs them given anew; \"\" takes them away");
        }
        None => old.headers.clone(),
    };
    Ok(Draft {
        name: input.name.as_deref().map_or_else(|| Ok(old.name.clone()), name)?,
        kind,
        url,
        headers,
        enabled: input.enabled.unwrap_or(old.enabled),
    })
}

fn kind(word: &str) -> Result<Kind, Fault> {
    let all = || Kind::ALL.map(Kind::as_str).join(", ");
    let unknown = || format!("`{}` is not one of {}", foreign(word), all());
    Kind::parse(word).map_or_else(|| fault("type", unknown()), Ok)
}

fn name(text: &str) -> Result<String, Fault> {
    let text = text.trim();
    let fits = (1..=100).contains(&text.chars().count());
    // Labels name channels in a comma list.
    if !fits || text.chars().any(|c| c.is_control() || c == ',') {
        return fault("name", "use 1 to 100 characters, without commas and control characters");
    }
    Ok(text.to_owned())
}

/// An address of that kind. `plain` also takes http.
fn address(kind: Kind, text: &str, plain: bool) -> Result<String, Fault> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST {
        return fault("url", format!("use 1 to {LONGEST} bytes"));
    }
    match kind {
        Kind::Email => {
            email::recipients(text).or_else(|text| fault("url", text))?;
            return Ok(text.to_owned());
        }
        Kind::Telegram if text.starts_with(telegram::SCHEME) => {
            telegram::target(text).or_else(|text| fault("url", text))?;
            return Ok(text.to_owned());
        }
        _ => {}
    }
    let url = web(text, plain).or_else(|text| fault("url", text))?;
    let fits = match kind {
        Kind::Telegram => telegram::target(url.as_str()).map(drop),
        Kind::Ntfy => ntfy::topic(&url).map(drop),
        _ => Ok(()),
    };
    fits.or_else(|text| fault("url", text))?;
    Ok(url.into())
}

/// An https address, or also http where it may be `plain`.
pub(super) fn web(text: &str, plain: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
    if url.scheme() == "http" && !plain {
        return Err("use https; MAINTENANT_ALLOW_PRIVATE_WEBHOOKS=true also allows http".into());
    }
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("use an address such as https://hooks.example.org/path".into());
    }
    // A masked address that is not the one known would send to `***`.
    let is_masked = text.contains(HIDDEN);
    if url.fragment().is_some() || is_masked {
        return Err("give the whole address, without #fragment and ***".into());
    }
    Ok(url)
}

fn origin(url: &str) -> Option<String> {
    Url::parse(url).ok().map(|url| url.origin().ascii_serialization())
}

/// JSON text of headers; a hidden value is that of `old`.
fn headers(kind: Kind, text: &str, old: Option<&Headers>) -> Result<Headers, Fault> {
    if text.trim().is_empty() {
        return Ok(Headers::new());
    }
    let Ok(given) = serde_json::from_str::<BTreeMap<String, String>>(text) else {
        return fault("headers", "use a JSON object of texts, such as {\"Authorization\":\"...\"}");
    };
    if kind == Kind::Email && !given.is_empty() {
        return fault("headers", "an email channel has none");
    }
    if given.len() > MOST_HEADERS {
        return fault("headers", format!("use at most {MOST_HEADERS}"));
    }
    let mut headers = Headers::new();
    for (name, value) in given {
        let shown = foreign(&name);
        let Ok(name) = name.parse::<HeaderName>() else {
            return fault("headers", format!("`{shown}` is no name of a header"));
        };
        if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("x-maintenant-") {
            return fault("headers", format!("`{shown}` is set by the sender itself"));
        }
        let value = if value == HIDDEN {
            match old.and_then(|old| old.get(name.as_str())) {
                Some(kept) => kept.clone(),
                None => return fault("headers", format!("give the value of `{shown}`")),
            }
        } else {
            value
        };
        if value.len() > LONGEST || HeaderValue::from_str(&value).is_err() {
            return fault("headers", format!("the value of `{shown}` cannot be sent"));
        }
        headers.insert(name.as_str().to_owned(), value);
    }
    Ok(headers)
}

/// The address without what is secret in it: user name and password, query values, and whatever lets
/// its holder post to a service.
pub fn masked(kind: Kind, url: &str) -> String {
    if kind == Kind::Email {
        return url.to_owned();
    }
    if let Some(rest) = url.strip_prefix(telegram::SCHEME) {
        let chat = rest.rsplit_once('@').map_or("", |(_, chat)| chat);
        return format!("{}{HIDDEN}@{chat}", telegram::SCHEME);
    }
    let Ok(mut parsed) = Url::parse(url) else { return HIDDEN.to_owned() };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let _ = parsed.set_password(None);
        let _ = parsed.set_username(HIDDEN);
    }
    if parsed.query().is_some() {
        let names: Vec<String> = parsed.query_pairs().map(|(name, _)| name.into_owned()).collect();
        parsed.query_pairs_mut().clear().extend_pairs(names.iter().map(|name| (name, HIDDEN)));
    }
    let path = masked_path(kind, parsed.path());
    parsed.set_path(&path);
    parsed.into()
}

/// Everything from the first segment on that may be secret; where an address is not of the usual form,
/// all.
fn masked_path(kind: Kind, path: &str) -> String {
    let segments: Vec<&str> = path.split('/').collect();
    // The first one is empty.
    let last = segments.iter().rposition(|segment| !segment.is_empty()).unwrap_or_default();
    let behind = |word: &str, others: usize| {
        let place = segments.iter().position(|segment| *segment == word);
        place.map_or(1, |place| place + 1 + others)
    };
    let first = match kind {
        Kind::Webhook | Kind::Email => return path.to_owned(),
        // `sendMessage` is the last.
        Kind::Telegram => return format!("/{HIDDEN}/{}", segments.get(last).unwrap_or(&"")),
        Kind::Discord => behind("webhooks", 1),
        Kind::Slack => behind("services", 2),
        Kind::Teams => 2,
        Kind::Ntfy => 1,
    };
    match segments.get(..first.min(last)) {
        Some(shown) if last > 0 => format!("{}/{HIDDEN}", shown.join("/")),
        _ => path.to_owned(),
    }
}

impl Channel {
    /// Whether what is sent goes the same way.
    pub fn leads_as(&self, kind: Kind, url: &str, headers: &Headers) -> bool {
        self.kind == kind && self.url == url && self.headers == *headers
    }

    /// As it is shown, without what only lists have.
    pub fn to_wire(&self) -> Wire {
        let hidden: BTreeMap<&str, &str> =
            self.headers.keys().map(|name| (name.as_str(), HIDDEN)).collect();
        let headers = serde_json::to_string(&hidden).ok().filter(|_| !hidden.is_empty());
        Wire {
            id: self.id,
            name: self.name.clone(),
            kind: self.kind.as_str().to_owned(),
            url: masked(self.kind, &self.url),
            headers,
            enabled: self.enabled,
            routing_rules: self.rules.iter().map(|rule| rule.to_wire(self.id)).collect(),
            health: None,
            pending: None,
            dead: None,
            last_error: None,
            created_at: Some(self.created_at),
            updated_at: Some(self.updated_at),
        }
    }
}

impl Rule {
    pub fn to_wire(&self, channel_id: i64) -> RoutingRule {
        let list = |words: Vec<&str>| Some(words.join(",")).filter(|list| !list.is_empty());
        RoutingRule {
            id: self.id,
            channel_id,
            source_filter: list(self.sources.iter().map(String::as_str).collect()),
            severity_filter: list(self.severities.iter().map(|one| one.as_str()).collect()),
            created_at: Some(self.created_at),
        }
    }
}
