//! Reading alerts page by page, and putting those that tell of an end where they belong.

use std::collections::{BTreeMap, HashMap};

use jiff::SignedDuration;
use maintenant_api::Timestamp;
use maintenant_api::alerts::AlertQuery;

use crate::collector::{ClientError, Collector};
use crate::listed::ListedAlert;
use crate::time::show;

/// Alerts a server sends at once.
const PAGE: &str = "200";
/// Pages read for one call.
const PAGES: usize = 5;

/// Alerts of one collector.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) alerts: Vec<Told>,
    /// There are older ones that were not read.
    pub(super) is_cut: bool,
}

/// An alert, and what was said at its end.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) alert: ListedAlert,
    pub(super) recovery: Option<String>,
}

/// What lasts, kept quiet or not. Servers answer for one status at a time.
pub(super) async fn lasting(collector: &Collector) -> Result<Read, ClientError> {
    let of = |status: &str| AlertQuery { status: Some(status.to_owned()), ..Default::default() };
    let (mut active, silenced) = tokio::try_join!(
        read(collector, of("active"), None),
        read(collector, of("silenced"), None)
    )?;
    active.alerts.extend(silenced.alerts);
    active.is_cut |= silenced.is_cut;
    Ok(active)
}

/// The newest of all that `query` asks for, back to `oldest`.
pub(super) async fn read(
    collector: &Collector,
    mut query: AlertQuery,
    oldest: Option<Timestamp>,
) -> Result<Read, ClientError> {
    query.limit = Some(PAGE.to_owned());
    let mut found: BTreeMap<i64, ListedAlert> = BTreeMap::new();
    let mut is_cut = true;
    for _ in 0..PAGES {
        let page = collector.alerts(&query).await?;
        let (known, last) = (found.len(), page.alerts.iter().filter_map(|row| row.fired_at).min());
        found.extend(page.alerts.into_iter().map(|alert| (alert.id, alert)));
        let is_past = oldest.zip(last).is_some_and(|(oldest, last)| last < oldest);
        if !page.has_more || is_past {
            is_cut = false;
            break;
        }
        // Without a cursor, the second at the border is asked for again: its rows may be on both
        // pages. A page within a single second leads no further.
        match (page.next_cursor, last) {
            (None, Some(last)) if found.len() > known => {
                let next = last.saturating_add(SignedDuration::from_secs(1));
                query.before = next.ok().map(show);
            }
            (cursor @ Some(_), _) => query.cursor = cursor,
            _ => break,
        }
    }
    Ok(Read { alerts: fold(found.into_values().collect()), is_cut })
}

/// What tells only of an end is no alert of its own.
fn fold(alerts: Vec<ListedAlert>) -> Vec<Told> {
    let ending: HashMap<i64, i64> =
        alerts.iter().filter_map(|alert| Some((alert.resolved_by_id?, alert.id))).collect();
    let (ends, alerts): (Vec<_>, Vec<_>) =
        alerts.into_iter().partition(|alert| alert.is_recovery() || ending.contains_key(&alert.id));
    let mut words: HashMap<i64, String> =
        ends.into_iter().filter_map(|end| Some((*ending.get(&end.id)?, end.message))).collect();
    alerts.into_iter().map(|alert| Told { recovery: words.remove(&alert.id), alert }).collect()
}
