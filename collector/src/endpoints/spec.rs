//! How an endpoint is checked: one set of rules for labels, the file and the REST API.

use std::fmt;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use maintenant_api::endpoints::{Conditions, EndpointConfig, EndpointType};
use maintenant_serve::settings;
use regex::{Regex, RegexBuilder};
use url::Url;

pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);
pub const LONGEST_INTERVAL: Duration = Duration::from_hours(24);
pub const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
pub const LONGEST_TIMEOUT: Duration = Duration::from_mins(1);
const MOST_REDIRECTS: i64 = 20;
const MOST_THRESHOLD: i64 = 100;
const MOST_HEADERS: usize = 32;
/// Conditions on headers of one endpoint: each costs what searching a header costs.
const MOST_HEADER_CONDITIONS: usize = 16;
const LONGEST_TARGET: usize = 2048;
const LONGEST_TEXT: usize = 4096;
/// Memory of one compiled expression.
const REGEX_BYTES: usize = 256 * 1024;

/// Everything a check needs to know. Two endpoints with equal specs are checked alike.
#[derive(Debug, Clone)]
pub struct Spec {
    pub target: Target,
    pub interval: Duration,
    /// At most the interval.
    pub timeout: Duration,
    pub failure_threshold: u32,
    pub recovery_threshold: u32,
    pub method: Method,
    /// Sent to the target's origin, and to no other after a redirect. `Host` takes the place of the
    /// URL's host in the request, as the TLS server name, and as the name the certificate must bear;
    /// the connection still goes to the URL's host.
    pub headers: HeaderMap,
    pub expected_status: StatusSet,
    pub tls_verify: bool,
    pub max_redirects: u32,
    pub conditions: Checks,
}

/// What is checked.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// With `http` or `https` and a host. User and password in it become basic authorisation.
    Http(Url),
    /// The host is a name, or an address without brackets.
    Tcp { host: String, port: u16 },
}

impl fmt::Debug for Target {
    /// Without user, password and query: each may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => write!(f, "{}{}", url.origin().ascii_serialization(), url.path()),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// [`Conditions`], compiled.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    pub body: Vec<Pattern>,
    pub headers: Vec<(HeaderName, Pattern)>,
    pub send: Option<String>,
    pub expect: Option<String>,
}

/// What a text must be like.
#[derive(Debug, Clone)]
pub enum Pattern {
    Contains(String),
    /// Linear in the length of the text, whatever the expression.
    Matches(Regex),
}

/// A field that cannot be read: what is wrong, and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct SpecFault {
    pub field: &'static str,
    pub fault: String,
}

impl Pattern {
    /// It takes long to look for in a long text.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Matches(_))
    }

    pub fn is_met_by(&self, text: &str) -> bool {
        match self {
            Self::Contains(part) => text.contains(part),
            Self::Matches(expression) => expression.is_match(text),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contains(part) => write!(f, "contain `{part}`"),
            Self::Matches(expression) => write!(f, "match `{expression}`"),
        }
    }
}

/// What is configured when nothing is said.
pub fn defaults(kind: EndpointType) -> EndpointConfig {
    let http = kind == EndpointType::Http;
    EndpointConfig {
        interval: "30s".to_owned(),
        timeout: "10s".to_owned(),
        failure_threshold: 3,
        recovery_threshold: 2,
        method: http.then(|| "GET".to_owned()),
        expected_status: http.then(|| "2xx".to_owned()),
        tls_verify: true,
        max_redirects: http.then_some(5),
        ..EndpointConfig::default()
    }
}

