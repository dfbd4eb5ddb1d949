//! A registry that answers as it is told and counts what it is asked; and the client against it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::deciding::digest;
use crate::net::Net;
use crate::net::guard::Guard;
use crate::net::tls::Trust;
use crate::updates::credentials::Credentials;
use crate::updates::reference::Place;
use crate::updates::registry::{Fault, MOST_TAGS, Memory, Registries};

/// What it knows, and how it answers.
#[derive(Default)]
pub(super) struct Known {
    /// By repository, then tag: a manifest, by its letter.
    pub(super) tags: BTreeMap<String, BTreeMap<String, char>>,
    /// What is not the usual body of its letter.
    pub(super) manifests: BTreeMap<char, Value>,
    /// Answered to GET in place of the manifest.
    pub(super) forged: Option<String>,
    /// Repositories whose tags it does not list.
    pub(super) hides_tags: bool,
    /// Tags in one page, whatever is asked for.
    pub(super) page: Option<usize>,
    pub(super) auth: Auth,
    /// Headers of every answer.
    pub(super) headers: Vec<(&'static str, String)>,
    /// Answered to everything.
    pub(super) status: Option<u16>,
    /// How often that status is answered; for good without it.
    pub(super) times: Option<usize>,
    pub(super) hides_digests: bool,
    pub(super) redirect: Option<String>,
    /// Seconds that tokens last.
    pub(super) token_life: Option<u64>,
    /// Where the token server sends.
    pub(super) token_redirect: Option<String>,
    /// While it is held, nothing is answered.
    pub(super) gate: Arc<tokio::sync::RwLock<()>>,
    pub(super) asked: Vec<String>,
}

#[derive(Default, Clone, PartialEq)]
pub(super) enum Auth {
    #[default]
    None,
    Basic,
    Bearer,
}

impl Known {
    fn body(&self, letter: char) -> String {
        let usual = || json!({"config": letter.to_string()});
        self.manifests.get(&letter).cloned().unwrap_or_else(usual).to_string()
    }

    fn digest(&self, letter: char) -> String {
        let body = self.body(letter);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
        format!("sha256:{}", hex(hash.as_ref()))
    }

