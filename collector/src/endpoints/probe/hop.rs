//! Which request comes next: the first one, and those that redirects ask for.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, LOCATION, USER_AGENT,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use crate::endpoints::spec::Spec;

/// What every check calls itself.
const AGENT: &str = concat!("maintenant/", env!("CARGO_PKG_VERSION"));

/// One request of a check. Its URL and headers may be secret, so it cannot be printed.
#[derive(Clone)]
pub(super) struct Hop {
    pub(super) url: Url,
    pub(super) method: Method,
    /// What is configured. All of it may be secret, so all of it stays with the first origin.
    headers: HeaderMap,
}

/// A redirect that is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NoLocation,
    Scheme,
    Downgrade,
}

impl Refusal {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NoLocation => "the redirect does not say where to",
            Self::Scheme => "redirected to something other than http and https",
            Self::Downgrade => "redirected from https to http, which is not followed",
        }
    }
}

impl Hop {
    pub(super) fn first(spec: &Spec, target: &Url) -> Self {
        let mut headers = spec.headers.clone();
        if !headers.contains_key(AUTHORIZATION)
            && let Some(value) = basic(target)
        {
            headers.insert(AUTHORIZATION, value);
        }
        Self { url: target.clone(), method: spec.method.clone(), headers }
    }

    /// Whether a status asks for another request. Others of its class only inform.
    pub(super) fn is_redirect(status: StatusCode) -> bool {
        matches!(status.as_u16(), 301..=303 | 307 | 308)
    }

    /// The request that a redirect asks for (RFC 9110 §15.4).
    pub(super) fn follow(&self, status: StatusCode, answer: &HeaderMap) -> Result<Self, Refusal> {
        let location = answer.get(LOCATION).and_then(|value| str::from_utf8(value.as_bytes()).ok());
        let url = location.and_then(|location| self.url.join(location).ok());
        let url = url.ok_or(Refusal::NoLocation)?;
        match (self.url.scheme(), url.scheme()) {
            ("https", "http") => return Err(Refusal::Downgrade),
            (_, "http" | "https") if url.host().is_some() => {}
            _ => return Err(Refusal::Scheme),
        }
        let method = match status {
            StatusCode::SEE_OTHER if self.method != Method::HEAD => Method::GET,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if self.method == Method::POST => {
                Method::GET
            }
            _ => self.method.clone(),
        };
        let same = url.origin() == self.url.origin();
        let headers = if same { self.headers.clone() } else { HeaderMap::new() };
        Ok(Self { url, method, headers })
    }

    /// The name asked for in TLS and in certificates: that of the `Host` header.
    pub(super) fn name(&self) -> String {
        let configured = self.headers.get(HOST);
        let authority = configured.and_then(|value| Authority::try_from(value.as_bytes()).ok());
        match authority {
            Some(authority) => authority.host().to_owned(),
            None => self.url.host_str().unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn request<B: Default>(&self) -> Result<Request<B>, http::Error> {
        let mut headers = self.headers.clone();
        let mut default = |name, value| {
            headers.entry(name).or_insert(value);
        };
        default(HOST, HeaderValue::try_from(&self.url[Position::BeforeHost..Position::AfterPort])?);
        default(USER_AGENT, HeaderValue::from_static(AGENT));
        default(ACCEPT, HeaderValue::from_static("*/*"));
        default(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        default(CONNECTION, HeaderValue::from_static("close"));
        if [Method::POST, Method::PUT, Method::PATCH].contains(&self.method) {
            default(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.url[Position::BeforePath..Position::AfterQuery])
            .body(B::default())?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// User and password of a URL (RFC 7617).
fn basic(url: &Url) -> Option<HeaderValue> {
    let password = url.password();
    if url.username().is_empty() && password.is_none() {
        return None;
    }
    let mut pair = percent_decode_str(url.username()).collect::<Vec<u8>>();
    pair.push(b':');
    pair.extend(percent_decode_str(password.unwrap_or_default()));
    let mut value =
        HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}
