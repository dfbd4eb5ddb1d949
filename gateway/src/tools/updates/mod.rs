//! Image updates: what runs, what is newer, and how a person would change to it.

mod commands;
mod list;
mod row;
mod scans;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use maintenant_api::Timestamp;
use maintenant_api::updates::{Update, UpdateList, UpdateListQuery, UpdateSummary};
use rmcp::handler::server::tool::ToolRouter;

use crate::collector::{ClientError, Collector};
use crate::server::Gateway;

impl Gateway {
    pub(in crate::tools) fn updates() -> ToolRouter<Self> {
        Self::list_of_updates()
    }
}

/// What one collector knows of updates.
#[derive(Debug, Default)]
struct Read {
    updates: Vec<Update>,
    /// Why the newest check of a container failed or came to less than it should, by the engine's
    /// id; listed or not.
    failed: BTreeMap<String, String>,
    last: Option<Timestamp>,
    next: Option<Timestamp>,
    /// Not every server has a summary that can be read.
    summary: Option<UpdateSummary>,
}

/// Which rows are asked of a server. Others than ours list only `available` and `pinned`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Updates,
    All,
}

/// `with_ids`: also says which rows of `GET /containers` they are about.
async fn read(
    collector: Arc<Collector>,
    extent: Extent,
    with_ids: bool,
) -> Result<Read, ClientError> {
    let all = UpdateListQuery { status: Some("all".to_owned()), ..UpdateListQuery::default() };
    let list = async {
        if extent == Extent::All {
            let list = collector.updates(&all).await?;
            // Where the word is not known it matches nothing.
            if !list.updates.is_empty() {
                return Ok(list);
            }
        }
        collector.updates(&UpdateListQuery::default()).await
    };
    let (list, summary) = tokio::join!(list, collector.update_summary());
    let UpdateList { mut updates, last_scan: last, next_scan: next, problems } = list?;
    // Other servers tell the engine's id only.
    if with_ids && updates.iter().any(|update| update.container_row_id.is_none()) {
        let containers = collector.containers().await?;
        let ids: HashMap<&str, i64> =
            containers.iter().map(|one| (one.external_id.as_str(), one.id)).collect();
        for update in &mut updates {
            let id = ids.get(update.container_id.as_str()).copied();
            update.container_row_id = update.container_row_id.or(id);
        }
    }
    let failed = problems.into_iter().map(|problem| (problem.container_id, problem.error));
    Ok(Read { updates, failed: failed.collect(), last, next, summary: summary.ok() })
}
