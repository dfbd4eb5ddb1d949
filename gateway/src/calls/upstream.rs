//! What calls of collectors add to the call of a client that they belong to.

use http::{HeaderValue, Method};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use tokio::time::Instant;

use super::call::Current;
use super::metrics::{Metrics, outcome};
use super::telemetry;
use crate::collector::ClientError;

/// Notes that the current call asks `collector`, whether it or a cache answers.
pub fn asks(collector: &str) {
    if let Some(call) = Current::get() {
        call.asks(collector);
    }
}

/// A REST call under way. Dropped without an end, nobody waited for it any longer.
pub struct RestCall<'a> {
    metrics: &'a Metrics,
    collector: &'a str,
    started: Instant,
    span: Option<Context>,
    ended: bool,
}

impl<'a> RestCall<'a> {
    pub fn begin(metrics: &'a Metrics, collector: &'a str, method: &Method, route: &str) -> Self {
        asks(collector);
        let span = Current::get().and_then(|call| {
            let telemetry = call.calls.0.telemetry.as_ref()?;
            let attributes = vec![
                KeyValue::new("http.request.method", method.to_string()),
                KeyValue::new("url.path", format!("/api/v1/{route}")),
                KeyValue::new("maintenant.collector", collector.to_owned()),
            ];
            Some(telemetry.begin(
                method.to_string(),
                SpanKind::Client,
                call.span.as_ref()?,
                attributes,
            ))
        });
        Self { metrics, collector, started: Instant::now(), span, ended: false }
    }

    /// The header that lets the collector join the trace (W3C Trace Context).
    pub fn traceparent(&self) -> Option<HeaderValue> {
        self.span.as_ref().and_then(telemetry::traceparent)
    }

    pub fn end<T>(mut self, result: &Result<T, ClientError>) {
        self.finish(outcome(result));
    }

    fn finish(&mut self, outcome: &'static str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.metrics.upstream(self.collector, outcome, self.started.elapsed());
        if let Some(span) = &self.span {
            let span = span.span();
            if outcome != "ok" {
                span.set_attribute(KeyValue::new("error.type", outcome));
                span.set_status(Status::error(""));
            }
            span.end();
        }
    }
}

impl Drop for RestCall<'_> {
    fn drop(&mut self) {
        self.finish("cancelled");
    }
}