impl Spec {
    /// Reads a configuration as it stands in labels, files, requests and the database.
    pub fn parse(
        kind: EndpointType,
        target: &str,
        config: &EndpointConfig,
    ) -> Result<Self, SpecFault> {
        let interval = duration("interval", &config.interval, SHORTEST_INTERVAL, LONGEST_INTERVAL)?;
        let timeout = duration("timeout", &config.timeout, SHORTEST_TIMEOUT, LONGEST_TIMEOUT)?;
        if timeout > interval {
            let fault =
                format!("{} is longer than the interval of {}", config.timeout, config.interval);
            return Err(SpecFault { field: "timeout", fault });
        }
        let threshold = |field, number: i64| within(field, number, 1..=MOST_THRESHOLD);
        Ok(Self {
            target: Target::parse(kind, target)?,
            interval,
            timeout,
            failure_threshold: threshold("failure_threshold", config.failure_threshold)?,
            recovery_threshold: threshold("recovery_threshold", config.recovery_threshold)?,
            method: method(config.method.as_deref().unwrap_or("GET"))?,
            headers: headers(config)?,
            expected_status: StatusSet::parse(config.expected_status.as_deref().unwrap_or("2xx"))?,
            tls_verify: config.tls_verify,
            max_redirects: within(
                "max_redirects",
                config.max_redirects.unwrap_or(5),
                0..=MOST_REDIRECTS,
            )?,
            conditions: Checks::parse(kind, &config.conditions)?,
        })
    }
}

impl Spec {
    /// The host of the `Host` header, which TLS asks for in place of the URL's.
    pub fn server_name(&self) -> Option<String> {
        let authority = Authority::try_from(self.headers.get(HOST)?.as_bytes()).ok()?;
        Some(authority.host().to_owned())
    }
}

impl Target {
    pub fn parse(kind: EndpointType, text: &str) -> Result<Self, SpecFault> {
        let fault = |fault: String| SpecFault { field: "target", fault };
        // What comes after a ? may be a secret, and so may all of one with user and password: where
        // those end is not known of what cannot be read.
        let shown: String = text.split('?').next().unwrap_or_default().chars().take(100).collect();
        let shown = if text.contains('@') { "it".to_owned() } else { format!("`{shown}`") };
        if text.is_empty() || text.len() > LONGEST_TARGET {
            return Err(fault(format!("it must have 1 to {LONGEST_TARGET} bytes")));
        }
        match kind {
            EndpointType::Http => {
                let accepted = "use a URL such as https://example.org/health";
                let url = Url::parse(text)
                    .map_err(|error| fault(format!("{shown} is no URL ({error}); {accepted}")))?;
                if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                    return Err(fault(format!("{shown} has no http or https; {accepted}")));
                }
                if url.port() == Some(0) {
                    return Err(fault("port 0 cannot be connected to; use 1 to 65535".to_owned()));
                }
                Ok(Self::Http(url))
            }
            EndpointType::Tcp => {
                let accepted = "use host:port or [ipv6]:port with a port from 1 to 65535";
                let bad = || fault(format!("{shown} is no address; {accepted}"));
                let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
                let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(bad)?;
                let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                    Some(inner) => {
                        inner.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
                        inner
                    }
                    // Forms such as `127.1` are taken as URLs take them, or not at all.
                    None => host,
                };
                let named = host.is_empty()
                    || host.len() > 253
                    || host.chars().any(|c| !c.is_ascii_alphanumeric() && !"-._:".contains(c));
                let bare_v6 = host.contains(':') && !text.starts_with('[');
                if named || bare_v6 {
                    return Err(bad());
                }
                Ok(Self::Tcp { host: host.to_owned(), port })
            }
        }
    }
}

fn duration(
    field: &'static str,
    text: &str,
    least: Duration,
    most: Duration,
) -> Result<Duration, SpecFault> {
    let duration = settings::duration(text).map_err(|fault| SpecFault { field, fault })?;
    if duration < least || duration > most {
        let (least, most) = (least.as_secs(), most.as_secs());
        let fault = format!("`{text}` is not between {least}s and {most}s");
        return Err(SpecFault { field, fault });
    }
    Ok(duration)
}

fn within(
    field: &'static str,
    number: i64,
    range: std::ops::RangeInclusive<i64>,
) -> Result<u32, SpecFault> {
    u32::try_from(number).ok().filter(|_| range.contains(&number)).ok_or_else(|| {
        let fault = format!("{number} is not between {} and {}", range.start(), range.end());
        SpecFault { field, fault }
    })
}

fn method(text: &str) -> Result<Method, SpecFault> {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ];
    let given = text.to_ascii_uppercase();
    known.into_iter().find(|method| method.as_str() == given).ok_or_else(|| SpecFault {
        field: "method",
        fault: format!("`{text}` is none of GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"),
    })
}

