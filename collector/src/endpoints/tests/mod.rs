//! Facts about this dimension: decisions as tables, tables on real SQLite, routes without sockets.

mod labels;
mod model;
mod routes;
mod rules;
mod scheduling;
mod storing;
pub(super) mod watching;

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::endpoints::{EndpointSource, EndpointType, FailureCause, Phases};

use super::probe::{Failure, Outcome};
use super::spec;
use super::sql::Declaration;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn declaration(label_key: &str) -> Declaration {
    Declaration {
        container_id: 0,
        label_key: label_key.to_owned(),
        source: EndpointSource::Standalone,
        container_name: String::new(),
        external_id: String::new(),
        compose_project: String::new(),
        compose_service: String::new(),
        name: label_key.to_owned(),
        kind: EndpointType::Tcp,
        target: "localhost:1".to_owned(),
        config: spec::defaults(EndpointType::Tcp),
        own: None,
    }
}

pub(super) fn success(first_byte_ms: i64) -> Outcome {
    Outcome {
        failure: None,
        response_time_ms: first_byte_ms + 1,
        http_status: Some(200),
        phases: Phases {
            dns_ms: Some(0),
            connect_ms: Some(1),
            tls_ms: None,
            first_byte_ms: Some(first_byte_ms),
            body_ms: Some(0),
        },
    }
}

pub(super) fn failure(cause: FailureCause, error: &str) -> Outcome {
    Outcome {
        failure: Some(Failure { cause, error: error.to_owned() }),
        response_time_ms: 2,
        http_status: None,
        phases: Phases { dns_ms: Some(2), ..Phases::default() },
    }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
