//! How an endpoint is to be checked, from everything that says something about it.
//!
//! One rule for labels, the file and the REST API, later over earlier:
//!
//! 1. what is built in ([`spec::defaults`]);
//! 2. `[defaults]` of the file of `MAINTENANT_CONFIG`;
//! 3. labels for all endpoints of a container;
//! 4. what is said of the endpoint itself.
//!
//! What is absent or empty leaves the earlier value; a map replaces a map. A time-out longer than the
//! interval is shortened to it, unless the endpoint itself asks for it outside of labels: then it is
//! a fault.

use maintenant_api::endpoints::{Conditions, EndpointConfig, EndpointInput, EndpointType};
use maintenant_serve::settings;

use super::spec::{self, Spec, SpecFault};

const LONGEST_NAME: usize = 200;

/// `base` with what `layer` says.
pub fn over(base: EndpointInput, layer: &EndpointInput) -> EndpointInput {
    let text = |base: Option<String>, layer: &Option<String>| {
        layer.clone().filter(|text| !text.is_empty()).or(base)
    };
    let map = |base, layer: &std::collections::BTreeMap<String, String>| {
        if layer.is_empty() { base } else { layer.clone() }
    };
    let (conditions, more) = (base.conditions, &layer.conditions);
    EndpointInput {
        name: text(base.name, &layer.name),
        target: text(base.target, &layer.target),
        endpoint_type: text(base.endpoint_type, &layer.endpoint_type),
        interval: text(base.interval, &layer.interval),
        timeout: text(base.timeout, &layer.timeout),
        failure_threshold: layer.failure_threshold.or(base.failure_threshold),
        recovery_threshold: layer.recovery_threshold.or(base.recovery_threshold),
        method: text(base.method, &layer.method),
        expected_status: text(base.expected_status, &layer.expected_status),
        tls_verify: layer.tls_verify.or(base.tls_verify),
        headers: layer.headers.clone().or(base.headers),
        max_redirects: layer.max_redirects.or(base.max_redirects),
        conditions: Conditions {
            body_contains: text(conditions.body_contains, &more.body_contains),
            body_matches: text(conditions.body_matches, &more.body_matches),
            header_contains: map(conditions.header_contains, &more.header_contains),
            header_matches: map(conditions.header_matches, &more.header_matches),
            send: text(conditions.send, &more.send),
            expect: text(conditions.expect, &more.expect),
        },
    }
}

/// A layer for many endpoints, without what those of another kind are meant by.
pub fn for_kind(mut layer: EndpointInput, kind: EndpointType) -> EndpointInput {
    match kind {
        EndpointType::Http => {
            layer.conditions.send = None;
            layer.conditions.expect = None;
        }
        EndpointType::Tcp => {
            let Conditions { send, expect, .. } = layer.conditions;
            layer.conditions = Conditions { send, expect, ..Conditions::default() };
        }
    }
    layer
}

/// The configuration that these layers, already laid over each other, come to.
pub fn config(kind: EndpointType, said: EndpointInput) -> EndpointConfig {
    let default = spec::defaults(kind);
    let http = kind == EndpointType::Http;
    EndpointConfig {
        interval: said.interval.unwrap_or(default.interval),
        timeout: said.timeout.unwrap_or(default.timeout),
        failure_threshold: said.failure_threshold.unwrap_or(default.failure_threshold),
        recovery_threshold: said.recovery_threshold.unwrap_or(default.recovery_threshold),
        method: said.method.filter(|_| http).map(|m| m.to_ascii_uppercase()).or(default.method),
        expected_status: said.expected_status.filter(|_| http).or(default.expected_status),
        tls_verify: said.tls_verify.filter(|_| http).unwrap_or(default.tls_verify),
        headers: said.headers.filter(|_| http).unwrap_or_default(),
        max_redirects: said.max_redirects.filter(|_| http).or(default.max_redirects),
        conditions: said.conditions,
    }
}

/// Shortens a time-out to the interval. What cannot be read is left to [`Spec::parse`].
pub fn shorten_timeout(config: &mut EndpointConfig) {
    let read = |text: &str| settings::duration(text).ok();
    if read(&config.timeout).zip(read(&config.interval)).is_some_and(|(t, i)| t > i) {
        config.timeout.clone_from(&config.interval);
    }
}

/// An endpoint of the file or the REST API, checked.
#[derive(Debug, Clone)]
pub struct Own {
    pub name: String,
    pub kind: EndpointType,
    pub target: String,
    pub config: EndpointConfig,
    pub spec: Spec,
}

impl Own {
    /// What `own` says, over `defaults`.
    pub fn read(defaults: &EndpointInput, own: &EndpointInput) -> Result<Self, SpecFault> {
        let said = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
        let name = name(&said(&own.name))?;
        let target = said(&own.target);
        if target.is_empty() {
            let fault = "it is missing; use a URL for http, host:port for tcp".to_owned();
            return Err(SpecFault { field: "target", fault });
        }
        let kind = said(&own.endpoint_type);
        let kind = EndpointType::parse(&kind).ok_or_else(|| {
            let kind: String = kind.chars().take(50).collect();
            SpecFault { field: "endpoint_type", fault: format!("`{kind}` is neither http nor tcp") }
        })?;
        let mut config = config(kind, over(for_kind(defaults.clone(), kind), own));
        if said(&own.timeout).is_empty() {
            shorten_timeout(&mut config);
        }
        let spec = Spec::parse(kind, &target, &config)?;
        Ok(Self { name, kind, target, config, spec })
    }
}

/// A name as shown: one line of 1 to 200 bytes.
pub fn name(text: &str) -> Result<String, SpecFault> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST_NAME || text.chars().any(char::is_control) {
        let fault = format!("it must be one line of 1 to {LONGEST_NAME} bytes");
        return Err(SpecFault { field: "name", fault });
    }
    Ok(text.to_owned())
}

/// The known word nearest to a mistaken one.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> &'a str {
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(word, known), known));
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map_or("", |(_, known)| known)
}
