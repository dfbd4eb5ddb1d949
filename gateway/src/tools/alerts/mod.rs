//! Alerts: what is wrong, since when and who knows of it, and taking note of one.

mod acknowledge;
mod affected;
mod list;
mod read;
mod row;

use std::collections::BTreeMap;

use maintenant_api::alerts::AlertStatus;
use rmcp::handler::server::tool::ToolRouter;

use crate::listed::ListedAlert;
use crate::server::Gateway;

/// How many are active, of which severity, and the like; what does not occur is left out.
pub(super) type AlertCounts = BTreeMap<&'static str, usize>;

impl Gateway {
    pub(in crate::tools) fn alerts() -> ToolRouter<Self> {
        Self::list_of_alerts() + Self::acknowledging()
    }
}

fn is_active(alert: &ListedAlert) -> bool {
    !matches!(alert.status, AlertStatus::Resolved | AlertStatus::Silenced)
}

/// Counts active ones by severity too; acknowledged ones are active.
pub(super) fn counts<'a>(alerts: impl Iterator<Item = &'a ListedAlert>) -> AlertCounts {
    let mut counts = BTreeMap::from([("active", 0)]);
    let words = alerts.flat_map(|alert| {
        let is_active = is_active(alert);
        let status = if is_active { "active" } else { alert.status.as_str() };
        let acknowledged = is_active && alert.acknowledged_at.is_some();
        [
            Some(status),
            is_active.then(|| alert.severity.as_str()),
            acknowledged.then_some("acknowledged"),
        ]
    });
    for word in words.flatten() {
        let count: &mut usize = counts.entry(word).or_default();
        *count = count.saturating_add(1);
    }
    counts
}
