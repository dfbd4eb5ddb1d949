//! What is declared: by labels, by the file, over REST. It is stored first, then done and told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use maintenant_api::containers::State as ContainerState;
use maintenant_api::endpoints::{EndpointInput, EndpointSource, FailureCause, Phases};
use maintenant_serve::logging::foreign;
use serde_json::json;
use tokio::time::Instant;

use super::entry::{Entry, fingerprint};
use super::{Command, Watch, whole};
use crate::containers::inventory::Inventory;
use crate::containers::model::Container;
use crate::endpoints::labels;
use crate::endpoints::model::{State, Step};
use crate::endpoints::options::{Own, over};
use crate::endpoints::probe::{Failure, Outcome};
use crate::endpoints::routes::not_found;
use crate::endpoints::spec::{Spec, SpecFault, Target};
use crate::endpoints::sql::{self, Declaration, Write};
use crate::http::error::ApiError;
use crate::net::TlsTarget;
use crate::store::{Store, StoreError};

/// The name under which faults of labels are kept.
const DIMENSION: &str = "endpoints";

/// Why an endpoint is declared no more, in the words of the contract.
type Reason = &'static str;
const LABEL_REMOVED: Reason = "label_removed";
const CONTAINER_DESTROYED: Reason = "container_destroyed";
const USER_DELETED: Reason = "user_deleted";

impl Watch {
    pub(super) async fn declare_file(
        &mut self,
        endpoints: Vec<Own>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let mut wanted: Vec<_> = endpoints
            .into_iter()
            .map(|own| {
                let label_key = format!("file:{}", own.name);
                standing_alone(label_key, EndpointSource::File, own, None)
            })
            .collect();
        let is_wanted = |key: &str| wanted.iter().any(|(new, _)| new.label_key == key);
        let of_file = self.entries.iter().filter(|(_, entry)| entry.source == EndpointSource::File);
        let gone: Vec<_> = of_file
            .filter(|(_, entry)| !is_wanted(&entry.label_key))
            .map(|(id, _)| (*id, LABEL_REMOVED))
            .collect();
        // The defaults of the file may have changed.
        let standalone =
            self.entries.iter().filter(|(_, e)| e.source == EndpointSource::Standalone);
        let ids: Vec<i64> = standalone.map(|(id, _)| *id).collect();
        let said = self.spine.store.read(move |db| {
            ids.iter()
                .filter_map(|id| sql::find_own(db, *id).transpose())
                .collect::<Result<Vec<_>, _>>()
        });
        for (source, label_key, own) in said.await? {
            let Some(said) = own else { continue };
            match Own::read(&self.defaults, &said) {
                Ok(own) => wanted.push(standing_alone(label_key, source, own, Some(said))),
                Err(fault) => tracing::warn!(
                    "endpoint `{}` keeps its configuration, because over the defaults of the file: \
                     {fault}",
                    foreign(said.name.as_deref().unwrap_or_default())
                ),
            }
        }
        self.declare(wanted, gone, now).await?;
        Ok(())
    }

    /// Reads the labels of containers that are new or changed.
    pub(super) async fn read_labels(
        &mut self,
        inventory: &Inventory,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut declared_by: HashMap<i64, Vec<i64>> = HashMap::new();
        for (id, entry) in &self.entries {
            if entry.source == EndpointSource::Label {
                declared_by.entry(entry.container_id).or_default().push(*id);
            }
        }
        let (mut wanted, mut gone) = (Vec::new(), Vec::new());
        let mut containers = BTreeMap::new();
        for container in inventory.containers.iter() {
            let before = declared_by.remove(&container.id).unwrap_or_default();
            containers.insert(container.id, container.clone());
            if self.containers.get(&container.id).is_some_and(|seen| Arc::ptr_eq(seen, container)) {
                continue;
            }
            let facts = &container.facts;
            let (declared, faults) = if facts.labels.is_ignored {
                (Vec::new(), Vec::new())
            } else {
                let labels = &facts.labels;
                labels::read(&labels.watched, &labels.watched_dropped, &self.defaults)
            };
            self.spine.problems.set(DIMENSION, (container.id, &facts.name), faults, now);
            let is_declared = |id: &i64| {
                let key = self.entries.get(id).map(|entry| &*entry.label_key);
                declared.iter().any(|new| Some(&*new.label_key) == key)
            };
            gone.extend(before.iter().filter(|id| !is_declared(id)).map(|id| (*id, LABEL_REMOVED)));
            let declared = declared.into_iter().map(|new| of_container(container, new));
            wanted.extend(declared);
        }
        let left = declared_by.into_values().flatten();
        gone.extend(left.map(|id| (id, CONTAINER_DESTROYED)));
        self.declare(wanted, gone, now).await?;
        self.spine.problems.retain(DIMENSION, |id| containers.contains_key(&id));
        self.containers = containers;
        Ok(())
    }

