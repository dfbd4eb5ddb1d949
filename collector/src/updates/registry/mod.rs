//! Registries, over the distribution protocol: what a tag names, what an index holds, which tags
//! there are.
//!
//! `oci-client` cannot be given a resolver, so that nothing would keep it from addresses that are
//! never probed; it hides the headers of limits and does not follow `Link` through a list of tags.
//! These few requests are made here.

pub mod auth;
pub mod limits;
mod login;
mod memory;
mod reach;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, LINK};
use http::{HeaderMap, Method, StatusCode};
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use reqwest::Response;
use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use super::credentials::Credentials;
use super::model::{Child, Platform};
use super::reference::{Place, is_digest, is_loopback, is_tag, short};
use crate::net::Net;
use limits::Allowance;
use login::Logins;
pub use memory::Memory;
use reach::{Guarded, is_loopback_name};

/// All kinds of manifest. A registry that is not asked for all answers with another digest.
const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.oci.image.index.v1+json, \
                         application/vnd.oci.image.manifest.v1+json";
/// For one request, from its name to its last byte.
const DEADLINE: Duration = Duration::from_secs(15);
/// Requests to one registry at once.
const AT_ONCE: usize = 8;
const REDIRECTS: usize = 3;
/// Bytes of a manifest, and of a page of tags.
const LARGEST: usize = 4 << 20;
const LARGEST_TOKEN: usize = 64 * 1024;
/// Asked for in one page; registries may give fewer.
const PAGE: usize = 1000;
/// Of one repository.
pub const MOST_TAGS: usize = 50_000;
const MOST_PAGES: usize = 500;
/// For all pages of a list.
const LIST_DEADLINE: Duration = Duration::from_mins(2);
/// A registry that asks for no more than this is waited for.
const SHORT_PAUSE: Duration = Duration::from_secs(5);
/// After so many failures in a row a registry is not asked again in this scan.
const FAILURES: u32 = 3;

/// Why a registry did not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    #[error("{0} did not answer in {1} seconds")]
    Timeout(String, u64),
    #[error("{0} wants a login: {1}")]
    Unauthorized(String, String),
    #[error("{0} has no {1}")]
    NotFound(String, String),
    #[error("{0} allows no more requests for {1}; the next scan asks again")]
    Limited(String, String),
    #[error("few pulls are left at {0}, and they are left to others; the next scan asks again")]
    Reserved(String),
    #[error("{0} answered what cannot be read: {1}")]
    Unreadable(String, String),
    #[error("{0} answered {1}")]
    Status(String, u16),
    #[error(
        "{0} has more than {MOST_TAGS} tags of this repository, and only the first are compared; \
         maintenant.update.digest_only=true compares none"
    )]
    TooMany(String),
}

impl Fault {
    /// The registry itself fails, whatever it is asked for.
    fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable(..) | Self::Timeout(..) => true,
            Self::Status(_, status) => *status >= 500,
            _ => false,
        }
    }
}

/// The tags of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    pub tags: Vec<String>,
    /// There are more than are read.
    pub is_cut: bool,
}

/// What is asked of registries; one for each scan, so that it begins with the credentials of the day.
pub struct Registries {
    client: reqwest::Client,
    /// For token servers: what they are told is told to nobody else.
    token_client: reqwest::Client,
    net: Net,
    credentials: Credentials,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    memory: Memory,
}

/// What is known of one registry.
#[derive(Debug)]
struct Host {
    turns: Semaphore,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Loopback that does not speak TLS.
    is_plain: bool,
    allowance: Option<Allowance>,
    /// In a row, and the last of them.
    failures: u32,
    last: Option<Fault>,
    logins: Logins,
}

/// One request of the protocol.
struct Ask<'a> {
    method: Method,
    place: &'a Place,
    /// Below `/v2/<repository>/`, or a whole path for the next page of a list.
    path: String,
    /// In words, for faults.
    what: String,
}

