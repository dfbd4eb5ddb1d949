//! `maintenant-gateway check`: what works of the settings and what does not, before anybody is
//! served.
//!
//! It asks with the code that serves, so it says what `/readyz` and `get_health` will say. What a
//! part says is foreign text made safe or a sentence of ours; secrets are in neither.

mod routes;
mod start;

use std::fmt::{self, Display};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use maintenant_api::health::RuntimeStatus;
use maintenant_serve::clock;
use maintenant_serve::logging::foreign;
use maintenant_serve::settings::{Secret, SettingsError, secret};
use maintenant_serve::tls::Tls;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::auth::admission::Admission;
use crate::auth::settings::AuthSettings;
use crate::auth::{IssuerState, Refusal};
use crate::caller::{Caller, Scope};
use crate::collector::{ClientError, Collector};
use crate::collectors::Collectors;
use crate::config::{Config, McpSettings, Target};
use crate::error::{explain, how_to_extend};
use crate::untrusted::{message, name, quoted};

pub use start::look_once;

/// How long keys of issuers are waited for.
const WITHIN: Duration = Duration::from_secs(15);
const LONGEST_TOKEN: u64 = 64 * 1024;
/// What changes something and is refused by collectors of the community edition.
const EXTENDED: &str = "acknowledge_alert, create_incident, update_incident, create_maintenance";

/// What was found, part by part.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Nothing fails; there may be warnings.
    pub ok: bool,
    pub parts: Vec<Part>,
}

/// One collector, one issuer, who may call, or a token.
#[derive(Debug, Serialize)]
pub struct Part {
    pub part: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub result: Outcome,
    pub about: &'static str,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    Warning,
    Fails,
}

/// Looks at everything that `config` names and writes what it finds to stdout. Fails when something
/// does not work.
pub async fn run(config: Config, token: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let token = token.map(read_token).transpose().map_err(|fault| settings("--token", &fault))?;
    let report = examine(config, token).await?;
    let text =
        if json { format!("{}\n", serde_json::to_string(&report)?) } else { report.to_string() };
    std::io::stdout().write_all(text.as_bytes())?;
    anyhow::ensure!(report.ok, "something does not work; see above");
    Ok(())
}

/// The same without a word.
pub async fn examine(config: Config, token: Option<Secret>) -> Result<Report, SettingsError> {
    let Config { tls, mcp, collectors: targets, .. } = config;
    let file = |error: anyhow::Error| SettingsError(vec![format!("{error:#}")]);
    tls.map(Tls::load).transpose().map_err(file)?;
    let addresses = targets.collectors.clone();
    let has_token = targets.token.is_some();
    let collectors = Collectors::new(targets).map_err(file)?.live();
    let admission = Admission::new(&mcp).map_err(file)?;
    let questions = collectors.iter().zip(&addresses).map(async |(collector, (_, target))| {
        let mut part = Part::new("collector", format!("{} ({})", collector.name, address(target)));
        look_at(collector, has_token, &mut part).await;
        part
    });
    let verify = async {
        let _ = timeout(WITHIN, until_known(&admission)).await;
        let token = match &token {
            Some(token) => Some(part_of_token(&admission, &mcp, token).await),
            None => None,
        };
        (admission.state(), token)
    };
    let verify = async {
        tokio::select! {
            verified = verify => verified,
            never = admission.refresh() => match never {},
        }
    };
    let (mut parts, (issuers, token)) = tokio::join!(join_all(questions), verify);
    parts.extend(issuers.iter().map(part_of_issuer));
    if mcp.http || !mcp.stdio {
        parts.push(part_of_callers(&mcp));
    }
    parts.extend(token);
    let ok = parts.iter().flat_map(|part| &part.findings).all(|one| one.result != Outcome::Fails);
    Ok(Report { ok, parts })
}