/// Header values are secrets: a fault names the header alone.
fn headers(config: &EndpointConfig) -> Result<HeaderMap, SpecFault> {
    let fault = |fault: String| SpecFault { field: "headers", fault };
    if config.headers.len() > MOST_HEADERS {
        return Err(fault(format!("more than {MOST_HEADERS} headers")));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let shown: String = name.chars().take(100).collect();
        let name = HeaderName::try_from(name.trim())
            .map_err(|_| fault(format!("`{shown}` is no header name")))?;
        if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].contains(&name) {
            return Err(fault(format!("`{name}` is set by the check itself")));
        }
        let mut value = HeaderValue::try_from(value.trim())
            .ok()
            .filter(|value| value.len() <= LONGEST_TEXT)
            .ok_or_else(|| fault(format!("the value of `{name}` cannot be sent")))?;
        let bare = |host: &Authority| !host.as_str().contains('@');
        if name == HOST && !Authority::try_from(value.as_bytes()).as_ref().is_ok_and(bare) {
            return Err(fault("the value of `host` is no host; use name or name:port".to_owned()));
        }
        value.set_sensitive(name != HOST);
        headers.insert(name, value);
    }
    Ok(headers)
}

impl Checks {
    fn parse(kind: EndpointType, conditions: &Conditions) -> Result<Self, SpecFault> {
        let Conditions {
            body_contains,
            body_matches,
            header_contains,
            header_matches,
            send,
            expect,
        } = conditions;
        let http = body_contains.is_some()
            || body_matches.is_some()
            || !header_contains.is_empty()
            || !header_matches.is_empty();
        if kind == EndpointType::Tcp && http {
            let fault = "a TCP check has no headers and no body; use send and expect".to_owned();
            return Err(SpecFault { field: "body_contains", fault });
        }
        if kind == EndpointType::Http && (send.is_some() || expect.is_some()) {
            let fault = "these are for TCP; use body_contains or body_matches".to_owned();
            return Err(SpecFault { field: "expect", fault });
        }
        if header_contains.len() + header_matches.len() > MOST_HEADER_CONDITIONS {
            let field =
                if header_contains.is_empty() { "header_matches" } else { "header_contains" };
            let fault = format!("more than {MOST_HEADER_CONDITIONS} conditions on headers");
            return Err(SpecFault { field, fault });
        }
        let mut body = Vec::new();
        body.extend(
            body_contains.as_deref().map(|part| contains("body_contains", part)).transpose()?,
        );
        body.extend(body_matches.as_deref().map(|text| matches("body_matches", text)).transpose()?);
        let mut headers = Vec::new();
        for (name, part) in header_contains {
            headers.push((header("header_contains", name)?, contains("header_contains", part)?));
        }
        for (name, text) in header_matches {
            headers.push((header("header_matches", name)?, matches("header_matches", text)?));
        }
        let bounded = |field, text: &Option<String>| match text.as_deref() {
            Some(text) => contains(field, text).map(|_| Some(text.to_owned())),
            None => Ok(None),
        };
        let (send, expect) = (bounded("send", send)?, bounded("expect", expect)?);
        Ok(Self { body, headers, send, expect })
    }
}

fn contains(field: &'static str, part: &str) -> Result<Pattern, SpecFault> {
    if part.is_empty() || part.len() > LONGEST_TEXT {
        let fault = format!("it must have 1 to {LONGEST_TEXT} bytes");
        return Err(SpecFault { field, fault });
    }
    Ok(Pattern::Contains(part.to_owned()))
}

fn matches(field: &'static str, text: &str) -> Result<Pattern, SpecFault> {
    contains(field, text)?;
    let expression = RegexBuilder::new(text).size_limit(REGEX_BYTES).build();
    expression.map(Pattern::Matches).map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim().to_owned();
        SpecFault { field, fault: format!("no regular expression ({reason}); see docs.rs/regex") }
    })
}

