//! One check of one endpoint.

mod hop;
mod http;
mod tcp;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use maintenant_api::endpoints::{FailureCause, Phases};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::spec::{Spec, Target};
use crate::net::Net;
use crate::net::connect::ConnectFault;
use crate::net::resolve::ResolveError;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `None`: success.
    pub failure: Option<Failure>,
    /// From the first look-up to the last byte read.
    pub response_time_ms: i64,
    /// Of the last answer.
    pub http_status: Option<u16>,
    pub phases: Phases,
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub cause: FailureCause,
    /// One sentence without secrets, at most 300 characters.
    pub error: String,
}

/// Checks once, within the timeout of the spec.
///
/// `None`: this machine could not try, and nothing was learnt about the target. The caller takes a
/// turn of [`Net::turn`] first; further connections, after redirects, take theirs here, and waiting
/// for them, and for a look-up to begin, counts neither as response time nor against the timeout.
pub async fn probe(net: &Net, spec: &Spec) -> Option<Outcome> {
    let mut run = Run::new(net, spec.timeout);
    let result = match &spec.target {
        Target::Http(url) => http::check(&mut run, spec, url).await,
        Target::Tcp { host, port } => tcp::check(&mut run, &spec.conditions, host, *port).await,
    };
    let failure = match result {
        Ok(()) => None,
        Err(Stop::Ours) => return None,
        Err(Stop::Failed(failure)) => Some(failure),
    };
    Some(Outcome {
        failure,
        response_time_ms: milliseconds(run.end.unwrap_or_else(Instant::now) - run.begin),
        http_status: run.status,
        phases: run.spent.phases(),
    })
}

/// Why a check ends early.
#[derive(Debug)]
enum Stop {
    /// It is not the target's fault, so nothing was found.
    Ours,
    Failed(Failure),
}

fn failed(cause: FailureCause, error: impl AsRef<str>) -> Stop {
    Stop::Failed(Failure { cause, error: words::bounded(error.as_ref()) })
}

/// A check under way: its budget, and what it has taken so far.
struct Run<'a> {
    net: &'a Net,
    timeout: Duration,
    /// Moves ahead by what was waited for turns and look-ups to begin, as `until` does.
    begin: Instant,
    until: Instant,
    /// When the last byte was read, if something was done after it.
    end: Option<Instant>,
    spent: Spent,
    status: Option<u16>,
}

impl<'a> Run<'a> {
    fn new(net: &'a Net, timeout: Duration) -> Self {
        let begin = Instant::now();
        let (end, spent, status) = (None, Spent::default(), None);
        Self { net, timeout, begin, until: begin + timeout, end, spent, status }
    }

    /// Waits for the right to open one more connection.
    async fn turn(&mut self) {
        let begin = Instant::now();
        self.net.turn().await;
        self.grant(begin.elapsed());
        self.end = None;
    }

    /// What was waited for ourselves is not the target's time.
    fn grant(&mut self, waited: Duration) {
        self.begin += waited;
        self.until += waited;
    }

    async fn connect(&mut self, host: &str, port: u16) -> Result<TcpStream, Stop> {
        let error = match self.net.connect(host, port, self.until).await {
            Ok(connected) => {
                self.grant(connected.waited);
                add(&mut self.spent.dns, connected.dns);
                add(&mut self.spent.connect, connected.connect);
                return Ok(connected.stream);
            }
            Err(error) => error,
        };
        self.grant(error.waited);
        add(&mut self.spent.dns, error.dns);
        if let Some(spent) = error.connect {
            add(&mut self.spent.connect, spent);
        }
        Err(match error.fault {
            fault if fault.is_ours() => {
                tracing::debug!("not checked: {fault}");
                Stop::Ours
            }
            ConnectFault::Resolve(ResolveError::Timeout) => {
                failed(FailureCause::Dns, format!("the name was not resolved {}", self.within()))
            }
            ConnectFault::Resolve(error) => {
                failed(FailureCause::Dns, format!("the name was not resolved: {error}"))
            }
            ConnectFault::Refused(refused) => failed(FailureCause::Refused, refused.to_string()),
            ConnectFault::Timeout => {
                failed(FailureCause::Connect, format!("no connection {}", self.within()))
            }
            fault @ (ConnectFault::Connect(_) | ConnectFault::Local(_)) => {
                failed(FailureCause::Connect, fault.to_string())
            }
        })
    }

    /// `within 10 s`.
    fn within(&self) -> String {
        format!("within {} s", self.timeout.as_secs_f64())
    }
}

/// Time spent in each phase that was reached, over all connections of a check.
#[derive(Debug, Default)]
struct Spent {
    dns: Option<Duration>,
    connect: Option<Duration>,
    tls: Option<Duration>,
    first_byte: Option<Duration>,
    body: Option<Duration>,
}

impl Spent {
    fn phases(&self) -> Phases {
        Phases {
            dns_ms: self.dns.map(milliseconds),
            connect_ms: self.connect.map(milliseconds),
            tls_ms: self.tls.map(milliseconds),
            first_byte_ms: self.first_byte.map(milliseconds),
            body_ms: self.body.map(milliseconds),
        }
    }
}

fn add(phase: &mut Option<Duration>, spent: Duration) {
    *phase = Some(phase.unwrap_or_default() + spent);
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
