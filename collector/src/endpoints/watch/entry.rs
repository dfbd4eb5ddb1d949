//! What is kept in memory of an endpoint, and how it is told of.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use maintenant_api::endpoints::{EndpointSource, EndpointType};
use serde_json::{Value, json};

use crate::endpoints::model::{Policy, State, Told};
use crate::endpoints::probe::Outcome;
use crate::endpoints::spec::Spec;
use crate::endpoints::sql::Declaration;

/// What is kept in memory of a declared endpoint.
pub(super) struct Entry {
    pub(super) container_id: i64,
    pub(super) label_key: Box<str>,
    pub(super) source: EndpointSource,
    pub(super) kind: EndpointType,
    pub(super) target: Box<str>,
    pub(super) container_name: Box<str>,
    /// Of the whole declaration, to notice a change.
    pub(super) fingerprint: u64,
    pub(super) spec: Arc<Spec>,
    pub(super) state: State,
}

impl Entry {
    pub(super) fn new(new: &Declaration, spec: Arc<Spec>, state: State) -> Self {
        Self {
            container_id: new.container_id,
            label_key: new.label_key.as_str().into(),
            source: new.source,
            kind: new.kind,
            target: new.target.as_str().into(),
            container_name: new.container_name.as_str().into(),
            fingerprint: fingerprint(new),
            spec,
            state,
        }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy {
            interval: self.spec.interval,
            timeout: self.spec.timeout,
            failure_threshold: self.spec.failure_threshold,
            recovery_threshold: self.spec.recovery_threshold,
        }
    }

    pub(super) fn event(
        &self,
        id: i64,
        told: Told,
        last: Option<&Outcome>,
    ) -> (&'static str, Value) {
        let (container_name, target, state) = (&self.container_name, &self.target, &self.state);
        let error = last.and_then(|last| last.failure.as_ref()).map(|failure| &*failure.error);
        let error = error.unwrap_or_default();
        match told {
            Told::Status { previous, new } => (
                "endpoint.status_changed",
                json!({
                    "endpoint_id": id,
                    "container_name": container_name,
                    "target": target,
                    "previous_status": previous,
                    "new_status": new,
                    "response_time_ms": last.map_or(0, |last| last.response_time_ms),
                    "http_status": last.and_then(|last| last.http_status),
                    "error": error,
                    "timestamp": state.since,
                }),
            ),
            Told::Alert => (
                "endpoint.alert",
                json!({
                    "endpoint_id": id,
                    "container_name": container_name,
                    "target": target,
                    "consecutive_failures": state.failures,
                    "threshold": self.spec.failure_threshold,
                    "last_error": error,
                    "timestamp": state.last_check_at,
                }),
            ),
            Told::Recovery => (
                "endpoint.recovery",
                json!({
                    "endpoint_id": id,
                    "container_name": container_name,
                    "target": target,
                    "consecutive_successes": state.successes,
                    "threshold": self.spec.recovery_threshold,
                    "timestamp": state.last_check_at,
                }),
            ),
        }
    }
}

/// Equal for equal declarations, within this process.
pub(super) fn fingerprint(declaration: &Declaration) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(declaration).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}