fn header(field: &'static str, name: &str) -> Result<HeaderName, SpecFault> {
    HeaderName::try_from(name.trim()).map_err(|_| {
        let shown: String = name.chars().take(100).collect();
        SpecFault { field, fault: format!("`{shown}` is no header name") }
    })
}

/// HTTP statuses that count as success: `200,301-303,4xx`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl StatusSet {
    pub fn parse(text: &str) -> Result<Self, SpecFault> {
        let fault = |part: &str| SpecFault {
            field: "expected_status",
            fault: format!(
                "`{part}` is no status; use codes, ranges and classes such as 200,301-303,4xx"
            ),
        };
        let code = |part: &str| {
            let number = part.parse::<u16>().ok().filter(|_| part.len() == 3);
            number.filter(|code| (100..=599).contains(code))
        };
        let mut ranges = Vec::new();
        for part in settings::list(text) {
            let lower = part.to_ascii_lowercase();
            let range = match lower.strip_suffix("xx").map(str::parse::<u16>) {
                Some(Ok(class @ 1..=5)) if lower.len() == 3 => {
                    Some((class * 100, class * 100 + 99))
                }
                Some(_) => None,
                None => match lower.split_once('-') {
                    Some((low, high)) => code(low.trim()).zip(code(high.trim())),
                    None => code(&lower).map(|code| (code, code)),
                },
            };
            ranges.push(range.filter(|(low, high)| low <= high).ok_or_else(|| fault(&part))?);
        }
        if ranges.is_empty() { Err(fault(text)) } else { Ok(Self(ranges)) }
    }

    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (low, high)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match (low, high) {
                _ if low == high => write!(f, "{comma}{low}")?,
                _ if low % 100 == 0 && *high == low + 99 => write!(f, "{comma}{}xx", low / 100)?,
                _ => write!(f, "{comma}{low}-{high}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_status(text: &str, yes: &[u16], no: &[u16]) {
        let set = StatusSet::parse(text).unwrap();
        assert!(yes.iter().all(|status| set.contains(*status)), "{text}");
        assert!(!no.iter().any(|status| set.contains(*status)), "{text}");
    }

    #[test]
    fn statuses_are_codes_ranges_and_classes() {
        check_status("2xx", &[200, 204, 299], &[199, 300]);
        check_status("200, 301-303,4XX", &[200, 301, 303, 404], &[201, 304, 500]);
        for bad in ["", "6xx", "0xx", "20", "2000", "303-301", "ok", "200,", "1xxx", "2x"] {
            let refused = bad != "200,";
            assert_eq!(StatusSet::parse(bad).is_err(), refused, "{bad}");
        }
    }

    #[test]
    fn statuses_are_written_as_they_are_read() {
        let set = StatusSet::parse("200, 301-303,4XX,500-599").unwrap();
        assert_eq!(set.to_string(), "200,301-303,4xx,5xx");
    }

    fn check_target(kind: EndpointType, text: &str, accepted: bool) {
        let target = Target::parse(kind, text);
        assert_eq!(target.is_ok(), accepted, "{text}: {target:?}");
    }

    #[test]
    fn targets_are_urls_or_host_and_port() {
        for good in ["http://a", "https://a:8443/x?y=1", "http://[::1]:80/"] {
            check_target(EndpointType::Http, good, true);
        }
        for bad in ["", "/rel", "a.example", "ftp://a", "http://", "http://a:0", "http://a:70000"] {
            check_target(EndpointType::Http, bad, false);
        }
        for good in ["db:5432", "127.0.0.1:1", "[::1]:65535", "a-b.example:80"] {
            check_target(EndpointType::Tcp, good, true);
        }
        for bad in ["db", "db:", "db:0", "db:70000", "::1:80", "[db]:80", "a b:80", ":80", "[]:80"]
        {
            check_target(EndpointType::Tcp, bad, false);
        }
    }

    fn faulty(kind: EndpointType, change: impl FnOnce(&mut EndpointConfig)) -> &'static str {
        let mut config = defaults(kind);
        change(&mut config);
        let target = if kind == EndpointType::Http { "http://a" } else { "a:1" };
        Spec::parse(kind, target, &config).map_or_else(|fault| fault.field, |_| "")
    }

    #[test]
    fn every_option_is_checked_and_named() {
        use EndpointType::{Http, Tcp};
        assert_eq!(faulty(Http, |_| {}), "");
        assert_eq!(faulty(Tcp, |_| {}), "");
        assert_eq!(faulty(Http, |config| config.interval = "4s".into()), "interval");
        assert_eq!(faulty(Http, |config| config.interval = "soon".into()), "interval");
        assert_eq!(faulty(Http, |config| config.timeout = "500ms".into()), "timeout");
        assert_eq!(faulty(Http, |config| config.timeout = "31s".into()), "timeout");
        assert_eq!(faulty(Http, |config| config.failure_threshold = 0), "failure_threshold");
        assert_eq!(faulty(Http, |config| config.recovery_threshold = 101), "recovery_threshold");
        assert_eq!(faulty(Http, |config| config.method = Some("BREW".into())), "method");
        assert_eq!(faulty(Http, |config| config.max_redirects = Some(21)), "max_redirects");
        assert_eq!(
            faulty(Http, |config| config.expected_status = Some("x".into())),
            "expected_status"
        );
        let bad_header = |config: &mut EndpointConfig| {
            config.headers.insert("a b".into(), "c".into());
        };
        assert_eq!(faulty(Http, bad_header), "headers");
        for bad in ["", "a b", "user@a", "a/b", "http://a"] {
            let host = |config: &mut EndpointConfig| {
                config.headers.insert("Host".into(), bad.into());
            };
            assert_eq!(faulty(Http, host), "headers", "{bad}");
        }
        let regex = |config: &mut EndpointConfig| config.conditions.body_matches = Some("(".into());
        assert_eq!(faulty(Http, regex), "body_matches");
        let huge = |config: &mut EndpointConfig| {
            config.conditions.body_matches = Some(r"\w{1000}{1000}".into());
        };
        assert_eq!(faulty(Http, huge), "body_matches");
        let conditions = |contains: usize, matches: usize| {
            move |config: &mut EndpointConfig| {
                let pair = |number| (format!("x-{number}"), "a".to_owned());
                config.conditions.header_contains = (0..contains).map(pair).collect();
                config.conditions.header_matches = (0..matches).map(pair).collect();
            }
        };
        assert_eq!(faulty(Http, conditions(8, 8)), "");
        assert_eq!(faulty(Http, conditions(9, 8)), "header_contains");
        assert_eq!(faulty(Http, conditions(0, 17)), "header_matches");
        let expect = |config: &mut EndpointConfig| config.conditions.expect = Some("+OK".into());
        assert_eq!(faulty(Http, expect), "expect");
        assert_eq!(faulty(Tcp, expect), "");
    }

    #[test]
    fn a_header_value_is_in_no_fault_and_no_debug_output() {
        let mut config = defaults(EndpointType::Http);
        config.headers.insert("authorization".into(), "hunter2\n\u{1}".into());
        let fault = Spec::parse(EndpointType::Http, "http://a", &config).unwrap_err();
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
        config.headers.insert("authorization".into(), "hunter2".into());
        let spec = Spec::parse(EndpointType::Http, "http://a", &config).unwrap();
        assert!(!format!("{spec:?}").contains("hunter2"));
        let target = "http://user:hunter2@a/?token=hunter2";
        let spec = Spec::parse(EndpointType::Http, target, &defaults(EndpointType::Http)).unwrap();
        assert!(!format!("{spec:?}").contains("hunter2"), "{spec:?}");
        let bad = Target::parse(EndpointType::Http, "http://user:hunter2@a:99999/").unwrap_err();
        assert!(!bad.to_string().contains("hunter2"), "{bad}");
        for bad in ["https://user:hunter?2@host:99999/", "ftp://hun?ter2@a", "hun@ter"] {
            let fault = Target::parse(EndpointType::Http, bad).unwrap_err().to_string();
            assert!(!fault.contains("hun"), "{fault}");
        }
        let bad = Target::parse(EndpointType::Tcp, "user:hun?ter2@host:port").unwrap_err();
        assert!(!bad.to_string().contains("hun"), "{bad}");
    }
}
