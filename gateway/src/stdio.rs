//! MCP on stdin and stdout: one message a line.
//!
//! rmcp's own transport drops a line that is not JSON without a word, and whoever sent it waits.
//! This one answers it. It also outlives a message out of turn, and at the end lets running calls
//! finish. Nothing but protocol may reach stdout, so logs go to stderr.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, GetExtensions, GetMeta,
    JsonRpcMessage, RequestId, ServerJsonRpcMessage,
};
use rmcp::service::ServerInitializeError;
use rmcp::transport::{Transport, stdio_pipes};
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::guarded::{Guarded, misshapen};
use crate::jsonrpc;
use crate::subscriptions::EndOfStreams;

/// Longest line; a longer one is skipped and answered.
const LONGEST_LINE: usize = 1 << 20;
/// How long the session stays open for running calls after the end of stdin or a stop. rmcp then
/// waits another five seconds, which makes ten.
const FINISH: Duration = Duration::from_secs(5);

/// Serves until stdin ends or `stop`, then lets running calls finish, for at most ten seconds.
pub async fn serve<H: ServerHandler>(
    handler: Guarded<H>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (input, output) = stdio_pipes();
    serve_on(handler, input, output, stop).await
}

/// The same on any pair of streams.
pub async fn serve_on<H: ServerHandler>(
    handler: Guarded<H>,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let transport = Lines::new(input, output, stop);
    match Box::pin(handler.serve(transport)).await {
        Ok(running) => {
            let reason = running.waiting().await?;
            tracing::info!("stdio ended: {reason:?}");
            Ok(())
        }
        // A client that only looked, or an end before it said anything, is no failure.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

struct Lines<R, W> {
    input: BufReader<R>,
    output: Arc<Mutex<W>>,
    line: Vec<u8>,
    /// The rest of a line that is too long is being skipped.
    skipping: bool,
    /// `receive` may be dropped at any await and called again; an answer half written goes on here.
    answer: Option<BoxFuture<'static, io::Result<()>>>,
    stop: CancellationToken,
    /// Nobody reads streams any more.
    streams: CancellationToken,
    /// Nothing more is read; running calls have until then.
    ends_at: Option<Instant>,
    running: Arc<watch::Sender<HashSet<RequestId>>>,
    /// The client has said how it speaks. Before that rmcp takes nothing but requests.
    begun: bool,
}

enum Read {
    Line,
    TooLong,
    End,
}

impl<R: AsyncRead + Send + Unpin, W: AsyncWrite + Send + Unpin + 'static> Lines<R, W> {
    fn new(input: R, output: W, stop: CancellationToken) -> Self {
        Self {
            input: BufReader::new(input),
            output: Arc::new(Mutex::new(output)),
            line: Vec::new(),
            skipping: false,
            answer: None,
            stop,
            streams: CancellationToken::new(),
            ends_at: None,
            running: Arc::new(watch::Sender::new(HashSet::new())),
            begun: false,
        }
    }

    /// Reads the next line into `self.line`. Safe to drop and call again: bytes are taken from the
    /// buffer and kept in one step.
    async fn read(&mut self) -> Read {
        loop {
            let Ok(available) = self.input.fill_buf().await else { return Read::End };
            if available.is_empty() {
                // The last line may lack its end.
                return if self.line.is_empty() { Read::End } else { Read::Line };
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end.saturating_add(1));
            if !self.skipping {
                self.line.extend(available.iter().take(taken));
            }
            self.input.consume(taken);
            if self.line.len() > LONGEST_LINE {
                self.line.clear();
                self.skipping = end.is_none();
                return Read::TooLong;
            }
            if end.is_some() {
                if !self.skipping {
                    return Read::Line;
                }
                self.skipping = false;
            }
        }
    }

    /// What rmcp is to see of a message. A response answers nothing, as this server never asks.
    fn admitted(&mut self, mut message: ClientJsonRpcMessage) -> Option<ClientJsonRpcMessage> {
        match &mut message {
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => return None,
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    // rmcp sends no answer to it any more.
                    self.running.send_modify(|running| {
                        running.remove(id);
                    });
                }
                return Some(message).filter(|_| self.begun);
            }
            JsonRpcMessage::Request(request) => {
                if let ClientRequest::CustomRequest(custom) = &request.request
                    && let Some(fault) = misshapen(custom)
                {
                    let id = serde_json::to_value(&request.id).unwrap_or_default();
                    self.answer(&id, i64::from(fault.code.0), &fault.message);
                    return None;
                }
                self.begun |= match &request.request {
                    ClientRequest::InitializeRequest(_) => true,
                    ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_) => false,
                    request => request.get_meta().protocol_version().is_some(),
                };
                let streams = EndOfStreams(self.streams.clone());
                request.request.extensions_mut().insert(streams);
                self.running.send_modify(|running| {
                    running.insert(request.id.clone());
                });
            }
        }
        Some(message)
    }

    /// Waits for the running calls. Safe to drop and call again.
    async fn finished(&mut self) {
        let Some(end) = self.ends_at else { return };
        let mut running = self.running.subscribe();
        let _ = timeout_at(end, running.wait_for(HashSet::is_empty)).await;
    }

    fn answer(&mut self, id: &Value, code: i64, message: &str) {
        let error = jsonrpc::error(id, code, message);
        self.answer = Some(Box::pin(write(self.output.clone(), error.to_string().into_bytes())));
    }
}

async fn write<W: AsyncWrite + Unpin>(output: Arc<Mutex<W>>, mut bytes: Vec<u8>) -> io::Result<()> {
    bytes.push(b'\n');
    let mut output = output.lock().await;
    output.write_all(&bytes).await?;
    output.flush().await
}

impl<R, W> Transport<RoleServer> for Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (output, running) = (self.output.clone(), self.running.clone());
        async move {
            let written = write(output, serde_json::to_vec(&message)?).await;
            let answered = match &message {
                JsonRpcMessage::Response(response) => Some(&response.id),
                JsonRpcMessage::Error(error) => error.id.as_ref(),
                _ => None,
            };
            if let Some(id) = answered {
                running.send_modify(|running| {
                    running.remove(id);
                });
            }
            written
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if let Some(answer) = &mut self.answer {
                let written = answer.await;
                self.answer = None;
                written.ok()?;
            }
            if self.ends_at.is_some() {
                self.finished().await;
                return None;
            }
            let stop = self.stop.clone();
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => Read::End,
                read = self.read() => read,
            };
            match read {
                Read::End => {
                    self.streams.cancel();
                    self.ends_at = Some(Instant::now() + FINISH);
                    continue;
                }
                Read::TooLong => {
                    let fault = format!("the message is longer than {LONGEST_LINE} bytes");
                    self.answer(&Value::Null, -32600, &fault);
                    continue;
                }
                Read::Line => {}
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
            if line.is_empty() {
                continue;
            }
            match jsonrpc::read(line) {
                Err(fault) => self.answer(&fault.id, fault.code, &fault.message),
                Ok(id) => match serde_json::from_slice(line) {
                    Ok(message) => {
                        if let Some(message) = self.admitted(message) {
                            return Some(message);
                        }
                    }
                    // To a notification nobody waits for an answer.
                    Err(_) if id.is_null() => {}
                    Err(_) => {
                        let fault = jsonrpc::no_mcp_message(line, &id);
                        self.answer(&id, fault.code, &fault.message);
                    }
                },
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.output.lock().await.shutdown().await
    }
}
