//! What is counted, for Prometheus: `/metrics` in the OpenMetrics text format.
//!
//! Labels have values from fixed or configured lists only, so that no caller can make series.

use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use jiff::Timestamp;
use maintenant_serve::clock;
use maintenant_serve::guard::{BodyLimits, guarded};
use maintenant_serve::listener::Listener;
use maintenant_serve::settings::Address;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::limits::Limited;
use crate::auth::{IssuerState, Refusal};
use crate::collector::ClientError;

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0];

type Labels<const N: usize> = [(&'static str, String); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;
type Gauges = Family<Labels<1>, Gauge<i64, AtomicI64>>;

/// Counts; cheap to clone. Each made by `default` counts for itself.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    calls: Counters<3>,
    durations: Histograms<2>,
    bytes: Counters<2>,
    running: Gauge,
    listeners: Gauge,
    limited: Counters<1>,
    upstream_calls: Counters<2>,
    upstream_durations: Histograms<1>,
    cache: Counters<2>,
    auth_refusals: Counters<1>,
    audit_failures: Counter,
    lost_spans: Counter,
    reloads: Counters<1>,
    key_ages: Gauges,
    keys: Gauges,
    resident: Gauge,
    issuers: OnceLock<Issuers>,
}

type Issuers = Box<dyn Fn() -> Vec<IssuerState> + Send + Sync>;

/// How the answer cache met a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    Hit,
    Miss,
    /// Another call was already asking the same.
    Shared,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let started = Gauge::<i64, AtomicI64>::default();
        started.set(clock::now().as_second());
        let build = Family::<Labels<1>, Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION").to_owned())]).set(1);
        let metrics = Inner {
            calls: Family::default(),
            durations: Family::new_with_constructor(histogram),
            bytes: Family::default(),
            running: Gauge::default(),
            listeners: Gauge::default(),
            limited: Family::default(),
            upstream_calls: Family::default(),
            upstream_durations: Family::new_with_constructor(histogram),
            cache: Family::default(),
            auth_refusals: Family::default(),
            audit_failures: Counter::default(),
            lost_spans: Counter::default(),
            reloads: Family::default(),
            key_ages: Family::default(),
            keys: Family::default(),
            resident: Gauge::default(),
            issuers: OnceLock::new(),
            registry: Registry::default(),
        };
        let m = &metrics;
        let r = &mut registry;
        r.register("maintenant_mcp_calls", "Calls by MCP clients", m.calls.clone());
        let help = "How long they took";
        r.register("maintenant_mcp_call_duration_seconds", help, m.durations.clone());
        r.register("maintenant_mcp_answer_bytes", "Bytes of their answers", m.bytes.clone());
        r.register("maintenant_mcp_calls_running", "Calls under way", m.running.clone());
        let help = "Open subscriptions of MCP clients (subscriptions/listen)";
        r.register("maintenant_mcp_listeners", help, m.listeners.clone());
        let help = "Calls and listeners refused for being too many, by the limit they met";
        r.register("maintenant_mcp_calls_limited", help, m.limited.clone());
        let help = "REST calls to collectors";
        r.register("maintenant_upstream_calls", help, m.upstream_calls.clone());
        let help = "How long they took, a second attempt included";
        r.register("maintenant_upstream_call_duration_seconds", help, m.upstream_durations.clone());
        r.register("maintenant_cache_uses", "Questions to the answer cache", m.cache.clone());
        let help = "Requests refused for their credentials";
        r.register("maintenant_auth_refusals", help, m.auth_refusals.clone());
        let help = "Audit lines that could not be written";
        r.register("maintenant_audit_failures", help, m.audit_failures.clone());
        let help = "Spans that could not be sent";
        r.register("maintenant_trace_spans_lost", help, m.lost_spans.clone());
        r.register("maintenant_reloads", "Reloads of the settings (SIGHUP)", m.reloads.clone());
        let help = "How old the keys of an issuer are";
        r.register("maintenant_jwks_age_seconds", help, m.key_ages.clone());
        r.register("maintenant_jwks_keys", "Usable keys of an issuer", m.keys.clone());
        r.register("maintenant_build_info", "The version that runs", build);
        r.register("process_start_time_seconds", "When the process began", started);
        let help = "Memory that is resident";
        r.register("process_resident_memory_bytes", help, m.resident.clone());
        Self(Arc::new(Inner { registry, ..metrics }))
    }
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(super) fn began(&self) {
        self.0.running.inc();
    }

    /// `method` and `tool` are from fixed lists.
    pub(super) fn ended(
        &self,
        (method, tool): (&'static str, &str),
        outcome: &'static str,
        duration: Duration,
        bytes: usize,
    ) {
        let by_tool = [("method", method.to_owned()), ("tool", tool.to_owned())];
        let [method, tool] = by_tool.clone();
        self.0.running.dec();
        self.0.calls.get_or_create(&[method, tool, ("outcome", outcome.to_owned())]).inc();
        self.0.durations.get_or_create(&by_tool).observe(duration.as_secs_f64());
        self.0.bytes.get_or_create(&by_tool).inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// So many more, or fewer.
    pub(super) fn listeners(&self, more: i64) {
        self.0.listeners.inc_by(more);
    }

    pub(super) fn limited(&self, limited: Limited) {
        self.0.limited.get_or_create(&[("limit", limited.word().to_owned())]).inc();
    }

    pub(super) fn upstream(&self, collector: &str, outcome: &'static str, duration: Duration) {
        let collector = ("collector", collector.to_owned());
        let by_outcome = [collector.clone(), ("outcome", outcome.to_owned())];
        self.0.upstream_calls.get_or_create(&by_outcome).inc();
        self.0.upstream_durations.get_or_create(&[collector]).observe(duration.as_secs_f64());
    }

    /// One question to the answer cache of a collector.
    pub fn cache(&self, collector: &str, used: CacheUse) {
        let used = match used {
            CacheUse::Hit => "hit",
            CacheUse::Miss => "miss",
            CacheUse::Shared => "shared",
        };
        let labels = [("collector", collector.to_owned()), ("result", used.to_owned())];
        self.0.cache.get_or_create(&labels).inc();
    }

    pub(super) fn auth_refused(&self, refusal: &Refusal) {
        self.0.auth_refusals.get_or_create(&[("kind", kind(refusal).to_owned())]).inc();
    }

    pub(super) fn audit_failed(&self, lines: usize) {
        self.0.audit_failures.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
    }

    pub(super) fn lost_spans(&self, spans: usize) {
        self.0.lost_spans.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
    }

    pub(super) fn reloaded(&self, well: bool) {
        let outcome = if well { "ok" } else { "refused" };
        self.0.reloads.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// Where the state of issuers is asked for at every scrape. Only the first is kept.
    pub fn watch_issuers(&self, state: impl Fn() -> Vec<IssuerState> + Send + Sync + 'static) {
        let _ = self.0.issuers.set(Box::new(state));
    }

    /// All of it, as text.
    pub fn text(&self, now: Timestamp) -> String {
        self.0.resident.set(resident_bytes().unwrap_or_default());
        for issuer in self.0.issuers.get().map(|state| state()).unwrap_or_default() {
            let label = [("issuer", issuer.issuer)];
            self.0.keys.get_or_create(&label).set(i64::try_from(issuer.keys).unwrap_or(i64::MAX));
            if let Some(fetched) = issuer.fetched_at {
                let age = now.as_second().saturating_sub(fetched.as_second());
                self.0.key_ages.get_or_create(&label).set(age);
            }
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }

    /// `/metrics`, for a listener of its own.
    pub fn routes(&self) -> Router {
        Router::new().route("/metrics", get(metrics)).with_state(self.clone())
    }

    /// That listener, where one is asked for. On `stdio` there may be several of this process, of
    /// which one gets the address.
    pub async fn listener(
        &self,
        address: Option<&Address>,
        stdio: bool,
    ) -> anyhow::Result<Option<(Listener, Router)>> {
        let Some(address) = address else { return Ok(None) };
        match Listener::bind(address, None).await {
            Ok(listener) => {
                tracing::info!(address = listener.address(), metrics = true, "listening");
                Ok(Some((listener, guarded(self.routes(), BodyLimits::default()))))
            }
            Err(error) if stdio => {
                tracing::warn!("metrics are not served (MAINTENANT_METRICS_ADDR): {error:#}");
                Ok(None)
            }
            Err(error) => Err(error.context("MAINTENANT_METRICS_ADDR")),
        }
    }
}

async fn metrics(State(metrics): State<Metrics>) -> Response {
    let headers = [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-store")];
    (headers, metrics.text(clock::now())).into_response()
}

/// `VmRSS` of proc(5).
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The kind of a refusal, as a label and in audit lines.
pub(super) fn kind(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Missing => "missing",
        Refusal::Malformed(_) => "malformed",
        Refusal::Invalid(_) => "invalid",
        Refusal::NotAllowed(_) => "not_allowed",
        Refusal::InsufficientScope(_) => "insufficient_scope",
        Refusal::Unavailable(_) => "unavailable",
        Refusal::TooMany => "too_many",
    }
}

/// How a REST call ended, as a label.
pub(super) fn outcome<T>(result: &Result<T, ClientError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(ClientError::Unreachable(_)) => "unreachable",
        Err(ClientError::Timeout | ClientError::NoLine) => "timeout",
        Err(ClientError::Unauthorized) => "unauthorized",
        Err(ClientError::RouteMissing) => "route_missing",
        Err(ClientError::NotFound { .. }) => "not_found",
        Err(ClientError::Refused { .. }) => "refused",
        Err(ClientError::Unreadable(_)) => "unreadable",
        Err(ClientError::Untrusted(_)) => "untrusted",
        Err(ClientError::StreamsMixed) => "streams_mixed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|own| own == line), "{line} in {text}");
    }

    #[test]
    fn keys_are_as_old_as_their_last_fetch_at_every_scrape() {
        let metrics = Metrics::default();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        metrics.watch_issuers(move || {
            let issuer = "https://issuer.example".to_owned();
            vec![IssuerState {
                issuer,
                keys: 2,
                usable: true,
                fetched_at: Some(at(1_000)),
                error: None,
            }]
        });
        let line =
            |age| format!("maintenant_jwks_age_seconds{{issuer=\"https://issuer.example\"}} {age}");
        has(&metrics.text(at(1_060)), &line(60));
        has(&metrics.text(at(2_000)), &line(1000));
        has(&metrics.text(at(0)), "maintenant_jwks_keys{issuer=\"https://issuer.example\"} 2");
    }

    #[test]
    fn the_process_tells_its_memory_and_version() {
        let text = Metrics::default().text(Timestamp::UNIX_EPOCH);
        let memory = text.lines().find_map(|line| {
            line.strip_prefix("process_resident_memory_bytes ")?.parse::<i64>().ok()
        });
        assert!(memory.unwrap() > 1 << 20, "{memory:?}");
        has(&text, concat!("maintenant_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"));
        has(&text, "maintenant_audit_failures_total 0");
    }

    #[test]
    fn refusals_and_cache_uses_are_counted_by_kind() {
        let metrics = Metrics::default();
        metrics.auth_refused(&Refusal::Invalid("expired"));
        metrics.cache("prod", CacheUse::Hit);
        metrics.cache("prod", CacheUse::Hit);
        metrics.cache("prod", CacheUse::Shared);
        let text = metrics.text(Timestamp::UNIX_EPOCH);
        has(&text, "maintenant_auth_refusals_total{kind=\"invalid\"} 1");
        has(&text, "maintenant_cache_uses_total{collector=\"prod\",result=\"hit\"} 2");
        has(&text, "maintenant_cache_uses_total{collector=\"prod\",result=\"shared\"} 1");
    }
}