/// Asks one collector, from what everything needs to what few tools need, and stops where the rest
/// makes no sense.
async fn look_at(collector: &Collector, has_token: bool, part: &mut Part) {
    let why = |error: &ClientError| explain(&collector.name, error);
    if collector.sends_token_in_the_clear() {
        part.warns("token", "it travels over plain http; use https or a unix socket");
    }
    let health = match collector.health().await {
        Ok(health) => health,
        Err(error) => {
            let silent = matches!(
                error,
                ClientError::Unreachable(_) | ClientError::Untrusted(_) | ClientError::Timeout
            );
            part.fails(if silent { "reached" } else { "maintenant" }, why(&error));
            return;
        }
    };
    let version = if health.version.is_empty() { "?".to_owned() } else { name(&health.version) };
    part.works("reached", format!("it answers as maintenant, version {version}"));
    let runtime = match collector.runtime_status().await {
        Err(ClientError::Unauthorized) if !has_token => {
            let text = "the collector asks for a token and the gateway has none; set \
                        MAINTENANT_API_TOKEN to the collector's token";
            part.fails("token", text);
            return;
        }
        Err(error @ ClientError::Unauthorized) => {
            part.fails("token", why(&error));
            return;
        }
        runtime => runtime,
    };
    part.works("token", if has_token { "the collector takes it" } else { "none is asked for" });
    match runtime {
        Ok(runtime) => see_runtime(&runtime, part),
        Err(error) => part.fails("runtime", why(&error)),
    }
    match collector.edition().await {
        Ok(edition) if edition.edition == "community" => {
            let next = how_to_extend(&edition);
            part.warns("edition", format!("community, which refuses {EXTENDED}; {next}"));
        }
        Ok(edition) => part.works("edition", name(&edition.edition)),
        Err(ClientError::RouteMissing | ClientError::NotFound { .. }) => {
            part.works("edition", "it has none");
        }
        Err(error) => part.fails("edition", why(&error)),
    }
    let routes = Box::pin(routes::ask(collector)).await;
    if !routes.missing.is_empty() {
        let missing = routes.missing.join(", ");
        part.warns("routes", format!("this version does not have: {missing}; a newer one may"));
    }
    for (error, names) in &routes.failing {
        part.fails("routes", format!("{}: {error}", names.join(", ")));
    }
    if routes.failing.is_empty() {
        part.works("routes", format!("{} answer readably", routes.working));
    }
}

fn see_runtime(runtime: &RuntimeStatus, part: &mut Part) {
    match engine_fault(runtime) {
        Some(fault) => part.fails("runtime", fault),
        None if runtime.runtime == "none" => {
            part.works("runtime", "watching containers is switched off");
        }
        None => part.works("runtime", format!("connected to {}", name(&runtime.runtime))),
    }
    for limit in &runtime.degraded {
        let (feature, call) = (name(&limit.feature), name(&limit.call));
        let why = message(&limit.error, 200);
        part.warns("runtime", format!("{feature}: the engine refuses {call}: {why}"));
    }
}

/// Why the collector knows nothing of containers, in its words.
fn engine_fault(runtime: &RuntimeStatus) -> Option<String> {
    if runtime.connected || runtime.runtime == "none" {
        return None;
    }
    let why = runtime.error.as_deref();
    let why = why.map_or_else(|| "see the collector's log".to_owned(), |why| message(why, 400));
    Some(format!("the collector is not connected to {}: {why}", name(&runtime.runtime)))
}

/// Waits until there are keys or an error for every issuer.
async fn until_known(admission: &Admission) {
    while admission.state().iter().any(|issuer| issuer.keys == 0 && issuer.error.is_none()) {
        sleep(Duration::from_millis(20)).await;
    }
}

fn part_of_issuer(state: &IssuerState) -> Part {
    let mut part = Part::new("issuer", foreign(&state.issuer));
    match (&state.fetched_at, &state.error) {
        (_, Some(error)) => {
            let next = "; check MAINTENANT_MCP_ISSUER, MAINTENANT_MCP_JWKS_URL and \
                        MAINTENANT_MCP_ISSUER_CA";
            part.fails("keys", format!("no keys: {error}{next}"));
        }
        (Some(at), None) => part.works("keys", format!("{} usable, fetched at {at}", state.keys)),
        (None, None) => {
            let text = format!("no keys within {} s; is its address right?", WITHIN.as_secs());
            part.fails("keys", text);
        }
    }
    part
}

fn part_of_callers(mcp: &McpSettings) -> Part {
    let AuthSettings { issuers, audiences, allowed, scopes, token, .. } = &mcp.auth;
    let mut part = Part::new("callers", mcp.resource());
    if !issuers.is_empty() {
        part.works("audience", format!("tokens must be for {}", audiences.join(" or ")));
        part.works("metadata", format!("clients find the issuer by {}", mcp.metadata_url()));
        let lists = [("email", &allowed.emails), ("sub", &allowed.subjects)];
        let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let lists: Vec<String> = lists
            .map(|(claim, list)| {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("{claim} {}", list.join(", "))
            })
            .collect();
        let who = if lists.is_empty() { "everyone".to_owned() } else { lists.join("; ") };
        let asked = if *scopes { "scopes are" } else { "scopes are not" };
        part.works("allowed", format!("{who}; {asked} looked at"));
    }
    if token.is_some() {
        part.works("allowed", "whoever has the static token");
    }
    for warning in mcp.auth.warnings() {
        part.warns("allowed", warning);
    }
    part
}

