//! What the host and its containers use.

mod host;
mod top;

use maintenant_api::resources::Consumer;
use rmcp::handler::server::tool::ToolRouter;

use crate::server::Gateway;

impl Gateway {
    pub(in crate::tools) fn usage() -> ToolRouter<Self> {
        Self::usage_of_hosts() + Self::top_consumers()
    }
}

/// One decimal is all that is measured; no zero is negative.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0 + 0.0
}

/// A number that a server writes as -1 when it does not know it.
fn known(number: f64) -> Option<f64> {
    (number >= 0.0).then_some(number)
}

fn known_count(number: i64) -> Option<i64> {
    (number >= 0).then_some(number)
}

/// Less of a period than this, in percent, is compared with nothing.
const LEAST_COVERAGE: f64 = 50.0;

/// What cannot be measured has no rank.
fn measured(consumers: Vec<Consumer>) -> impl Iterator<Item = Consumer> {
    consumers.into_iter().filter(|consumer| consumer.value >= 0.0)
}

#[expect(clippy::cast_possible_truncation, reason = "bytes of one machine")]
fn whole(number: f64) -> i64 {
    number.round() as i64
}