    /// By a tag, or by the digest of what is tagged or was put.
    fn letter(&self, repository: &str, reference: &str) -> Option<char> {
        let tags = self.tags.get(repository);
        if let Some(letter) = tags.and_then(|tags| tags.get(reference)) {
            return Some(*letter);
        }
        let tagged: BTreeSet<char> = tags.into_iter().flat_map(BTreeMap::values).copied().collect();
        let mut all = tagged.into_iter().chain(self.manifests.keys().copied());
        all.find(|letter| self.digest(*letter) == reference)
    }
}

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) known: Arc<Mutex<Known>>,
    pub(super) address: SocketAddr,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let known = Arc::default();
        let fake = Self { known, address };
        let app = Router::new().fallback(answer).with_state(fake.clone());
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move { axum::serve(listener, app).await });
        serving.detach_all();
        fake
    }

    pub(super) fn tag(&self, repository: &str, tag: &str, letter: char) {
        let mut known = self.known.lock().unwrap();
        known.tags.entry(repository.into()).or_default().insert(tag.into(), letter);
    }

    pub(super) fn untag(&self, repository: &str, tag: &str) {
        self.known.lock().unwrap().tags.get_mut(repository).unwrap().remove(tag);
    }

    /// The digest of a manifest.
    pub(super) fn digest(&self, letter: char) -> String {
        self.known.lock().unwrap().digest(letter)
    }

    /// Puts an index of manifests and their architectures, such as `arm/v7`.
    pub(super) fn index(&self, letter: char, children: &[(char, &str)]) {
        let mut known = self.known.lock().unwrap();
        let entry = |(letter, platform): &(char, &str)| {
            let (architecture, variant) = platform.split_once('/').unwrap_or((platform, ""));
            json!({"digest": known.digest(*letter), "size": 1, "platform":
                   {"os": "linux", "architecture": architecture, "variant": variant}})
        };
        let attestation = json!({"digest": digest('f'),
                                 "platform": {"os": "unknown", "architecture": "unknown"}});
        let manifests: Vec<_> = children.iter().map(entry).chain([attestation]).collect();
        let body = json!({"schemaVersion": 2, "manifests": manifests});
        known.manifests.insert(letter, body);
    }

    pub(super) fn place(&self, repository: &str) -> Place {
        Place { host: self.address.to_string(), repository: repository.to_owned() }
    }

    /// What was asked since the last time.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.known.lock().unwrap().asked)
    }

    pub(super) fn credentials(&self) -> Credentials {
        let text = json!({"auths": {self.address.to_string():
            {"username": "me", "password": "secret"}}});
        Credentials::parse(text.to_string().as_bytes()).unwrap()
    }
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response {
    let gate = fake.known.lock().unwrap().gate.clone();
    let _open = gate.read().await;
    let mut known = fake.known.lock().unwrap();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let accept = request.headers().get("accept").map(|value| value.to_str().unwrap().to_owned());
    let authorization = request.headers().get("authorization");
    let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
    known.asked.push(format!("{} {path}", request.method()));
    let mut response = Response::builder();
    for (name, value) in &known.headers {
        response = response.header(*name, value);
    }
    let empty = |response: http::response::Builder, status: u16| {
        response.status(status).body(Body::empty()).unwrap()
    };
    if let Some(status) = known.status {
        match &mut known.times {
            Some(0) => {}
            times => {
                if let Some(times) = times {
                    *times -= 1;
                }
                return empty(response, status);
            }
        }
    }
    if path == "/token" {
        if let Some(target) = &known.token_redirect {
            return empty(response.header("location", target), 307);
        }
        let life = known.token_life.unwrap_or(300);
        let body = match authorization.as_deref() {
            Some("Basic bWU6c2VjcmV0") => {
                assert!(query.contains("scope=repository%3A") && query.contains("service=fake"));
                json!({"access_token": "granted", "expires_in": life})
            }
            _ => return empty(response, 401),
        };
        return response.body(Body::from(body.to_string())).unwrap();
    }
    let wanted = match known.auth {
        Auth::None => None,
        Auth::Basic => Some(("Basic bWU6c2VjcmV0", "Basic realm=\"a, b\"".to_owned())),
        Auth::Bearer => {
            let realm = format!("http://{}/token", fake.address);
            Some(("Bearer granted", format!("Bearer realm=\"{realm}\",service=\"fake\"")))
        }
    };
    if let Some((expected, challenge)) = wanted
        && authorization.as_deref() != Some(expected)
    {
        return empty(response.header("www-authenticate", challenge), 401);
    }
    if let Some(target) = &known.redirect {
        let target = format!("{target}{path}");
        return empty(response.header("location", target), 307);
    }
    let path = path.strip_prefix("/v2/").unwrap_or_default();
    if let Some(repository) = path.strip_suffix("/tags/list") {
        if known.hides_tags {
            return empty(response, 403);
        }
        let Some(tags) = known.tags.get(repository) else { return empty(response, 404) };
        let get = |name: &str| {
            let pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let size = known.page.or(get("n").and_then(|n| n.parse().ok())).unwrap_or(usize::MAX);
        let last = get("last").unwrap_or_default();
        let rest: Vec<_> = tags.keys().filter(|tag| **tag > last).take(size).collect();
        if rest.len() == size
            && let Some(last) = rest.last()
        {
            let link = format!("</v2/{repository}/tags/list?n={size}&last={last}>; rel=\"next\"");
            response = response.header("link", link);
        }
        return response.body(Body::from(json!({"tags": rest}).to_string())).unwrap();
    }
    let Some((repository, reference)) = path.split_once("/manifests/") else {
        return empty(response, 404);
    };
    let types = accept.unwrap_or_default();
    assert_eq!(types.split(", ").collect::<BTreeSet<_>>().len(), 4, "{types}");
    let Some(letter) = known.letter(repository, reference) else { return empty(response, 404) };
    if !known.hides_digests {
        response = response.header("docker-content-digest", known.digest(letter));
    }
    let body = match (&known.forged, request.method()) {
        (_, &Method::HEAD) => String::new(),
        (Some(forged), _) => forged.clone(),
        (None, _) => known.body(letter),
    };
    response.status(StatusCode::OK).body(Body::from(body)).unwrap()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn net() -> Net {
    Net::new(Guard::default(), Trust::of(rustls::RootCertStore::empty()).unwrap())
}

fn client(credentials: Credentials) -> Registries {
    Registries::new(&net(), credentials, Memory::default()).unwrap()
}

#[tokio::test]
async fn a_digest_costs_one_head_that_accepts_every_kind_of_manifest() {
    let fake = Fake::start().await;
    fake.tag("lab/app", "1.0", 'a');
    let client = client(Credentials::default());
    assert_eq!(client.digest(&fake.place("lab/app"), "1.0").await.unwrap(), fake.digest('a'));
    assert_eq!(fake.asked(), ["HEAD /v2/lab/app/manifests/1.0"]);
}

#[tokio::test]
async fn a_registry_that_hides_digests_has_its_manifests_hashed() {
    let fake = Fake::start().await;
    fake.tag("lab/app", "1.0", 'a');
    fake.known.lock().unwrap().hides_digests = true;
    let found = client(Credentials::default()).digest(&fake.place("lab/app"), "1.0").await.unwrap();
    assert_eq!(found, fake.digest('a'));
}

#[tokio::test]
async fn logins_are_made_once_by_password_and_by_token() {
    for (auth, requests) in [(Auth::Basic, 1), (Auth::Bearer, 2)] {
        let fake = Fake::start().await;
        fake.tag("lab/app", "1.0", 'a');
        fake.tag("lab/app", "2.0", 'b');
        fake.known.lock().unwrap().auth = auth.clone();
        let place = fake.place("lab/app");
        let known = client(fake.credentials());
        assert_eq!(known.digest(&place, "1.0").await.unwrap(), fake.digest('a'));
        assert_eq!(fake.asked().len(), requests + 1, "a refusal, a token, the answer");
        assert_eq!(known.digest(&place, "2.0").await.unwrap(), fake.digest('b'));
        assert_eq!(fake.asked().len(), 1);

        let fault = client(Credentials::default()).digest(&place, "1.0").await.unwrap_err();
        assert!(matches!(fault, Fault::Unauthorized(..)), "{fault}");
        assert!(fault.to_string().contains("docker login"), "{fault}");
    }
}

#[tokio::test]
async fn the_next_scan_begins_with_the_login_that_is_wanted() {
    for (auth, requests) in [(Auth::Basic, 1), (Auth::Bearer, 2)] {
        let fake = Fake::start().await;
        fake.known.lock().unwrap().auth = auth;
        let memory = Memory::default();
        let scan = || Registries::new(&net(), fake.credentials(), memory.clone()).unwrap();
        let first = scan();
        for repository in ["lab/one", "lab/two", "lab/three"] {
            fake.tag(repository, "1.0", 'a');
            first.digest(&fake.place(repository), "1.0").await.unwrap();
        }
        let refused = 1;
        assert_eq!(fake.asked().len(), 3 * requests + refused);
        let second = scan();
        for repository in ["lab/one", "lab/two", "lab/three"] {
            second.digest(&fake.place(repository), "1.0").await.unwrap();
            assert_eq!(fake.asked().len(), requests, "{repository}");
        }
        let without = Registries::new(&net(), Credentials::default(), memory.clone()).unwrap();
        let fault = without.digest(&fake.place("lab/one"), "1.0").await.unwrap_err();
        assert!(fault.to_string().contains("docker login"), "{fault}");
        // Another day it wants nothing.
        fake.known.lock().unwrap().auth = Auth::None;
        without.digest(&fake.place("lab/one"), "1.0").await.unwrap();
    }
}

#[tokio::test]
async fn a_token_that_ends_at_once_serves_the_request_it_was_got_for() {
    let fake = Fake::start().await;
    fake.tag("lab/app", "1.0", 'a');
    {
        let mut known = fake.known.lock().unwrap();
        (known.auth, known.token_life) = (Auth::Bearer, Some(3));
    }
    let found = client(fake.credentials()).digest(&fake.place("lab/app"), "1.0").await;
    assert_eq!(found.unwrap(), fake.digest('a'));
}

#[tokio::test]
async fn no_other_host_is_told_the_password() {
    let (fake, other) = (Fake::start().await, Fake::start().await);
    other.known.lock().unwrap().auth = Auth::Bearer;
    fake.known.lock().unwrap().redirect = Some(format!("http://{}", other.address));
    let fault = client(fake.credentials()).digest(&fake.place("lab/app"), "1.0").await.unwrap_err();
    assert!(fault.to_string().contains("sends to another host"), "{fault}");
    assert_eq!(other.asked(), ["HEAD /v2/lab/app/manifests/1.0"], "its token server is not asked");

    {
        let mut known = fake.known.lock().unwrap();
        (known.auth, known.redirect) = (Auth::Bearer, None);
        known.token_redirect = Some(format!("http://{}/token", other.address));
    }
    let fault = client(fake.credentials()).digest(&fake.place("lab/app"), "1.0").await.unwrap_err();
    assert!(fault.to_string().contains("token server"), "{fault}");
    assert_eq!(other.asked(), [""; 0]);
}

#[tokio::test]
async fn credentials_in_a_helper_are_named_and_not_fetched() {
    let fake = Fake::start().await;
    fake.known.lock().unwrap().auth = Auth::Basic;
    let credentials = Credentials::parse(br#"{"credsStore": "desktop"}"#).unwrap();
    let fault = client(credentials).digest(&fake.place("lab/app"), "1.0").await.unwrap_err();
    assert!(fault.to_string().contains("helper `desktop`, which is not run"), "{fault}");
}

#[tokio::test]
async fn a_list_of_tags_is_followed_through_its_pages_and_ends_somewhere() {
    let fake = Fake::start().await;
    let place = fake.place("lab/app");
    for number in 0..25 {
        fake.tag("lab/app", &format!("1.{number:02}"), 'a');
    }
    fake.known.lock().unwrap().page = Some(10);
    let tags = client(Credentials::default()).tags(&place).await.unwrap();
    assert_eq!((tags.tags.len(), tags.is_cut), (25, false));
    assert_eq!(fake.asked().len(), 3);

    let many = (0..100_000).map(|number| (format!("1.0.{number:06}"), 'a'));
    fake.known.lock().unwrap().tags.insert("lab/app".into(), many.collect());
    fake.known.lock().unwrap().page = None;
    let tags = client(Credentials::default()).tags(&place).await.unwrap();
    assert_eq!((tags.tags.len(), tags.is_cut), (MOST_TAGS, true));
    assert_eq!(fake.asked().len(), MOST_TAGS / 1000);
}

#[tokio::test]
async fn a_registry_that_asks_to_be_left_alone_is() {
    let fake = Fake::start().await;
    fake.tag("lab/app", "1.0", 'a');
    let place = fake.place("lab/app");
    {
        let mut known = fake.known.lock().unwrap();
        known.status = Some(429);
        known.headers = vec![("retry-after", "3600".to_owned())];
    }
    let memory = Memory::default();
    let first = Registries::new(&net(), Credentials::default(), memory.clone()).unwrap();
    let fault = first.digest(&place, "1.0").await.unwrap_err();
    assert!(fault.to_string().contains("60 minutes"), "{fault}");
    assert_eq!(fake.asked().len(), 1);
    let next = Registries::new(&net(), Credentials::default(), memory).unwrap();
    assert!(matches!(next.digest(&place, "1.0").await, Err(Fault::Limited(..))));
    assert_eq!(fake.asked(), [""; 0], "the next scan waits too");

    let fake = Fake::start().await;
    fake.tag("lab/app", "1.0", 'a');
    {
        let mut known = fake.known.lock().unwrap();
        (known.status, known.times) = (Some(429), Some(1));
        known.headers = vec![("retry-after", "0".to_owned())];
    }
    let found = client(Credentials::default()).digest(&fake.place("lab/app"), "1.0").await;
    assert_eq!(found.unwrap(), fake.digest('a'), "a short pause is waited for");
}

#[tokio::test]
async fn the_last_pulls_are_left_to_others() {
    let fake = Fake::start().await;
    fake.tag("lab/app", "1.0", '1');
    fake.index('1', &[('a', "amd64")]);
    fake.known.lock().unwrap().headers = vec![
        ("ratelimit-limit", "100;w=21600".to_owned()),
        ("ratelimit-remaining", "7;w=21600".to_owned()),
    ];
    let client = client(Credentials::default());
    let place = fake.place("lab/app");
    assert_eq!(client.digest(&place, "1.0").await.unwrap(), fake.digest('1'));
    assert!(matches!(client.children(&place, &fake.digest('1')).await, Err(Fault::Reserved(_))));
    assert_eq!(fake.asked().len(), 1, "what counts as a pull is not asked for");
}

#[tokio::test]
async fn a_registry_that_fails_is_not_asked_for_ever() {
    let fake = Fake::start().await;
    fake.known.lock().unwrap().status = Some(503);
    let client = client(Credentials::default());
    for _ in 0..10 {
        let fault = client.digest(&fake.place("lab/app"), "1.0").await.unwrap_err();
        assert_eq!(fault, Fault::Status(fake.address.to_string(), 503));
    }
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn what_is_missing_or_unreadable_is_named() {
    let fake = Fake::start().await;
    let place = fake.place("lab/app");
    let client = client(Credentials::default());
    let fault = client.digest(&place, "1.0").await.unwrap_err();
    assert!(fault.to_string().contains("has no tag `1.0` of lab/app"), "{fault}");
    let huge = json!("x".repeat(5 << 20));
    fake.known.lock().unwrap().manifests.insert('h', huge);
    let fault = client.children(&place, &fake.digest('h')).await.unwrap_err();
    assert!(fault.to_string().contains("too large"), "{fault}");
    fake.known.lock().unwrap().manifests.insert('j', json!([1]));
    assert!(matches!(client.children(&place, &fake.digest('j')).await, Err(Fault::Unreadable(..))));
    fake.known.lock().unwrap().forged = Some("{}".to_owned());
    let forged = client.children(&place, &fake.digest('j')).await.unwrap_err();
    assert!(forged.to_string().contains("not the one of digest"), "{forged}");
    let absent = client.children(&place, &digest('0')).await;
    assert_eq!(absent.unwrap(), None, "of what is gone nothing is known");
}

#[tokio::test]
async fn addresses_that_are_never_probed_are_not_reached_by_any_way() {
    let client = client(Credentials::default());
    for host in ["169.254.169.254", "169.254.169.254:80", "[fe80::1]:5000", "0.0.0.0:5000"] {
        let place = Place { host: host.to_owned(), repository: "lab/app".to_owned() };
        let fault = client.digest(&place, "1.0").await.unwrap_err().to_string();
        assert!(fault.contains("is not probed"), "{host}: {fault}");
    }
    let fake = Fake::start().await;
    fake.tag("lab/app", "1.0", 'a');
    for target in ["https://169.254.169.254", "http://192.0.2.1", "http://example.org"] {
        fake.known.lock().unwrap().redirect = Some(target.to_owned());
        let fault = client.digest(&fake.place("lab/app"), "1.0").await.unwrap_err();
        assert!(matches!(fault, Fault::Unreachable(..)), "{target}: {fault}");
    }
}
