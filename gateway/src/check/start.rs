//! A first look at the collectors, for the log of a process that has just started.

use std::time::Duration;

use tokio::time::sleep;

use super::engine_fault;
use crate::collectors::{Collectors, ask, error_of_source};

/// The first client must not wait for us, and a collector that starts at the same time shall have
/// begun to listen.
const AFTER: Duration = Duration::from_secs(1);

/// Says of each collector once whether it answers, and if not why, in the words of `check`.
pub async fn look_once(collectors: &Collectors) {
    sleep(AFTER).await;
    let answers =
        ask(collectors.all().to_vec(), async |collector| collector.runtime_status().await).await;
    for (collector, answer) in &answers.0 {
        let fault = match answer {
            Ok(runtime) => engine_fault(runtime),
            Err(error) => Some(error_of_source(&collector.name, error)),
        };
        if let Some(fault) = fault {
            tracing::warn!(collector = collector.name, "{fault}");
        } else {
            tracing::info!(collector = collector.name, "the collector answers");
        }
    }
}