impl Registries {
    pub fn new(net: &Net, credentials: Credentials, memory: Memory) -> anyhow::Result<Self> {
        let guard = Guarded(net.clone());
        let checked = guard.clone();
        let redirects = Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS {
                return attempt.error("too many redirects");
            }
            let begun = attempt.previous().first().and_then(Url::host_str).unwrap_or_default();
            match checked.check_url(attempt.url(), is_loopback_name(begun)) {
                Ok(()) => attempt.follow(),
                Err(fault) => attempt.error(fault),
            }
        });
        let client = |redirects: Policy| -> anyhow::Result<reqwest::Client> {
            let client = reqwest::Client::builder()
                .user_agent(concat!("maintenant/", env!("CARGO_PKG_VERSION")))
                .tls_backend_preconfigured(net.trust.verifying()?)
                .dns_resolver(guard.clone())
                .redirect(redirects)
                .retry(reqwest::retry::never())
                .no_proxy()
                .timeout(DEADLINE)
                .pool_max_idle_per_host(AT_ONCE)
                .pool_idle_timeout(Duration::from_secs(30));
            Ok(client.build()?)
        };
        Ok(Self {
            client: client(redirects)?,
            token_client: client(Policy::none())?,
            net: net.clone(),
            credentials,
            hosts: Mutex::default(),
            memory,
        })
    }

    /// The digest of what a tag names: one HEAD, or a GET where the registry does not say it.
    pub async fn digest(&self, place: &Place, tag: &str) -> Result<String, Fault> {
        let answer = self.ask(&manifest(Method::HEAD, place, tag)).await?;
        if let Some(digest) = digest_of(answer.headers()) {
            return Ok(digest);
        }
        let body = self.get_manifest(place, tag).await?;
        Ok(hashed("sha256", &aws_lc_rs::digest::SHA256, &body))
    }

    /// The images of an index, empty for what is no index; `None` if the registry does not have it.
    /// What is not what its digest says is unreadable.
    pub async fn children(&self, place: &Place, digest: &str) -> Result<Option<Vec<Child>>, Fault> {
        let host = self.host(place);
        if host.known().allowance.is_some_and(|allowance| !allowance.has_room()) {
            return Err(Fault::Reserved(place.host.clone()));
        }
        let body = match self.get_manifest(place, digest).await {
            Err(Fault::NotFound(..)) => return Ok(None),
            body => body?,
        };
        let unreadable = |error: String| Fault::Unreadable(place.host.clone(), error);
        if !is_hash_of(digest, &body) {
            let what = format!("a manifest that is not the one of digest {}", short(digest));
            return Err(unreadable(what));
        }
        children_in(&body).map(Some).map_err(unreadable)
    }

    /// All tags, in the registry's order: at most [`MOST_TAGS`].
    pub async fn tags(&self, place: &Place) -> Result<Tags, Fault> {
        let listing = self.list(place);
        let late = || Fault::Timeout(place.host.clone(), LIST_DEADLINE.as_secs());
        tokio::time::timeout(LIST_DEADLINE, listing).await.unwrap_or_else(|_| Err(late()))
    }

    async fn list(&self, place: &Place) -> Result<Tags, Fault> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut all = Tags::default();
        let mut path = format!("tags/list?n={PAGE}");
        for _ in 0..MOST_PAGES {
            let what = format!("repository {}", foreign(&place.repository));
            let ask = Ask { method: Method::GET, place, path: path.clone(), what };
            let answer = self.ask(&ask).await?;
            let next = next_page(&answer);
            let body = self.read(place, answer, LARGEST).await?;
            let page: Page = serde_json::from_slice(&body).map_err(|error| {
                Fault::Unreadable(place.host.clone(), foreign(&error.to_string()))
            })?;
            let tags = page.tags.unwrap_or_default();
            let room = MOST_TAGS - all.tags.len();
            all.is_cut = tags.len() > room || (tags.len() == room && next.is_some());
            all.tags.extend(tags.into_iter().take(room).filter(|tag| is_tag(tag)));
            match next {
                Some(next) if !all.is_cut && next != path => path = next,
                _ => return Ok(all),
            }
        }
        all.is_cut = true;
        Ok(all)
    }

    async fn get_manifest(&self, place: &Place, reference: &str) -> Result<Vec<u8>, Fault> {
        let answer = self.ask(&manifest(Method::GET, place, reference)).await?;
        self.read(place, answer, LARGEST).await
    }

    fn host(&self, place: &Place) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Host { turns: Semaphore::new(AT_ONCE), known: Mutex::default() };
        hosts.entry(place.host.clone()).or_insert_with(|| Arc::new(new())).clone()
    }

    /// Sends a request and takes what is no success for a fault. A registry that keeps failing, or that
    /// asked to be left alone, is not asked.
    async fn ask(&self, ask: &Ask<'_>) -> Result<Response, Fault> {
        let host = self.host(ask.place);
        let _turn = host.turns.acquire().await;
        if let Some(left) = self.memory.pause_left(&ask.place.host) {
            return Err(limited(ask.place, left));
        }
        if let Some(fault) = host.known().gave_up() {
            return Err(fault);
        }
        let answer = self.ask_patiently(&host, ask).await;
        let mut known = host.known();
        match &answer {
            Err(fault) if fault.is_outage() => {
                known.failures += 1;
                known.last = Some(fault.clone());
            }
            _ => known.failures = 0,
        }
        answer
    }

    async fn ask_patiently(&self, host: &Host, ask: &Ask<'_>) -> Result<Response, Fault> {
        let at = || ask.place.host.clone();
        let mut login = self.login(host, ask.place).await?;
        let mut logged_in = false;
        let mut waited = false;
        loop {
            let answer = self.send(host, ask, login.as_deref()).await?;
            if let Some(allowance) = Allowance::read(answer.headers()) {
                host.known().allowance = Some(allowance);
            }
            match answer.status() {
                status if status.is_success() => return Ok(answer),
                StatusCode::UNAUTHORIZED if !logged_in => {
                    logged_in = true;
                    login = Some(self.log_in(host, ask.place, &answer).await?);
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    let why = self.why_refused(ask.place);
                    return Err(Fault::Unauthorized(at(), why));
                }
                StatusCode::NOT_FOUND => return Err(Fault::NotFound(at(), ask.what.clone())),
                StatusCode::TOO_MANY_REQUESTS => {
                    let pause = limits::pause(answer.headers(), clock::now());
                    if waited || pause > SHORT_PAUSE {
                        self.memory.pause(&ask.place.host, pause);
                        return Err(limited(ask.place, pause));
                    }
                    waited = true;
                    tokio::time::sleep(pause).await;
                }
                status => return Err(Fault::Status(at(), status.as_u16())),
            }
        }
    }

    /// Loopback is tried with TLS first, as Docker does it, and then without.
    async fn send(
        &self,
        host: &Host,
        ask: &Ask<'_>,
        login: Option<&str>,
    ) -> Result<Response, Fault> {
        let is_plain = host.known().is_plain;
        let scheme = if is_plain { "http" } else { "https" };
        let error = match self.send_as(scheme, ask, login).await {
            Err(Sent::Failed(error)) => error,
            Err(Sent::Fault(fault)) => return Err(fault),
            Ok(answer) => return Ok(answer),
        };
        let untrusted = cause(&error).contains("certificate");
        if is_plain || !error.is_connect() || untrusted || !is_loopback(&ask.place.host) {
            return Err(fault_of(&ask.place.host, &error));
        }
        match self.send_as("http", ask, login).await {
            Ok(answer) => {
                host.known().is_plain = true;
                Ok(answer)
            }
            Err(Sent::Failed(error)) => Err(fault_of(&ask.place.host, &error)),
            Err(Sent::Fault(fault)) => Err(fault),
        }
    }

    async fn send_as(
        &self,
        scheme: &str,
        ask: &Ask<'_>,
        login: Option<&str>,
    ) -> Result<Response, Sent> {
        let Place { host: at, repository } = ask.place;
        let url = match ask.path.strip_prefix('/') {
            Some(whole) => format!("{scheme}://{at}/{whole}"),
            None => format!("{scheme}://{at}/v2/{repository}/{}", ask.path),
        };
        let unreachable = |error: String| Sent::Fault(Fault::Unreachable(at.clone(), error));
        let url = Url::parse(&url).map_err(|error| unreachable(error.to_string()))?;
        Guarded(self.net.clone()).check_url(&url, is_loopback(at)).map_err(unreachable)?;
        let mut request = self.client.request(ask.method.clone(), url).header(ACCEPT, MANIFESTS);
        if let Some(header) = login {
            request = request.header(AUTHORIZATION, header);
        }
        self.net.turn().await;
        request.send().await.map_err(|error| Sent::Failed(error.without_url()))
    }

    async fn read(
        &self,
        place: &Place,
        mut answer: Response,
        most: usize,
    ) -> Result<Vec<u8>, Fault> {
        let at = &place.host;
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= most => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => return Err(Fault::Unreadable(at.clone(), "it is too large".into())),
                Ok(None) => return Ok(body),
                Err(error) => return Err(fault_of(at, &error.without_url())),
            }
        }
    }
}

