//! Background work: named, owned, stopped in order.
//!
//! A job takes no input beyond what it owns and the time. Its state is kept and served at
//! `/api/v1/jobs`, so that "how old is this data" is a fact.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use maintenant_api::health;
use maintenant_serve::clock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A piece of background work.
pub trait Job: Send + 'static {
    const NAME: &'static str;

    /// One whole round (`every`), or the work until it fails (`follow`).
    fn run(&mut self, now: Timestamp) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// How the jobs fare; clones share it.
#[derive(Debug, Clone, Default)]
pub struct JobStatuses(Arc<Mutex<BTreeMap<&'static str, health::Job>>>);

impl JobStatuses {
    pub fn list(&self) -> Vec<health::Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn record(&self, name: &'static str, outcome: Result<Timestamp, String>) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let job = jobs.entry(name).or_insert_with(|| health::Job {
            name: name.to_owned(),
            runs: 0,
            failures: 0,
            last_ok_at: None,
            last_error: None,
        });
        job.runs += 1;
        match outcome {
            Ok(at) => {
                job.last_ok_at = Some(at);
                job.last_error = None;
            }
            Err(error) => {
                job.failures += 1;
                job.last_error = Some(error);
            }
        }
    }
}

/// Owns the jobs of a process.
#[derive(Debug, Default)]
pub struct Supervisor {
    jobs: JoinSet<()>,
    stop: CancellationToken,
    statuses: JobStatuses,
}

impl Supervisor {
    pub fn statuses(&self) -> JobStatuses {
        self.statuses.clone()
    }

    /// Runs `job` now and then every `period`. A round under way is never cut by a stop.
    pub fn every<J: Job>(&mut self, period: Duration, mut job: J) {
        let (stop, statuses) = (self.stop.clone(), self.statuses.clone());
        self.jobs.spawn(async move {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                let _ = round(&mut job, &statuses).await;
            }
        });
    }

    /// Runs `job` until it ends, then again after a growing pause. A stop cuts it.
    pub fn follow<J: Job>(&mut self, backoff: Backoff, mut job: J) {
        let (stop, statuses) = (self.stop.clone(), self.statuses.clone());
        self.jobs.spawn(async move {
            let mut backoff = backoff;
            loop {
                let started = tokio::time::Instant::now();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    _ = round(&mut job, &statuses) => {}
                }
                let pause = backoff.next(started.elapsed());
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        });
    }

    /// Asks every job to end and waits for them; after `grace` the rest is aborted.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.cancel();
        let all = async { while self.jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("{} job(s) did not end in time and were cut", self.jobs.len());
            self.jobs.shutdown().await;
        }
    }
}

/// One run; a panic in it is a failure like any other.
async fn round<J: Job>(job: &mut J, statuses: &JobStatuses) -> bool {
    let outcome = AssertUnwindSafe(job.run(clock::now())).catch_unwind().await;
    let outcome = match outcome {
        Ok(Ok(())) => Ok(clock::now()),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err("panicked; the log says more".to_owned()),
    };
    if let Err(error) = &outcome {
        tracing::warn!(job = J::NAME, "job failed: {error}");
    }
    let succeeded = outcome.is_ok();
    statuses.record(J::NAME, outcome);
    succeeded
}

/// Pauses between attempts: doubling from `first` to `most`, back to `first` after a run that
/// lasted longer than `most`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
    next: Option<Duration>,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: None }
    }

    fn next(&mut self, lasted: Duration) -> Duration {
        let pause = match self.next {
            Some(pause) if lasted < self.most => pause,
            _ => self.first,
        };
        self.next = Some((pause * 2).min(self.most));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Flaky(u32);

    impl Job for Flaky {
        const NAME: &'static str = "flaky";

        async fn run(&mut self, _now: Timestamp) -> anyhow::Result<()> {
            self.0 += 1;
            match self.0 {
                1 => anyhow::bail!("refused"),
                2 => panic!("on purpose"),
                _ => Ok(()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_or_panicking_job_runs_again_and_its_state_is_kept() {
        let mut supervisor = Supervisor::default();
        let statuses = supervisor.statuses();
        supervisor.every(Duration::from_secs(10), Flaky(0));
        tokio::time::sleep(Duration::from_secs(15)).await;
        let job = statuses.list().remove(0);
        assert_eq!((job.runs, job.failures), (2, 2));
        assert!(job.last_error.unwrap().contains("panicked"));
        tokio::time::sleep(Duration::from_secs(10)).await;
        let job = statuses.list().remove(0);
        assert_eq!((job.runs, job.failures, job.last_error), (3, 2, None));
        supervisor.stop(Duration::from_secs(1)).await;
    }

    #[test]
    fn pauses_double_and_start_over_after_a_long_run() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 4);
        let pauses: Vec<_> = (0..4).map(|_| backoff.next(Duration::ZERO).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 4]);
        assert_eq!(backoff.next(second * 60), second);
    }
}
