//! An HTTP check: one connection per request, over as many redirects as are allowed.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};

use bytes::Bytes;
use http::response::Parts;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use maintenant_api::endpoints::FailureCause;
use maintenant_serve::clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;
use url::Url;

use super::hop::Hop;
use super::{Failure, Run, Stop, add, failed, words};
use crate::endpoints::spec::{Pattern, Spec};
use crate::net::tls::{HandshakeError, server_name};

/// Bytes of a body that are read; nothing is asked of what follows.
const MOST_BODY: usize = 64 * 1024;
/// Bytes in which expressions are looked for without leaving the thread.
const AT_ONCE: usize = 4 * 1024;
/// Bytes of an answer's head.
const MOST_HEAD: usize = 64 * 1024;

pub(super) async fn check(run: &mut Run<'_>, spec: &Spec, target: &Url) -> Result<(), Stop> {
    let mut hop = Hop::first(spec, target);
    let mut followed = 0;
    while let Some(next) =
        visit(run, spec, &hop, followed).await.map_err(|stop| placed(stop, &hop, followed))?
    {
        hop = next;
        followed += 1;
        run.turn().await;
    }
    Ok(())
}

/// Says where a check failed that went elsewhere first.
fn placed(stop: Stop, hop: &Hop, followed: u32) -> Stop {
    match stop {
        Stop::Failed(Failure { cause, error }) if followed > 0 => {
            let origin = hop.url.origin().ascii_serialization();
            failed(cause, format!("after a redirect to {origin}: {error}"))
        }
        stop => stop,
    }
}

/// One request: `None` if its answer is what is expected, or where to go next.
async fn visit(
    run: &mut Run<'_>,
    spec: &Spec,
    hop: &Hop,
    followed: u32,
) -> Result<Option<Hop>, Stop> {
    let host = hop.url.host_str().unwrap_or_default();
    let port = hop.url.port_or_known_default().unwrap_or_default();
    let stream = run.connect(host, port).await?;
    if hop.url.scheme() == "https" {
        let stream = handshake(run, spec, hop, stream).await?;
        exchange(run, spec, hop, followed, stream).await
    } else {
        exchange(run, spec, hop, followed, stream).await
    }
}

async fn handshake(
    run: &mut Run<'_>,
    spec: &Spec,
    hop: &Hop,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Stop> {
    let name = hop.name();
    let fault = |error: String| failed(FailureCause::Tls, error);
    let server = server_name(&name);
    let server = server.ok_or_else(|| fault(format!("{name} is no name for TLS")))?;
    let begin = Instant::now();
    let trust = &run.net.trust;
    let shaken = trust.handshake(stream, server.clone(), run.until).await;
    let judged = match shaken {
        Ok((stream, presented)) if spec.tls_verify => trust
            .judge(&presented, &server, clock::now())
            .map_err(|error| fault(words::untrusted(&error, &name)))
            .map(|()| stream),
        Ok((stream, _)) => Ok(stream),
        Err(HandshakeError::Timeout) => Err(fault(format!("no TLS handshake {}", run.within()))),
        Err(error) => Err(fault(words::handshake(&error))),
    };
    add(&mut run.spent.tls, begin.elapsed());
    judged
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    run: &mut Run<'_>,
    spec: &Spec,
    hop: &Hop,
    followed: u32,
    stream: S,
) -> Result<Option<Hop>, Stop> {
    let begin = Instant::now();
    let no_answer = |error: &hyper::Error| failed(FailureCause::FirstByte, words::no_answer(error));
    let request = hop.request::<Empty<Bytes>>();
    let request = request.map_err(|error| failed(FailureCause::Other, error.to_string()))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_HEAD)
        .max_header_size(MOST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| no_answer(&error))?;
    let mut connection = Some(connection);
    let answer = driven(&mut connection, sender.send_request(request));
    let answer = timeout_at(run.until, answer).await;
    add(&mut run.spent.first_byte, begin.elapsed());
    let (head, body) = match answer {
        Err(_) => {
            return Err(failed(FailureCause::FirstByte, format!("no answer {}", run.within())));
        }
        Ok(Err(error)) => return Err(no_answer(&error)),
        Ok(Ok(answer)) => answer.into_parts(),
    };
    run.status = Some(head.status.as_u16());
    run.end = Some(Instant::now());
    if !spec.expected_status.contains(head.status.as_u16()) {
        return redirected(spec, hop, followed, &head).map(Some);
    }
    judge_headers(run, spec, &head).await?;
    let text = if body.is_end_stream() {
        Text::default()
    } else {
        read_body(run, spec, body, &mut connection).await?
    };
    judge_body(run, spec, text).await?;
    Ok(None)
}

