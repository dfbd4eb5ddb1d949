//! Word of a call that takes long, for clients that asked for it.
//!
//! A client may wait longer for a call of which it hears (MCP, basic/patterns/progress). Nobody
//! hears anything who sent no progress token, and a reader that does not read holds up nothing.

use std::time::Duration;

use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::RequestContext;
use rmcp::{Peer, RoleServer};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Until the first word, and between two.
const EVERY: Duration = Duration::from_secs(2);

/// Who is to hear of a call.
pub struct Progress(Option<(Peer<RoleServer>, ProgressToken)>);

impl Progress {
    /// Of the client of this request, if it wants to.
    pub fn of(context: &RequestContext<RoleServer>) -> Self {
        let token = context.meta.get_progress_token();
        Self(token.map(|token| (context.peer.clone(), token)))
    }

    /// Does `work`, and tells that `what` is still at it every two seconds.
    pub async fn during<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let Some((peer, token)) = &self.0 else { return work.await };
        let tell = async {
            let mut ticks = interval_at(Instant::now() + EVERY, EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let started = Instant::now();
            let mut count = 0_u32;
            loop {
                ticks.tick().await;
                count = count.saturating_add(1);
                let seconds = started.elapsed().as_secs();
                let message = format!("{what}: waiting for the collectors for {seconds} s");
                let word = ProgressNotificationParam::new(token.clone(), f64::from(count))
                    .with_message(message);
                if peer.notify_progress(word).await.is_err() {
                    // Nobody hears any more; the end of the request ends the work.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            never = tell => never,
        }
    }
}
