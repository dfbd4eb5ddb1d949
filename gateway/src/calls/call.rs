//! One call, from its first look to its line in the audit log.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use http::request::Parts;
use jiff::Timestamp;
use maintenant_serve::clock;
use maintenant_serve::guard::Peer;
use maintenant_serve::logging::foreign;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use rmcp::RoleServer;
use rmcp::service::RequestContext;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::limits::{Key, Place};
use super::{Calls, masked, telemetry};
use crate::caller::{AdmittedBy, Caller};

tokio::task_local! {
    /// The call that this task works on.
    static CURRENT: Arc<Current>;
}

/// What the work of a call adds to it.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) calls: Calls,
    pub(super) span: Option<Context>,
    /// Names of the collectors that were asked.
    sources: Mutex<BTreeSet<String>>,
}

impl Current {
    pub(super) fn get() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    pub(super) fn asks(&self, collector: &str) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if !sources.contains(collector) {
            sources.insert(collector.to_owned());
        }
    }
}

/// What a client asked for.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'static str,
    /// As the client wrote it.
    pub(crate) name: &'a str,
    /// It is one that there is; only then is it a label.
    pub(crate) known: bool,
    /// It changes something.
    pub(crate) changes: bool,
    pub(crate) arguments: Option<&'a Map<String, Value>>,
}

impl<'a> Asked<'a> {
    /// Something that is read.
    pub(crate) fn of(method: &'static str, name: &'a str) -> Self {
        Self { method, name, known: false, changes: false, arguments: None }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// The answer says what went wrong.
    Error,
    /// Nothing was done.
    Refused,
    TimedOut,
    Cancelled,
    Panicked,
}

/// Whoever sent a request, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    caller: Option<&'a Caller>,
    peer: Option<Peer>,
    /// It came over HTTP.
    remote: bool,
}

impl<'a> Who<'a> {
    /// By the extensions of an HTTP request.
    pub fn of(extensions: &'a http::Extensions) -> Self {
        Self { caller: extensions.get(), peer: extensions.get().copied(), remote: true }
    }

    pub(super) fn of_call(context: &'a RequestContext<RoleServer>) -> Self {
        let none = Self { caller: None, peer: None, remote: false };
        context.extensions.get::<Parts>().map_or(none, |parts| Self::of(&parts.extensions))
    }

    /// For whom its calls count: for itself, and for its OAuth client.
    pub(super) fn keys(&self) -> (Key<'a>, Option<Key<'a>>) {
        (Key::of(self.caller, self.peer), Key::of_client(self.caller))
    }

    /// The beginning of an audit line.
    pub(super) fn line(&self, now: Timestamp) -> Map<String, Value> {
        let mut line = Map::new();
        line.insert("time".to_owned(), json!(now.to_string()));
        let admitted_by = match self.caller.map(|caller| caller.admitted_by) {
            Some(AdmittedBy::Token) => "token",
            Some(AdmittedBy::Email) => "email",
            Some(AdmittedBy::Subject) => "subject",
            Some(AdmittedBy::SubjectAsEmail) => "subject_as_email",
            Some(AdmittedBy::StaticToken) => "static_token",
            None if self.remote => "nobody",
            None => "stdio",
        };
        line.insert("admitted_by".to_owned(), json!(admitted_by));
        if let Some(caller) = self.caller {
            let claims = [
                ("issuer", &caller.issuer),
                ("subject", &caller.subject),
                ("email", &caller.email),
                ("client", &caller.client),
            ];
            for (name, value) in claims {
                if let Some(value) = value {
                    line.insert(name.to_owned(), json!(foreign(value)));
                }
            }
        }
        if let Some(peer) = self.peer {
            let peer = match peer {
                Peer::Tcp(address) => address.to_string(),
                Peer::Unix => "unix".to_owned(),
            };
            line.insert("peer".to_owned(), json!(peer));
        }
        line
    }
}

/// A call under way. Dropped without an end, it was cancelled.
pub struct Call {
    current: Arc<Current>,
    method: &'static str,
    /// The name of a tool where it is a known one, else `other`; nothing where it is no tool.
    label: String,
    changes: bool,
    started: Instant,
    line: Option<Map<String, Value>>,
    place: Option<Place>,
    ended: bool,
    /// Given back after the line was handed over.
    _running: TaskTrackerToken,
}

impl Calls {
    /// Begins a call, which then asks to be [admitted](Call::admitted) and [announced](Call::announced).
    pub(crate) fn begin(&self, asked: &Asked<'_>, context: &RequestContext<RoleServer>) -> Call {
        let span = self.0.telemetry.as_ref().map(|telemetry| {
            let parent = parent(context);
            let known = asked.known.then_some(asked.name);
            let name = known
                .map_or_else(|| asked.method.to_owned(), |name| format!("{} {name}", asked.method));
            telemetry.begin(name, SpanKind::Server, &parent, attributes(asked, context))
        });
        let trace = span.as_ref().map(telemetry::trace_id);
        let line = self.line(asked.method, asked.name, trace, context);
        self.0.metrics.began();
        Call {
            current: Arc::new(Current { calls: self.clone(), span, sources: Mutex::default() }),
            method: asked.method,
            label: match asked.method {
                _ if asked.known => asked.name.to_owned(),
                "tools/call" => "other".to_owned(),
                _ => String::new(),
            },
            changes: asked.changes,
            started: Instant::now(),
            line,
            place: None,
            ended: false,
            _running: self.0.running.token(),
        }
    }