    /// Makes what is wanted so, and ends what is gone: stored first, then done and told. Answers with
    /// the ids of what changed.
    pub(super) async fn declare(
        &mut self,
        wanted: Vec<(Declaration, Arc<Spec>)>,
        gone: Vec<(i64, Reason)>,
        now: Timestamp,
    ) -> Result<Vec<i64>, StoreError> {
        let known: HashMap<(i64, &str), u64> = self
            .entries
            .values()
            .map(|entry| ((entry.container_id, &*entry.label_key), entry.fingerprint))
            .collect();
        let changed: Vec<_> = wanted
            .into_iter()
            .filter(|(new, _)| {
                known.get(&(new.container_id, &*new.label_key)) != Some(&fingerprint(new))
            })
            .collect();
        drop(known);
        if changed.is_empty() && gone.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<Declaration> = changed.iter().map(|(new, _)| new.clone()).collect();
        let ended: Vec<i64> = gone.iter().map(|(id, _)| *id).collect();
        let stored = self.spine.store.write(move |tx| {
            for id in ended {
                sql::deactivate(tx, id, now)?;
            }
            let declared = rows.iter().map(|new| {
                let id = sql::declare(tx, new, now)?;
                Ok((id, sql::find_state(tx, id)?))
            });
            declared.collect::<rusqlite::Result<Vec<_>>>()
        });
        let stored = stored.await?;
        for (id, reason) in gone {
            self.end(id, reason, now);
        }
        let many = stored.len();
        let ids = stored.iter().map(|(id, _)| *id).collect();
        for ((new, spec), (id, state)) in changed.into_iter().zip(stored) {
            self.begin(id, &new, spec, state, many, now);
        }
        self.abort_unwanted();
        self.publish_targets();
        Ok(ids)
    }

    fn begin(
        &mut self,
        id: i64,
        new: &Declaration,
        spec: Arc<Spec>,
        stored: State,
        many: usize,
        now: Timestamp,
    ) {
        let name = Some(&new.name).filter(|name| !name.is_empty());
        // Its end may not be stored yet.
        let stored = self.ended.remove(&id).unwrap_or(stored);
        let before = self.entries.insert(id, Entry::new(new, spec.clone(), stored));
        let Some(before) = before else {
            let event = json!({
                "endpoint_id": id,
                "container_name": new.container_name,
                "endpoint_type": new.kind,
                "target": new.target,
                "source": new.source,
                "name": name,
            });
            self.unsaved.events.push(("endpoint.discovered", event));
            self.unsaved.since.get_or_insert_with(Instant::now);
            self.schedule.put(id, spec, many, Instant::now());
            return;
        };
        let was_scheduled = self.schedule.contains(id);
        let mut state = before.state;
        let is_another = before.target != new.target.as_str().into() || before.kind != new.kind;
        let step = is_another.then(|| state.replaced(now));
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.state = state;
        }
        if let Some(step) = step {
            self.take(id, step, None);
            self.unsaved.writes.push(Write::NoLast { id });
        }
        // One that rests because of its container is put to rest again, if it still should.
        if was_scheduled || is_another {
            self.schedule.put(id, spec, many, Instant::now());
        }
    }

    /// Forgets an endpoint that is declared no more.
    fn end(&mut self, id: i64, reason: Reason, now: Timestamp) {
        self.schedule.remove(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let mut step = entry.state.forget(now);
        step.told.clear();
        self.ended.insert(id, entry.state);
        let container_name = entry.container_name.clone();
        self.take(id, step, None);
        self.entries.remove(&id);
        let event = json!({"endpoint_id": id, "container_name": container_name, "reason": reason});
        self.unsaved.events.push(("endpoint.removed", event));
    }

    /// Whether Docker is heard; says whether that is new.
    pub(super) fn hear(&mut self, heard: bool, now: Timestamp) -> bool {
        let is_new = heard != self.heard_since.is_some();
        if is_new {
            self.heard_since = heard.then_some(now);
        }
        is_new
    }

    /// Nothing is checked whose container is known to be stopped: it is down because of that.
    pub(super) fn follow_containers(&mut self, now: Timestamp) {
        let mut steps = Vec::new();
        for (id, entry) in &mut self.entries {
            let Some(container) = self.containers.get(&entry.container_id) else { continue };
            let rests = self.heard_since.filter(|_| !is_probed(container.state));
            if let Some(heard_since) = rests {
                self.schedule.remove(*id);
                if entry.state.is_stopped() || container.state == ContainerState::Created {
                    continue;
                }
                let since = whole(container.last_state_change_at);
                let step = entry.state.stopped(since.max(heard_since).min(now), since);
                let name: String = container.facts.name.chars().take(200).collect();
                let outcome = Outcome {
                    failure: Some(Failure {
                        cause: FailureCause::ContainerStopped,
                        error: format!("its container `{name}` is stopped"),
                    }),
                    response_time_ms: 0,
                    http_status: None,
                    phases: Phases::default(),
                };
                steps.push((*id, step, Some(outcome)));
            } else if !self.schedule.contains(*id) {
                entry.state.released(now, &entry.policy());
                self.schedule.put_now(*id, entry.spec.clone(), Instant::now());
                steps.push((*id, Step::default(), None));
            }
        }
        for (id, step, outcome) in steps {
            self.take(id, step, outcome.as_ref());
        }
        self.abort_unwanted();
    }

    pub(super) fn publish_targets(&self) {
        let of = |id: &i64, entry: &Entry| match &entry.spec.target {
            Target::Http(url) if url.scheme() == "https" => Some(TlsTarget {
                host: url.host_str()?.to_owned(),
                port: url.port_or_known_default()?,
                endpoint_id: *id,
                server_name: entry.spec.server_name(),
            }),
            _ => None,
        };
        let mut targets: Vec<_> =
            self.entries.iter().filter_map(|(id, entry)| of(id, entry)).collect();
        targets.sort();
        self.targets.send_if_modified(|known| {
            let changed = **known != *targets;
            *known = targets.into();
            changed
        });
    }

    pub(super) async fn obey(&mut self, command: Command, now: Timestamp) -> Result<i64, ApiError> {
        let invalid =
            |SpecFault { field, fault }: SpecFault| ApiError::InvalidInput { field, fault };
        let (label_key, said) = match command {
            Command::Create(input) => (uuid::Uuid::new_v4().to_string(), input),
            Command::Update(id, input) => {
                let (label_key, own) = find_own(&self.spine.store, id).await?;
                (label_key, over(own, &input))
            }
            Command::Delete(id) => {
                find_own(&self.spine.store, id).await?;
                self.spine.store.write(move |tx| sql::delete(tx, id)).await?;
                self.end(id, USER_DELETED, now);
                // There is no row left to write to.
                self.unsaved.writes.retain(|write| write.endpoint() != id);
                self.ended.remove(&id);
                self.abort_unwanted();
                self.publish_targets();
                return Ok(id);
            }
        };
        let own = Own::read(&self.defaults, &said).map_err(invalid)?;
        let source = EndpointSource::Standalone;
        let wanted = standing_alone(label_key.clone(), source, own, Some(said));
        let ids = self.declare(vec![wanted], Vec::new(), now).await?;
        let found = || {
            let is_it = |e: &&Entry| e.container_id == 0 && *e.label_key == *label_key;
            self.entries.iter().find(|(_, entry)| is_it(entry)).map(|(id, _)| *id)
        };
        ids.first().copied().or_else(found).ok_or(ApiError::Store(StoreError::Closed))
    }
}

