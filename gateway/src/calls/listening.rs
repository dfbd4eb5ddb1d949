//! One listener (`subscriptions/listen`), from its line in the audit log when it begins to that when
//! it ends. It is none of the calls: it lasts as long as its client likes, and has its own limit.

use rmcp::RoleServer;
use rmcp::service::RequestContext;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::call::{Outcome, Who};
use super::limits::Place;
use super::{Calls, milliseconds};

const METHOD: &str = "subscriptions/listen";

/// A listener. Dropped without an end, it was cancelled.
pub(crate) struct Listening {
    calls: Calls,
    line: Option<Map<String, Value>>,
    started: Instant,
    outcome: Outcome,
    _place: Place,
    /// Given back after the line was handed over.
    _running: TaskTrackerToken,
}

impl Calls {
    /// Begins to listen to the resources at `uris`, if one more may; the sentence says why not.
    pub(crate) fn listen(
        &self,
        uris: &[String],
        context: &RequestContext<RoleServer>,
    ) -> Result<Listening, String> {
        let line = self.line(METHOD, &uris.join(" "), None, context);
        let place = self.0.limits.listen(&Who::of_call(context).keys().0).map_err(|limited| {
            self.0.metrics.limited(limited);
            let reason = ("reason", json!(format!("limit: {}", limited.word())));
            self.write(line.as_ref(), Outcome::Refused.word(), [reason]);
            limited.sentence()
        })?;
        self.0.metrics.listeners(1);
        self.write(line.as_ref(), "started", []);
        Ok(Listening {
            calls: self.clone(),
            line,
            started: Instant::now(),
            outcome: Outcome::Cancelled,
            _place: place,
            _running: self.0.running.token(),
        })
    }

    fn write<const N: usize>(
        &self,
        line: Option<&Map<String, Value>>,
        result: &str,
        more: [(&str, Value); N],
    ) {
        let Some(mut line) = line.cloned() else { return };
        line.insert("result".to_owned(), json!(result));
        line.extend(more.map(|(key, value)| (key.to_owned(), value)));
        self.0.audit.line(&line.into());
    }
}

impl Listening {
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.calls.0.metrics.listeners(-1);
        let duration = ("milliseconds", json!(milliseconds(self.started.elapsed())));
        self.calls.write(self.line.as_ref(), self.outcome.word(), [duration]);
    }
}
