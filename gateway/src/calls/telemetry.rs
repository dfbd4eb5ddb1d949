//! OpenTelemetry traces: a span for each call of a client, one below it for each REST call.
//!
//! Spans are made by the SDK directly, not from log events, so that the log level has no say in
//! them. They wait in a bounded queue; one task of ours sends them. A span that finds no room, or
//! that nobody takes, is counted and gone; no call waits for it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;
use maintenant_serve::logging::foreign;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderInjector;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use reqwest::{Client, Url, redirect};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// Spans that wait to be sent.
const QUEUE: usize = 2048;
const BATCH: usize = 512;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// For one batch, attempts and answer included.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// Makes spans; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Telemetry {
    tracer: SdkTracer,
    /// It ends its spans' processing when it is dropped.
    _provider: SdkTracerProvider,
}

/// Sends what has ended.
pub(super) struct Sender {
    spans: mpsc::Receiver<SpanData>,
    exporter: SpanExporter,
    metrics: Metrics,
}

impl Telemetry {
    /// Connects to nothing yet. Everything but the endpoint follows the variables of
    /// OpenTelemetry: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER` and
    /// so on.
    pub(super) fn new(endpoint: &Url, metrics: Metrics) -> anyhow::Result<(Self, Sender)> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(SEND_WITHIN)
            .user_agent(concat!("maintenant-gateway/", env!("CARGO_PKG_VERSION")));
        // Loading the system's certificates takes longer than the rest of the start.
        let client = if endpoint.scheme() == "https" { client } else { client.tls_certs_only([]) };
        let mut traces = endpoint.clone();
        traces.set_path(&format!("{}/v1/traces", endpoint.path().trim_end_matches('/')));
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client.build()?)
            .with_endpoint(traces)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(SEND_WITHIN)
            .build()
            .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let resource = Resource::builder()
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.name", service_name()))
            .build();
        exporter.set_resource(&resource);
        let (queue, spans) = mpsc::channel(QUEUE);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(Queue { queue, metrics: metrics.clone() })
            .build();
        let tracer = provider.tracer("maintenant-gateway");
        Ok((Self { tracer, _provider: provider }, Sender { spans, exporter, metrics }))
    }

    /// Begins a span below the one that `parent` names (W3C Trace Context), or one of its own.
    pub(super) fn begin(
        &self,
        name: String,
        kind: SpanKind,
        parent: &Context,
        attributes: Vec<KeyValue>,
    ) -> Context {
        let span = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        parent.with_span(span.start_with_context(&self.tracer, parent))
    }
}

/// `OTEL_SERVICE_NAME` is the SDK's to read; without it this is our name.
fn service_name() -> opentelemetry::Value {
    let found = Resource::builder().build().get(&opentelemetry::Key::new("service.name"));
    found
        .filter(|name| !name.as_str().starts_with("unknown_service"))
        .unwrap_or_else(|| opentelemetry::Value::from("maintenant-gateway"))
}

/// The span that a client's `traceparent` and `tracestate` name, if they are valid.
pub(super) fn parent(traceparent: Option<&str>, tracestate: Option<&str>) -> Context {
    // The SDK also takes ids that are too short.
    let traceparent =
        traceparent.filter(|text| text.split('-').map(str::len).take(4).eq([2, 32, 16, 2]));
    let fields = [("traceparent", traceparent), ("tracestate", tracestate)];
    let fields: HashMap<String, String> = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    TraceContextPropagator::new().extract_with_context(&Context::new(), &fields)
}

/// The `traceparent` of a span, for whoever is asked next.
pub(super) fn traceparent(span: &Context) -> Option<HeaderValue> {
    let mut headers = http::HeaderMap::new();
    TraceContextPropagator::new().inject_context(span, &mut HeaderInjector(&mut headers));
    headers.remove("traceparent")
}

/// The trace a span belongs to, as it stands in logs.
pub(super) fn trace_id(span: &Context) -> String {
    span.span().span_context().trace_id().to_string()
}

#[derive(Debug)]
struct Queue {
    queue: mpsc::Sender<SpanData>,
    metrics: Metrics,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = self.queue.try_send(span) {
            self.metrics.lost_spans(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Sender {
    /// Sends until `ended`, then what is left.
    pub(super) async fn run(mut self, ended: CancellationToken) {
        let mut failing = false;
        let mut batch = Vec::new();
        loop {
            if ended.is_cancelled() {
                self.spans.close();
            }
            tokio::select! {
                received = self.spans.recv_many(&mut batch, BATCH) => if received == 0 { return },
                () = ended.cancelled(), if !self.spans.is_closed() => continue,
            }
            let gathered = async {
                while batch.len() < BATCH
                    && let Some(span) = self.spans.recv().await
                {
                    batch.push(span);
                }
            };
            tokio::select! {
                _ = tokio::time::timeout(GATHER, gathered) => {}
                () = ended.cancelled() => {}
            }
            let batch = std::mem::take(&mut batch);
            let spans = batch.len();
            let sent = tokio::time::timeout(SEND_WITHIN, self.exporter.export(batch)).await;
            let fault = match sent {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer in time".to_owned()),
            };
            if let Some(fault) = &fault {
                self.metrics.lost_spans(spans);
                if !failing {
                    let fault = foreign(fault);
                    tracing::warn!("traces cannot be sent (OTEL_EXPORTER_OTLP_ENDPOINT): {fault}");
                }
            } else if failing {
                tracing::info!("traces are sent again");
            }
            failing = fault.is_some();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_joined() {
        let check = |traceparent: Option<&str>, expected: Option<&str>| {
            let context = parent(traceparent, Some("vendor=1"));
            let span = context.span().span_context().clone();
            let joined = span.is_valid().then(|| span.trace_id().to_string());
            assert_eq!(joined.as_deref(), expected, "{traceparent:?}");
        };
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let valid = format!("00-{trace}-b7ad6b7169203331-01");
        check(Some(&valid), Some(trace));
        check(None, None);
        let zero = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        for bad in ["", "x", "00-1-2-3", &zero, &"0".repeat(100_000)] {
            check(Some(bad), None);
        }
    }
}
