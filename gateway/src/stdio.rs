//! MCP on stdin and stdout: one message a line.
//!
//! rmcp's own transport drops a line that is not JSON without a word, and whoever sent it waits.
//! This one answers it. Nothing but protocol may reach stdout, so logs go to stderr.

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::service::ServerInitializeError;
use rmcp::transport::{Transport, stdio_pipes};
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::guarded::Guarded;
use crate::jsonrpc;

/// Longest line; a longer one is skipped and answered.
const LONGEST_LINE: usize = 1 << 20;

/// Serves until stdin ends or `stop`, then lets running calls finish for a moment.
pub async fn serve<H: ServerHandler>(handler: H, stop: CancellationToken) -> anyhow::Result<()> {
    let (input, output) = stdio_pipes();
    serve_on(handler, input, output, stop).await
}

/// The same on any pair of streams.
pub async fn serve_on<H: ServerHandler>(
    handler: H,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let transport = Lines::new(input, output);
    match Box::pin(Guarded(handler).serve_with_ct(transport, stop)).await {
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
}

enum Read {
    Line,
    TooLong,
    End,
}

impl<R: AsyncRead + Send + Unpin, W: AsyncWrite + Send + Unpin + 'static> Lines<R, W> {
    fn new(input: R, output: W) -> Self {
        Self {
            input: BufReader::new(input),
            output: Arc::new(Mutex::new(output)),
            line: Vec::new(),
            skipping: false,
            answer: None,
        }
    }

    /// Reads the next line into `self.line`. Safe to drop and call again: bytes are taken from the
    /// buffer and kept in one step.
    async fn read(&mut self) -> Read {
        loop {
            let Ok(available) = self.input.fill_buf().await else { return Read::End };
            if available.is_empty() {
                return Read::End;
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
        let output = self.output.clone();
        async move { write(output, serde_json::to_vec(&message)?).await }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if let Some(answer) = &mut self.answer {
                let written = answer.await;
                self.answer = None;
                written.ok()?;
            }
            match self.read().await {
                Read::End => return None,
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
                    Ok(message) => return Some(message),
                    // To a notification nobody waits for an answer.
                    Err(_) if id.is_null() => {}
                    Err(_) => {
                        let fault = "the message does not have the form MCP gives its method";
                        self.answer(&id, -32600, fault);
                    }
                },
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.output.lock().await.shutdown().await
    }
}
