//! `list_containers`.

use std::collections::BTreeMap;

use maintenant_api::Timestamp;
use maintenant_api::containers::{ExitReason, Health, State};
use rmcp::{tool, tool_router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{group_of, is_shown_as, rank};
use crate::arguments::{Parameters, whole_number};
use crate::budget::Json;
use crate::collectors::{Source, ask};
use crate::cursor;
use crate::error::ToolError;
use crate::listed::Listed;
use crate::server::Gateway;
use crate::time::show;
use crate::tools::paging::{self, Key, Listing, Ranked, word};
use crate::tools::{counted, hint};
use crate::untrusted::name;

const STATES: [&str; 8] =
    ["created", "running", "paused", "restarting", "exited", "completed", "dead", "unknown"];
const HEALTHS: [&str; 4] = ["healthy", "unhealthy", "starting", "none"];

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListContainers {
    /// `unknown`: Docker cannot be asked.
    #[schemars(extend("enum" = STATES))]
    state: Option<String>,
    /// Verdict of its own health check.
    #[schemars(extend("enum" = HEALTHS))]
    health: Option<String>,
    /// Exact name of a group or Compose project.
    group: Option<String>,
    /// Part of a name, in any case.
    name: Option<String>,
    /// Default 20.
    #[serde(deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = 100))]
    limit: Option<i64>,
    /// `next_cursor` of the page before, filters unchanged.
    cursor: Option<String>,
    /// Only this one of several.
    #[serde(alias = "source")]
    collector: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ContainerPage {
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Worst first.
    containers: Vec<ContainerRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
}

/// Counts over all pages; states that do not occur are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(in crate::tools) struct Summary {
    /// Whatever the filters.
    total: usize,
    /// With the filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    matching: Option<usize>,
    running: usize,
    /// Running, and the health check fails.
    unhealthy: usize,
    #[serde(flatten)]
    others: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ContainerRow {
    name: String,
    id: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    image: String,
    /// Last change of state.
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collector: Option<String>,
}

#[tool_router(router = list_of_containers, vis = "pub(super)")]
impl Gateway {
    /// Lists watched containers, those in trouble first, with counts over all of them.
    /// Start here for "what is broken" or "is X running"; get_container explains one of them. Narrow it, or continue with next_cursor.
    #[tool(
        title = "List containers",
        annotations(
            read_only_hint = true,
            destructive_hint = false,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    async fn list_containers(
        &self,
        Parameters(arguments): Parameters<ListContainers>,
    ) -> Result<Json<ContainerPage>, ToolError> {
        let (filter, limit) = (Filter::new(&arguments)?, paging::limit(arguments.limit)?);
        let after: Option<Key> =
            arguments.cursor.as_deref().map(|text| cursor::decode(text, &filter)).transpose()?;
        let collectors = self.collectors().choose(arguments.collector.as_deref())?;
        let answers =
            ask(collectors, |collector| async move { collector.containers().await }).await;
        let sources = answers.sources();
        let mut entries = Vec::new();
        for (collector, list) in answers.successes()? {
            entries.extend(list.into_iter().map(|item| ranked(&collector.name, item)));
        }
        let several = self.collectors().several();
        Ok(Json(page(entries, &filter, after.as_ref(), limit, several, sources)))
    }
}

/// Which containers were asked for. Its JSON is what a cursor is bound to.
#[derive(Debug, Default, Serialize)]
struct Filter {
    state: Option<State>,
    health: Option<Verdict>,
    group: Option<String>,
    name: Option<String>,
    collector: Option<String>,
}

/// What the container's own health check has to say.
#[derive(Debug, Clone, Copy, Serialize)]
enum Verdict {
    None,
    Is(Health),
}

impl Filter {
    fn new(arguments: &ListContainers) -> Result<Self, ToolError> {
        let parse = |word: &str| match word {
            "none" => Some(Verdict::None),
            word => Health::parse(word).map(Verdict::Is),
        };
        let state = word("state", arguments.state.as_deref(), State::parse, &STATES)?;
        let health = word("health", arguments.health.as_deref(), parse, &HEALTHS)?;
        Ok(Self {
            state,
            health,
            group: arguments.group.clone(),
            name: arguments.name.as_deref().map(str::to_lowercase),
            collector: arguments.collector.clone(),
        })
    }

    fn is_open(&self) -> bool {
        self.state.is_none() && self.health.is_none() && self.group.is_none() && self.name.is_none()
    }

    fn matches(&self, Ranked { key, item: container }: &Ranked<Listed>) -> bool {
        self.state.is_none_or(|state| container.state == state)
            && self.health.is_none_or(|verdict| match verdict {
                Verdict::None => container.health_status.is_none(),
                Verdict::Is(health) => container.health_status == Some(health),
            })
            && self.group.as_deref().is_none_or(|wanted| {
                group_of(container).is_some_and(|group| is_shown_as(group, wanted))
            })
            && self.name.as_deref().is_none_or(|part| {
                container.name.to_lowercase().contains(part)
                    || key.name.to_lowercase().contains(part)
            })
    }
}

fn ranked(collector: &str, container: Listed) -> Ranked<Listed> {
    let key = Key {
        rank: rank(&container),
        moment: 0,
        name: name(&container.name),
        collector: collector.to_owned(),
        id: container.id,
    };
    Ranked { key, item: container }
}

fn row(Ranked { key, item: container }: &Ranked<Listed>, several: bool) -> ContainerRow {
    ContainerRow {
        name: key.name.clone(),
        id: container.id.to_string(),
        state: container.state.as_str(),
        health: container.health_status.map(Health::as_str),
        exit_code: container.exit_code,
        exit_reason: container.exit_reason.map(ExitReason::as_str),
        group: group_of(container).map(name),
        image: name(&container.image),
        since: since(&container.last_state_change_at),
        restart_count: Some(container.restart_count).filter(|count| *count > 0),
        collector: several.then(|| key.collector.clone()),
    }
}

/// A time as answers show it; one that cannot be read is shown as it came.
fn since(sent: &str) -> String {
    sent.parse::<Timestamp>().map_or_else(|_| name(sent), show)
}

impl Summary {
    pub(in crate::tools) fn of<'a>(containers: impl Iterator<Item = &'a Listed>) -> Self {
        let mut summary = Self::default();
        let add = |count: &mut usize| *count = count.saturating_add(1);
        for container in containers {
            add(&mut summary.total);
            match (container.state, container.health_status) {
                (State::Running, health) => {
                    add(&mut summary.running);
                    match health {
                        Some(Health::Unhealthy) => add(&mut summary.unhealthy),
                        Some(Health::Starting) => {
                            add(summary.others.entry("starting").or_default());
                        }
                        _ => {}
                    }
                }
                (state, _) => add(summary.others.entry(state.as_str()).or_default()),
            }
        }
        summary
    }

    pub(in crate::tools) fn unknown(&self) -> usize {
        self.others.get(State::Unknown.as_str()).copied().unwrap_or_default()
    }
}

/// One page of `entries`, worst first.
fn page(
    entries: Vec<Ranked<Listed>>,
    filter: &Filter,
    after: Option<&Key>,
    limit: Option<usize>,
    several: bool,
    (sources, rest_of_sources): (Option<Vec<Source>>, Option<String>),
) -> ContainerPage {
    let listing = Listing::new("container", entries, |entry| filter.matches(entry), after);
    let mut summary = Summary::of(listing.matching.iter().map(|entry| &entry.item));
    summary.matching = (!filter.is_open()).then_some(listing.matching.len());
    summary.total = listing.total;
    let page = listing.page(limit, filter, sources.as_deref(), |entry| row(entry, several));
    let hint = hint([
        (summary.unknown() > 0).then(|| {
            let containers = counted(summary.unknown(), "container");
            format!(
                "State unknown for {containers}: Docker cannot be asked, or the server's word for \
                 it is not known here; see get_health."
            )
        }),
        page.rest,
        (listing.total == 0).then(|| {
            "No container is watched; get_health tells whether the collector reaches Docker."
                .to_owned()
        }),
        rest_of_sources,
    ]);
    ContainerPage { summary, hint, containers: page.rows, next_cursor: page.next_cursor, sources }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::budget;

    fn entries(count: i64) -> Vec<Ranked<Listed>> {
        (1..=count)
            .map(|id| {
                let container = json!({
                    "id": id, "external_id": format!("{id:064x}"),
                    "name": format!("shop-service-{id:03}-1"), "state": "running",
                    "image": "registry.example.org/shop/service:1.27.3",
                    "health_status": "healthy", "orchestration_group": "shop",
                    "first_seen_at": "2026-01-01T00:00:00Z",
                    "last_state_change_at": "2026-01-01T00:00:00Z"
                });
                ranked("collector", serde_json::from_value(container).unwrap())
            })
            .collect()
    }

    fn default_page(count: i64) -> ContainerPage {
        page(entries(count), &Filter::default(), None, None, false, (None, None))
    }

    #[test]
    fn a_hundred_containers_fit_into_ten_kilobytes_by_default() {
        let text = serde_json::to_string(&default_page(100)).unwrap();
        let escaped = Value::String(text.clone()).to_string();
        assert!(text.len() <= 5000, "{} bytes", text.len());
        assert!(text.len() + escaped.len() <= 10_000, "{} bytes", text.len() + escaped.len());
    }

    #[test]
    fn pages_hold_every_container_once() {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = page(
                entries(90),
                &Filter::default(),
                after.as_ref(),
                Some(40),
                false,
                (None, None),
            );
            assert_eq!(page.summary.total, 90);
            seen.extend(page.containers.into_iter().map(|row| row.id));
            let Some(text) = page.next_cursor else { break };
            after = Some(cursor::decode::<Key, _>(&text, &Filter::default()).unwrap());
        }
        assert_eq!(seen.len(), 90);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 90);
    }

    #[test]
    fn nothing_found_and_nothing_there_are_two_hints() {
        let none = Filter { name: Some("zzz".to_owned()), ..Filter::default() };
        let empty = page(entries(3), &none, None, None, false, (None, None));
        assert_eq!(
            empty.hint.as_deref(),
            Some("No container matches; without filters there are 3 containers.")
        );
        assert_eq!(empty.summary.matching, Some(0));
        assert!(default_page(0).hint.unwrap().contains("No container is watched"));
    }

    #[test]
    fn large_names_shorten_the_page_and_the_rest_is_on_the_next() {
        let mut entries = entries(30);
        for entry in &mut entries {
            entry.item.image = "x".repeat(5000);
            entry.item.name = format!("{}{}", "n".repeat(500), entry.item.id);
            entry.key.name = name(&entry.item.name);
        }
        let page = page(entries, &Filter::default(), None, None, false, (None, None));
        assert!(page.containers.len() < 20);
        assert!(page.next_cursor.is_some());
        assert!(serde_json::to_string(&page).unwrap().len() < 6000);
    }

    #[test]
    fn a_page_has_room_for_its_sources() {
        let source =
            |n| Source { name: format!("host-{n}"), ok: false, error: Some("x".repeat(900)) };
        let sources = (Some((0..10).map(source).collect()), None);
        let mut entries = entries(100);
        for entry in &mut entries {
            entry.item.image = "x".repeat(300);
        }
        let page = page(entries, &Filter::default(), None, Some(100), true, sources);
        assert!(page.containers.len() > 20);
        assert!(serde_json::to_string(&page).unwrap().len() <= budget::CAP);
    }

    #[test]
    fn what_is_not_shown_is_counted_and_reached_whatever_its_name() {
        let mut entries = entries(3);
        for entry in &mut entries {
            let mut container = entry.item.clone();
            container.name = "\u{1b}".repeat(40_000);
            *entry = ranked("collector", container);
        }
        let page = page(entries, &Filter::default(), None, Some(1), false, (None, None));
        assert!(page.next_cursor.is_some_and(|cursor| cursor.len() < 1000));
        assert!(page.hint.unwrap().contains("2 more"));
    }

    #[test]
    fn a_name_is_found_as_it_is_shown() {
        let mut container = entries(1).remove(0).item;
        container.name = "evil\u{202e}name".to_owned();
        let entry = ranked("collector", container);
        let filter = |part: &str| Filter { name: Some(part.to_owned()), ..Filter::default() };
        for part in ["evil\u{202e}", "\\u{202e}name"] {
            assert!(filter(part).matches(&entry), "{part}");
        }
    }
}
