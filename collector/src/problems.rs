//! Labels that could not be read, by container: written by whoever reads labels, served with the
//! container and at `/api/v1/problems`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use maintenant_api::monitors::ConfigProblem;
use maintenant_serve::logging::foreign;
use serde_json::json;

use crate::http::events::EventBus;

/// The board; clones share it.
#[derive(Debug, Clone)]
pub struct Problems {
    board: Arc<Mutex<Board>>,
    events: EventBus,
}

/// By the dimension that reads the labels, then by container.
type Board = BTreeMap<(&'static str, i64), Vec<ConfigProblem>>;

/// One label that cannot be read: its key, and what is wrong and accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub label_key: String,
    pub error: String,
}

impl Problems {
    pub fn new(events: EventBus) -> Self {
        Self { board: Arc::default(), events }
    }

    /// What `dimension` finds wrong with a container's labels now; an empty list clears it. Faults
    /// not known before are told as `endpoint.config_error`.
    pub fn set(
        &self,
        dimension: &'static str,
        (container_id, container_name): (i64, &str),
        faults: Vec<Fault>,
        now: Timestamp,
    ) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let before = board.remove(&(dimension, container_id)).unwrap_or_default();
        let mut problems = Vec::new();
        for Fault { label_key, error } in faults {
            let known = before
                .iter()
                .find(|problem| problem.label_key == label_key && problem.error == error);
            let since = known.map_or(now, |problem| problem.since);
            if known.is_none() {
                tracing::warn!(
                    "container `{}`: label {}: {error}",
                    foreign(container_name),
                    foreign(&label_key)
                );
                let data = json!({
                    "endpoint_id": null,
                    "container_name": container_name,
                    "label_key": label_key,
                    "error": error,
                    "timestamp": now,
                });
                self.events.publish("endpoint.config_error", &data);
            }
            let container_name = container_name.to_owned();
            problems.push(ConfigProblem { container_id, container_name, label_key, error, since });
        }
        if !problems.is_empty() {
            board.insert((dimension, container_id), problems);
        }
    }

    /// Forgets the containers of `dimension` that are not among these.
    pub fn retain(&self, dimension: &'static str, is_present: impl Fn(i64) -> bool) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.retain(|(of, container_id), _| *of != dimension || is_present(*container_id));
    }

    pub fn list(&self) -> Vec<ConfigProblem> {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.values().flatten().cloned().collect()
    }

    pub fn of(&self, container_id: i64) -> Vec<ConfigProblem> {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = board.iter().filter(|((_, id), _)| *id == container_id);
        of_it.flat_map(|(_, problems)| problems).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_once_and_goes_when_it_is_mended() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let events = EventBus::new(at(0));
        let mut told = events.subscribe(None).receiver;
        let problems = Problems::new(events);
        let fault = |key: &str| Fault { label_key: key.to_owned(), error: "no duration".into() };
        problems.set("endpoints", (7, "web"), vec![fault("a")], at(1));
        problems.set("endpoints", (7, "web"), vec![fault("a"), fault("b")], at(2));
        let since: Vec<_> = problems.of(7).iter().map(|problem| problem.since).collect();
        assert_eq!(since, [at(1), at(2)]);
        assert_eq!(told.try_recv().unwrap().name, "endpoint.config_error");
        assert!(told.try_recv().unwrap().data.contains(r#""label_key":"b""#));
        assert!(told.try_recv().is_err());
        problems.set("endpoints", (7, "web"), Vec::new(), at(3));
        assert_eq!(problems.list(), []);
        problems.set("endpoints", (8, "db"), vec![fault("a")], at(4));
        problems.retain("certificates", |_| false);
        assert_eq!(problems.list().len(), 1);
        problems.retain("endpoints", |id| id != 8);
        assert_eq!(problems.list(), []);
    }
}