    /// The beginning of the audit line of a call, where there is an audit log.
    pub(super) fn line(
        &self,
        method: &str,
        name: &str,
        trace: Option<String>,
        context: &RequestContext<RoleServer>,
    ) -> Option<Map<String, Value>> {
        self.0.audit.is_on().then(|| {
            let mut line = Who::of_call(context).line(clock::now());
            let mut add = |key: &str, value: Value| line.insert(key.to_owned(), value);
            add("call", json!(self.0.number.fetch_add(1, Ordering::Relaxed)));
            add("id", json!(foreign(&context.id.to_string())));
            if let Some(client) = context.client_info() {
                let client = format!("{} {}", foreign(&client.name), foreign(&client.version));
                add("mcp_client", json!(client));
            }
            if let Some(trace) = trace {
                add("trace", json!(trace));
            }
            add("method", json!(method));
            add("name", json!(masked::name(name)));
            line
        })
    }
}

/// By `_meta` (SEP-414), else by the headers of the request.
fn parent(context: &RequestContext<RoleServer>) -> Context {
    let header = |name: &str| context.extensions.get::<Parts>()?.headers.get(name)?.to_str().ok();
    if let Some(traceparent) = context.meta.get_traceparent() {
        return telemetry::parent(Some(traceparent), context.meta.get_tracestate());
    }
    telemetry::parent(header("traceparent"), header("tracestate"))
}

/// After OpenTelemetry's semantic conventions for MCP. Nothing that a client may write freely.
fn attributes(asked: &Asked<'_>, context: &RequestContext<RoleServer>) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new("mcp.method.name", asked.method)];
    if let Some(version) = context.protocol_version() {
        attributes.push(KeyValue::new("mcp.protocol.version", foreign(version.as_str())));
    }
    if asked.known {
        let name = match asked.method {
            "tools/call" => "gen_ai.tool.name",
            "prompts/get" => "gen_ai.prompt.name",
            _ => "mcp.resource.uri",
        };
        attributes.push(KeyValue::new(name, asked.name.to_owned()));
    }
    if asked.method == "tools/call" {
        attributes.push(KeyValue::new("gen_ai.operation.name", "execute_tool"));
    }
    let remote = context.extensions.get::<Parts>().is_some();
    attributes.push(KeyValue::new("network.transport", if remote { "tcp" } else { "pipe" }));
    attributes
}

impl Outcome {
    /// In logs and as a label.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Refused => "refused",
            Self::TimedOut => "timeout",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panic",
        }
    }
}

impl Call {
    /// Whether it may run now; the sentence says why not.
    pub(crate) fn admitted(&mut self, context: &RequestContext<RoleServer>) -> Result<(), String> {
        let inner = &self.current.calls.0;
        let (caller, client) = Who::of_call(context).keys();
        match inner.limits.admit(&caller, client.as_ref(), self.started) {
            Ok(place) => self.place = Some(place),
            Err(limited) => {
                inner.metrics.limited(limited);
                self.note("reason", json!(format!("limit: {}", limited.word())));
                return Err(limited.sentence());
            }
        }
        Ok(())
    }

    /// Notes what it was asked for with; a change is announced in the audit log, and may not be
    /// made if that fails.
    pub(crate) async fn announced(&mut self, asked: &Asked<'_>) -> Result<(), String> {
        if let Some(arguments) = asked.arguments.filter(|_| self.line.is_some()) {
            self.note("arguments", masked::arguments(arguments));
        }
        let inner = &self.current.calls.0;
        if let Some(line) = self.line.as_ref().filter(|_| self.changes) {
            let mut line = line.clone();
            line.insert("result".to_owned(), json!("started"));
            if !inner.audit.announce(&line.into()).await {
                self.note("reason", json!("audit"));
                return Err(
                    "The audit log of this gateway cannot be written, and without it nothing \
                            is changed. Nothing was done. Trying again does not help until the \
                            operator has mended it; the gateway's log has the reason."
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    fn note(&mut self, key: &str, value: Value) {
        if let Some(line) = &mut self.line {
            line.insert(key.to_owned(), value);
        }
    }

    /// Work whose REST calls belong to this call.
    pub(crate) fn scope<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        CURRENT.scope(self.current.clone(), work)
    }

    pub(crate) fn end(mut self, outcome: Outcome, bytes: usize) {
        self.finish(outcome, bytes);
    }

    fn finish(&mut self, outcome: Outcome, bytes: usize) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let inner = &self.current.calls.0;
        let duration = self.started.elapsed();
        let word = outcome.word();
        inner.metrics.ended((self.method, &self.label), word, duration, bytes);
        if let Some(span) = &self.current.span {
            let span = span.span();
            if outcome != Outcome::Ok {
                let kind = if outcome == Outcome::Error { "tool_error" } else { word };
                span.set_attribute(KeyValue::new("error.type", kind));
                span.set_status(Status::error(""));
            }
            span.end();
        }
        if let Some(mut line) = self.line.take() {
            let sources = self.current.sources.lock().unwrap_or_else(PoisonError::into_inner);
            if !sources.is_empty() {
                line.insert("sources".to_owned(), json!(*sources));
            }
            line.insert("result".to_owned(), json!(word));
            line.insert("milliseconds".to_owned(), json!(super::milliseconds(duration)));
            line.insert("bytes".to_owned(), json!(bytes));
            inner.audit.line(&line.into());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.finish(Outcome::Cancelled, 0);
    }
}