/// One token, as the door of `/mcp` sees it.
async fn part_of_token(admission: &Admission, mcp: &McpSettings, token: &Secret) -> Part {
    let mut part = Part::new("token", String::new());
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
    let headers = value.map(|value| HeaderMap::from_iter([(AUTHORIZATION, value)]));
    let admitted = match &headers {
        Ok(headers) => admission.admit(headers, None, clock::now()).await,
        Err(_) => Err(Refusal::Malformed("not visible ASCII")),
    };
    match admitted {
        Ok(None) => part.warns("token", "/mcp asks for no credentials, so it is not looked at"),
        Ok(Some(caller)) => see_caller(&caller, mcp.read_only, &mut part),
        Err(refusal) => {
            let next = match &refusal {
                Refusal::Missing | Refusal::Malformed(_) => {
                    "; the file must hold the token alone, without `Bearer`"
                }
                Refusal::NotAllowed(_) => {
                    "; MAINTENANT_MCP_ALLOWED_EMAIL or MAINTENANT_MCP_ALLOWED_SUBJECTS must name it"
                }
                Refusal::Unavailable(_) => "; see the issuer above",
                _ if mcp.auth.issuers.is_empty() => "; it is not the one in MAINTENANT_MCP_TOKEN",
                _ => "; let the issuer make one that keeps this rule",
            };
            part.fails("token", format!("refused: {refusal}{next}"));
        }
    }
    part
}

fn see_caller(caller: &Caller, read_only: bool, part: &mut Part) {
    let claims = [
        ("sub", &caller.subject),
        ("email", &caller.email),
        ("client", &caller.client),
        ("iss", &caller.issuer),
    ];
    let claims = claims.into_iter().filter_map(|(claim, value)| Some((claim, value.as_deref()?)));
    let claims: Vec<String> =
        claims.map(|(claim, value)| format!("{claim} {}", quoted(value))).collect();
    let who = if claims.is_empty() { "the static token".to_owned() } else { claims.join(", ") };
    let until = caller.expires_at.map(|at| format!(" until {at}")).unwrap_or_default();
    part.works("token", format!("let in{until}: {who}"));
    let may: Vec<&str> =
        Scope::ALL.into_iter().filter(|scope| caller.may(*scope)).map(Scope::as_str).collect();
    let except = if read_only { ", but nothing that changes something" } else { "" };
    if may.is_empty() {
        let all = Scope::ALL.map(Scope::as_str).join(", ");
        part.fails("scopes", format!("it may call nothing: it has none of {all}"));
    } else {
        part.works("scopes", format!("it may {}{except}", may.join(", ")));
    }
}

/// Of a command line all can read the arguments, so it is in a file or comes by stdin.
fn read_token(file: &Path) -> Result<Secret, String> {
    let fault = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(fault)?)
    };
    let mut text = String::new();
    source.take(LONGEST_TOKEN).read_to_string(&mut text).map_err(fault)?;
    secret("token", Some(text.trim()), None)?.ok_or_else(|| "it is empty".to_owned())
}

fn settings(of: &str, fault: &str) -> SettingsError {
    SettingsError(vec![format!("{of}: {fault}")])
}

fn address(target: &Target) -> String {
    match target {
        Target::Http(url) => url.to_string(),
        Target::Unix(path) => format!("unix:{}", path.display()),
    }
}

impl Part {
    fn new(part: &'static str, name: String) -> Self {
        Self { part, name, findings: Vec::new() }
    }

    fn works(&mut self, about: &'static str, text: impl Into<String>) {
        self.findings.push(Finding { result: Outcome::Ok, about, text: text.into() });
    }

    fn warns(&mut self, about: &'static str, text: impl Into<String>) {
        self.findings.push(Finding { result: Outcome::Warning, about, text: text.into() });
    }

    fn fails(&mut self, about: &'static str, text: impl Into<String>) {
        self.findings.push(Finding { result: Outcome::Fails, about, text: text.into() });
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Part { part, name, findings } in &self.parts {
            writeln!(f, "{part} {name}")?;
            for Finding { result, about, text } in findings {
                let result = match result {
                    Outcome::Ok => "ok",
                    Outcome::Warning => "warning",
                    Outcome::Fails => "FAILS",
                };
                writeln!(f, "  {result:<8} {about}: {text}")?;
            }
        }
        writeln!(f, "{}", if self.ok { "all well" } else { "something does not work" })
    }
}
