//! Names to addresses, as the system sees them: hosts file, search domains, Docker's own resolver.
//!
//! The system's look-up blocks a thread and cannot be cut short. A pool of our own keeps a resolver
//! that is dead from starving everything else that blocks, and tells "it does not answer" from
//! "nobody was free to ask".

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connect::is_exhausted;

/// Look-ups at once.
const THREADS: usize = 16;
/// Look-ups waiting; more are refused.
const WAITING: usize = 1024;
/// An idle thread ends after this.
const IDLE: Duration = Duration::from_mins(1);
const STACK: usize = 256 * 1024;

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The resolver's own words.
    #[error("{0}")]
    Failed(String),
    #[error("the name has no address")]
    Empty,
    #[error("no answer from the resolver in time")]
    Timeout,
    /// It was not asked: too many look-ups were under way, or this machine is out of file
    /// descriptors or memory. This says nothing about the name.
    #[error("this machine cannot look up more names now")]
    Busy,
}

/// What came of a look-up.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    pub addresses: Result<Vec<IpAddr>, ResolveError>,
    /// Until somebody was free to ask. This is our doing, not the resolver's.
    pub waited: Duration,
}

/// The addresses of a name, however long that takes.
pub type LookUp = fn(&str) -> Result<Vec<IpAddr>, ResolveError>;

/// The pool; clones share it.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    look_up: LookUp,
    queue: Mutex<Queue>,
    added: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    asked: VecDeque<Question>,
    threads: usize,
    idle: usize,
}

#[derive(Debug)]
struct Question {
    host: String,
    begun: oneshot::Sender<()>,
    answer: oneshot::Sender<Result<Vec<IpAddr>, ResolveError>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::asking(system)
    }
}

impl Resolver {
    /// A pool that asks something else than the system.
    pub fn asking(look_up: LookUp) -> Self {
        let (queue, added) = Default::default();
        Self(Arc::new(Pool { look_up, queue, added }))
    }

    /// All addresses of `host` in the system's order; a literal is its own address. What was waited
    /// for the look-up to begin is added to the time that it has.
    pub async fn resolve(&self, host: &str, until: Instant) -> Resolved {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return Resolved { addresses: Ok(vec![address]), waited: Duration::ZERO };
        }
        let asked = Instant::now();
        let (begun, begins) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let question = Question { host: bare.to_owned(), begun, answer };
        let has_begun =
            self.ask(question).is_ok() && tokio::time::timeout_at(until, begins).await.is_ok();
        let waited = asked.elapsed();
        if !has_begun {
            return Resolved { addresses: Err(ResolveError::Busy), waited };
        }
        let addresses = match tokio::time::timeout_at(until + waited, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ResolveError::Failed("the look-up ended without an answer".into())),
            Err(_) => Err(ResolveError::Timeout),
        };
        Resolved { addresses, waited }
    }

    fn ask(&self, question: Question) -> Result<(), ResolveError> {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.asked.retain(|question| !question.answer.is_closed());
        if queue.asked.len() >= WAITING {
            return Err(ResolveError::Busy);
        }
        queue.asked.push_back(question);
        if queue.idle < queue.asked.len() && queue.threads < THREADS {
            let pool = self.0.clone();
            let thread = std::thread::Builder::new().name("resolver".to_owned()).stack_size(STACK);
            match thread.spawn(move || pool.answer_all()) {
                Ok(_) => queue.threads += 1,
                Err(error) => tracing::warn!("no thread to look up names: {error}"),
            }
        }
        drop(queue);
        self.0.added.notify_one();
        Ok(())
    }
}

impl Pool {
    /// The life of one thread.
    fn answer_all(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(question) = queue.asked.pop_front() else {
                queue.idle += 1;
                let (woken, wait) =
                    self.added.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                queue.idle -= 1;
                if wait.timed_out() && queue.asked.is_empty() {
                    queue.threads -= 1;
                    return;
                }
                continue;
            };
            if question.answer.is_closed() {
                continue;
            }
            drop(queue);
            let _ = question.begun.send(());
            let _ = question.answer.send((self.look_up)(&question.host));
            queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn system(host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let found = (host, 0).to_socket_addrs();
    let found = found.map_err(|error| fault(&error, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() { Err(ResolveError::Empty) } else { Ok(addresses) }
}

/// The resolver does not always say that it could not open a socket, so opening `another` tells.
pub(super) fn fault<T>(error: &std::io::Error, another: std::io::Result<T>) -> ResolveError {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    let is_ours = is_exhausted(error)
        || another.is_err_and(|error| is_exhausted(&error))
        || text == "Memory allocation failure";
    if is_ours { ResolveError::Busy } else { ResolveError::Failed(text.to_owned()) }
}
