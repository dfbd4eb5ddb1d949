//! Reading alerts page by page, and putting those that tell of an end where they belong.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::SignedDuration;
use maintenant_api::Timestamp;
use maintenant_api::alerts::{AlertQuery, AlertStatus, Silence};

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
    /// What keeps it quiet, where the server tells: the last to end.
    pub(super) silence: Option<Silence>,
    /// Whose alerts name it as affected, such as `container:8`.
    pub(super) caused_by: Vec<String>,
}

impl Told {
    pub(super) fn new(alert: ListedAlert) -> Self {
        Self { alert, recovery: None, silence: None, caused_by: Vec::new() }
    }

    /// Kept quiet by a server that does not end such alerts: ours tell since when, others forget
    /// them.
    pub(super) fn may_be_over(&self) -> bool {
        self.alert.status == AlertStatus::Silenced && !self.alert.details.contains_key("since")
    }
}

/// What has ended too, as far back as is read, and all that lasts, however old that is. `own`:
/// the same query for one entity only, asked when that would reach back further.
pub(super) async fn history(
    collector: &Collector,
    query: &AlertQuery,
    own: Option<&AlertQuery>,
    oldest: Option<Timestamp>,
) -> Result<Read, ClientError> {
    let (lasting, newest) =
        tokio::try_join!(lasting(collector), read(collector, query.clone(), oldest))?;
    let own = match own.filter(|_| newest.is_cut) {
        Some(own) => read(collector, own.clone(), oldest).await?,
        None => Read::default(),
    };
    let is_cut = lasting.is_cut || newest.is_cut;
    let mut all: BTreeMap<i64, Told> = BTreeMap::new();
    for told in [own, newest, lasting].into_iter().flat_map(|read| read.alerts) {
        let before = all.remove(&told.alert.id);
        // What has ended meanwhile stays so.
        let told = match before {
            Some(before) if before.alert.status == AlertStatus::Resolved => before,
            _ => told,
        };
        all.insert(told.alert.id, told);
    }
    Ok(Read { alerts: all.into_values().collect(), is_cut })
}

/// Whether it fired or ended then or later, or has not ended.
pub(super) fn lasted_since(alert: &ListedAlert, oldest: Timestamp) -> bool {
    let is_open = alert.status != AlertStatus::Resolved;
    is_open || alert.fired_at.max(alert.resolved_at).is_none_or(|last| last >= oldest)
}

/// What lasts, kept quiet or not. Servers answer for one status at a time.
pub(super) async fn lasting(collector: &Collector) -> Result<Read, ClientError> {
    let of = |status: &str| AlertQuery { status: Some(status.to_owned()), ..Default::default() };
    let (mut active, silenced) = tokio::try_join!(
        read(collector, of("active"), None),
        read(collector, of("silenced"), None)
    )?;
    // Not all servers tell what keeps an alert quiet, and it can do without.
    let silences = if silenced.alerts.is_empty() {
        Vec::new()
    } else {
        collector.silences().await.unwrap_or_default()
    };
    active.alerts.extend(silenced.alerts.into_iter().map(|told| {
        let silence = silences.iter().filter(|silence| covers(silence, &told.alert));
        Told { silence: silence.max_by_key(|silence| silence.expires_at).cloned(), ..told }
    }));
    active.is_cut |= silenced.is_cut;
    Ok(active)
}

fn covers(silence: &Silence, alert: &ListedAlert) -> bool {
    // A filter that is empty is none.
    let is = |wanted: &Option<String>, word: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == word)
    };
    silence.is_active
        && is(&silence.source, &alert.source)
        && is(&silence.entity_type, &alert.entity_type)
        && silence.entity_id.is_none_or(|id| id == alert.entity_id)
}

/// The newest of all that `query` asks for, back to what lasted since `oldest`.
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
        let is_past = oldest.is_some_and(|oldest| is_past(&found, last, oldest));
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

/// Whether a server that knows no `lasting_since` has nothing more to tell: it sent what neither
/// fired nor ended since then, and whatever ended since then is there with what tells of it.
fn is_past(found: &BTreeMap<i64, ListedAlert>, last: Option<Timestamp>, oldest: Timestamp) -> bool {
    let ended: HashSet<i64> = found.values().filter_map(|alert| alert.resolved_by_id).collect();
    let is_untold = |alert: &ListedAlert| {
        alert.is_recovery() && lasted_since(alert, oldest) && !ended.contains(&alert.id)
    };
    last.is_some_and(|last| last < oldest)
        && found.values().any(|alert| !lasted_since(alert, oldest))
        && !found.values().any(is_untold)
}

/// What tells only of an end is no alert of its own.
fn fold(alerts: Vec<ListedAlert>) -> Vec<Told> {
    let ending: HashMap<i64, i64> =
        alerts.iter().filter_map(|alert| Some((alert.resolved_by_id?, alert.id))).collect();
    let (ends, alerts): (Vec<_>, Vec<_>) =
        alerts.into_iter().partition(|alert| alert.is_recovery() || ending.contains_key(&alert.id));
    let mut words: HashMap<i64, String> =
        ends.into_iter().filter_map(|end| Some((*ending.get(&end.id)?, end.message))).collect();
    let told = |alert: ListedAlert| Told { recovery: words.remove(&alert.id), ..Told::new(alert) };
    alerts.into_iter().map(told).collect()
}