/// The key of a standalone endpoint, and what was said of it.
async fn find_own(store: &Store, id: i64) -> Result<(String, EndpointInput), ApiError> {
    let found = store.read(move |db| sql::find_own(db, id)).await?;
    match found {
        None => Err(not_found(id)),
        Some((EndpointSource::Standalone, label_key, own)) => {
            Ok((label_key, own.unwrap_or_default()))
        }
        Some((source, label_key, _)) => {
            let declared = match source {
                EndpointSource::File => "the file of MAINTENANT_CONFIG".to_owned(),
                _ => format!("the label {label_key}"),
            };
            Err(ApiError::NotPossible {
                status: http::StatusCode::BAD_REQUEST,
                code: "NOT_STANDALONE",
                message: format!("endpoint {id} is declared by {declared}; change it there"),
            })
        }
    }
}

/// While a container is stopped there is nothing to probe. A paused or restarting one is probed: what
/// its users see is what counts.
fn is_probed(state: ContainerState) -> bool {
    match state {
        ContainerState::Running
        | ContainerState::Paused
        | ContainerState::Restarting
        | ContainerState::Unknown => true,
        ContainerState::Created
        | ContainerState::Exited
        | ContainerState::Completed
        | ContainerState::Dead => false,
    }
}

fn of_container(container: &Container, new: labels::Declared) -> (Declaration, Arc<Spec>) {
    let compose = container.facts.labels.compose.as_ref();
    let declaration = Declaration {
        container_id: container.id,
        label_key: new.label_key,
        source: EndpointSource::Label,
        container_name: container.facts.name.clone(),
        external_id: container.external_id.clone(),
        compose_project: compose.map(|compose| compose.project.clone()).unwrap_or_default(),
        compose_service: compose.map(|compose| compose.service.clone()).unwrap_or_default(),
        name: new.name,
        kind: new.kind,
        target: new.target,
        config: new.config,
        own: None,
    };
    (declaration, Arc::new(new.spec))
}

fn standing_alone(
    label_key: String,
    source: EndpointSource,
    own: Own,
    said: Option<EndpointInput>,
) -> (Declaration, Arc<Spec>) {
    let declaration = Declaration {
        container_id: 0,
        label_key,
        source,
        container_name: String::new(),
        external_id: String::new(),
        compose_project: String::new(),
        compose_service: String::new(),
        name: own.name,
        kind: own.kind,
        target: own.target,
        config: own.config,
        own: said,
    };
    (declaration, Arc::new(own.spec))
}
