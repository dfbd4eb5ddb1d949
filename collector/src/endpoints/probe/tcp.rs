//! A TCP check: a connection, and what is said over it.

use std::time::Duration;

use maintenant_api::endpoints::FailureCause;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Run, Stop, add, failed, words};
use crate::endpoints::spec::Checks;
use crate::net::connect;

/// Bytes of an answer in which the expected text is looked for.
const MOST: usize = 4096;

pub(super) async fn check(
    run: &mut Run<'_>,
    checks: &Checks,
    host: &str,
    port: u16,
) -> Result<(), Stop> {
    let mut stream = run.connect(host, port).await?;
    if let Some(text) = &checks.send {
        send(run, &mut stream, text).await?;
    }
    if let Some(text) = &checks.expect {
        expect(run, &mut stream, text).await?;
    }
    run.end = Some(Instant::now());
    if checks.send.is_none() {
        // A reset leaves the machine's table of tracked connections within seconds, an orderly end
        // after minutes. It could overtake what was sent, so then the end is orderly.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
    Ok(())
}

async fn send(run: &Run<'_>, stream: &mut TcpStream, text: &str) -> Result<(), Stop> {
    let fault = |error: String| failed(FailureCause::FirstByte, error);
    match timeout_at(run.until, stream.write_all(text.as_bytes())).await {
        Err(_) => Err(fault(format!("the text to send was not taken {}", run.within()))),
        Ok(Err(error)) => Err(fault(format!("the text was not sent: {}", connect::words(&error)))),
        Ok(Ok(())) => Ok(()),
    }
}

/// Reads until the text has come.
async fn expect(run: &mut Run<'_>, stream: &mut TcpStream, text: &str) -> Result<(), Stop> {
    let shown = words::quoted(text);
    let fault = |error: String| failed(FailureCause::Condition, error);
    let mut begin = Instant::now();
    let mut answer = Vec::with_capacity(512);
    while answer.len() < MOST {
        let mut rest = (&mut *stream).take((MOST - answer.len()) as u64);
        let read = timeout_at(run.until, rest.read_buf(&mut answer)).await;
        let phase = if run.spent.first_byte.is_none() {
            &mut run.spent.first_byte
        } else {
            &mut run.spent.body
        };
        add(phase, begin.elapsed());
        begin = Instant::now();
        match read {
            Err(_) => return Err(fault(format!("`{shown}` did not come {}", run.within()))),
            Ok(Err(error)) => {
                return Err(fault(format!("`{shown}` did not come: {}", connect::words(&error))));
            }
            Ok(Ok(0)) => {
                return Err(fault(format!("the connection was closed before `{shown}` came")));
            }
            Ok(Ok(_)) if answer.windows(text.len()).any(|part| part == text.as_bytes()) => {
                return Ok(());
            }
            Ok(Ok(_)) => {}
        }
    }
    Err(fault(format!("`{shown}` is not in the first {MOST} bytes of the answer")))
}