/// Where a status that is not expected leads.
fn redirected(spec: &Spec, hop: &Hop, followed: u32, head: &Parts) -> Result<Hop, Stop> {
    if spec.max_redirects == 0 || !Hop::is_redirect(head.status) {
        let (status, expected) =
            (head.status.as_u16(), words::quoted(&spec.expected_status.to_string()));
        return Err(failed(FailureCause::Status, format!("status {status}, expected {expected}")));
    }
    if followed >= spec.max_redirects {
        let most = spec.max_redirects;
        return Err(failed(FailureCause::Redirect, format!("more than {most} redirects")));
    }
    let next = hop.follow(head.status, &head.headers);
    next.map_err(|refusal| failed(FailureCause::Redirect, refusal.words()))
}

async fn judge_headers(run: &Run<'_>, spec: &Spec, head: &Parts) -> Result<(), Stop> {
    let values = |name| -> Vec<String> {
        let values = head.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let conditions = spec.conditions.headers.iter();
    let conditions: Vec<_> =
        conditions.map(|(name, pattern)| (name.clone(), pattern.clone(), values(name))).collect();
    let searched = conditions.iter().filter(|(_, pattern, _)| pattern.is_slow());
    let bytes = searched.flat_map(|(.., values)| values).map(String::len).sum();
    judged(run, bytes, move || {
        conditions.iter().find_map(|(name, pattern, values)| {
            if values.is_empty() {
                return Some(format!("header {name} is missing"));
            }
            let is_met = values.iter().any(|value| pattern.is_met_by(value));
            (!is_met).then(|| format!("header {name} does not {pattern}"))
        })
    })
    .await
}

async fn judge_body(run: &Run<'_>, spec: &Spec, text: Text) -> Result<(), Stop> {
    let patterns = spec.conditions.body.clone();
    let bytes = if patterns.iter().any(Pattern::is_slow) { text.bytes.len() } else { 0 };
    judged(run, bytes, move || {
        let body = String::from_utf8_lossy(&text.bytes);
        let unmet = patterns.iter().find(|pattern| !pattern.is_met_by(&body))?;
        Some(if text.is_cut {
            format!("the first 64 KiB of the body do not {unmet}")
        } else {
            format!("the body does not {unmet}")
        })
    })
    .await
}

/// Fails with the fault that `search` finds. An expression of the largest permitted size takes up to
/// a second over a whole body, so long texts, by the `bytes` that expressions are looked for in, are
/// searched where that holds up nobody; for as long as a check may take, because what the target had
/// to do is done.
async fn judged(
    run: &Run<'_>,
    bytes: usize,
    search: impl FnOnce() -> Option<String> + Send + 'static,
) -> Result<(), Stop> {
    let unmet = if bytes > AT_ONCE {
        match timeout(run.timeout, tokio::task::spawn_blocking(search)).await {
            Ok(unmet) => unmet.map_err(|_| Stop::Ours)?,
            Err(_) => Some(format!("the answer could not be searched {}", run.within())),
        }
    } else {
        search()
    };
    unmet.map_or(Ok(()), |fault| Err(failed(FailureCause::Condition, fault)))
}

/// The beginning of a body.
#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    /// More may follow.
    is_cut: bool,
}

async fn read_body<C: Future + Unpin>(
    run: &mut Run<'_>,
    spec: &Spec,
    body: Incoming,
    connection: &mut Option<C>,
) -> Result<Text, Stop> {
    let begin = Instant::now();
    let fault = |error: String| failed(FailureCause::Body, error);
    let keep = !spec.conditions.body.is_empty();
    let read = timeout_at(run.until, driven(connection, read(body, keep))).await;
    run.end = Some(Instant::now());
    add(&mut run.spent.body, begin.elapsed());
    match read {
        Err(_) => Err(fault(format!("the answer did not end {}", run.within()))),
        Ok(Err(error)) => Err(fault(words::no_end(&error))),
        Ok(Ok(text)) => Ok(text),
    }
}

/// The beginning of a body; counted only, unless it is to be kept.
async fn read(mut body: Incoming, keep: bool) -> Result<Text, hyper::Error> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    while count < MOST_BODY
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame?.into_data() else { continue };
        if keep {
            bytes.extend(data.iter().take(MOST_BODY - count));
        }
        count += data.len();
    }
    let is_cut = count > MOST_BODY || (count == MOST_BODY && !body.is_end_stream());
    Ok(Text { bytes, is_cut })
}

/// Runs `work` together with the connection it waits for: neither needs a task of its own.
async fn driven<C, W>(connection: &mut Option<C>, work: W) -> W::Output
where
    C: Future + Unpin,
    W: Future,
{
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Some(running) = connection
            && Pin::new(running).poll(cx).is_ready()
        {
            // What ended it has been told to whoever waits.
            *connection = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}