impl Host {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn gave_up(&self) -> Option<Fault> {
        self.last.clone().filter(|_| self.failures >= FAILURES)
    }
}

enum Sent {
    Failed(reqwest::Error),
    Fault(Fault),
}

fn manifest<'a>(method: Method, place: &'a Place, reference: &str) -> Ask<'a> {
    let what = if is_digest(reference) {
        format!("manifest {}", short(reference))
    } else {
        format!("tag `{}` of {}", foreign(reference), foreign(&place.repository))
    };
    Ask { method, place, path: format!("manifests/{reference}"), what }
}

fn hashed(name: &str, algorithm: &'static aws_lc_rs::digest::Algorithm, body: &[u8]) -> String {
    use std::fmt::Write as _;
    let hash = aws_lc_rs::digest::digest(algorithm, body);
    hash.as_ref().iter().fold(format!("{name}:"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn is_hash_of(digest: &str, body: &[u8]) -> bool {
    use aws_lc_rs::digest::{SHA256, SHA512};
    match digest.split_once(':') {
        Some(("sha256", _)) => hashed("sha256", &SHA256, body) == digest,
        Some(("sha512", _)) => hashed("sha512", &SHA512, body) == digest,
        _ => false,
    }
}

fn digest_of(headers: &HeaderMap) -> Option<String> {
    let digest = headers.get("docker-content-digest")?.to_str().ok()?;
    is_digest(digest).then(|| digest.to_owned())
}

fn limited(place: &Place, pause: Duration) -> Fault {
    let seconds = pause.as_secs();
    let words = match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7199 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    };
    Fault::Limited(place.host.clone(), words)
}

fn fault_of(host: &str, error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        return Fault::Timeout(host.to_owned(), DEADLINE.as_secs());
    }
    Fault::Unreachable(host.to_owned(), foreign(&cause(error)))
}

/// The innermost cause says most.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Path and query of the next page (RFC 8288). It is asked of the same registry, wherever it points.
fn next_page(answer: &Response) -> Option<String> {
    let link = answer.headers().get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    if !parameters.replace([' ', '"'], "").contains("rel=next") {
        return None;
    }
    let target = answer.url().join(target).ok()?;
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{}{query}", target.path()))
}

/// Images of an index. Attestations are for a platform that is none.
fn children_in(body: &[u8]) -> Result<Vec<Child>, String> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Option<Vec<Entry>>,
    }
    #[derive(Deserialize)]
    struct Entry {
        digest: String,
        platform: Option<Platform>,
    }
    let index: Index = serde_json::from_slice(body).map_err(|error| foreign(&error.to_string()))?;
    let entries = index.manifests.unwrap_or_default().into_iter();
    let known = entries.filter_map(|Entry { digest, platform }| {
        let platform = platform.filter(|platform| platform.os != "unknown")?;
        is_digest(&digest).then_some(Child { digest, platform })
    });
    Ok(known.collect())
}
