//! Endpoints that a container's labels declare.
//!
//! `maintenant.endpoint.http` and `.tcp` declare one each, `maintenant.endpoint.<n>.http` and `.tcp`
//! more; a label without a number stands for number 0 and wins over it. Options are
//! `maintenant.endpoint.<option>` for all of them and `maintenant.endpoint.<n>.<option>` for one.
//!
//! An option that is not understood is a fault of that label, and the endpoints it is meant for are
//! not declared: probing them otherwise than asked would be a lie.

use std::collections::{BTreeMap, BTreeSet};

use maintenant_api::endpoints::{EndpointConfig, EndpointInput, EndpointType};

use super::options::{config, for_kind, name, nearest, over, shorten_timeout};
use super::spec::Spec;
use crate::containers::labels::not_read;
use crate::problems::Fault;

pub const PREFIX: &str = "maintenant.endpoint.";
/// More endpoints of one container are a fault.
const MOST_ENDPOINTS: usize = 32;

/// An endpoint as labels declare it.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The label with the target.
    pub label_key: String,
    pub kind: EndpointType,
    pub target: String,
    /// Empty when no label says it.
    pub name: String,
    pub config: EndpointConfig,
    pub spec: Spec,
}

/// One option: its label, the field of [`EndpointInput`] it sets, and whom it is for.
struct Known {
    label: &'static str,
    field: &'static str,
    kind: Option<EndpointType>,
    set: fn(&mut EndpointInput, &str) -> Result<(), String>,
}

const HTTP: Option<EndpointType> = Some(EndpointType::Http);
const TCP: Option<EndpointType> = Some(EndpointType::Tcp);

macro_rules! option {
    ($label:literal, $field:literal, $kind:expr, $set:expr) => {
        Known { label: $label, field: $field, kind: $kind, set: $set }
    };
}

const OPTIONS: [Known; 16] = [
    option!("name", "name", None, |to, text| {
        to.name = Some(name(text).map_err(|fault| fault.fault)?);
        Ok(())
    }),
    option!("interval", "interval", None, |to, text| put(&mut to.interval, text)),
    option!("timeout", "timeout", None, |to, text| put(&mut to.timeout, text)),
    option!("failure-threshold", "failure_threshold", None, |to, text| {
        number(&mut to.failure_threshold, text)
    }),
    option!("recovery-threshold", "recovery_threshold", None, |to, text| {
        number(&mut to.recovery_threshold, text)
    }),
    option!("http.method", "method", HTTP, |to, text| put(&mut to.method, text)),
    option!("http.expected-status", "expected_status", HTTP, |to, text| {
        put(&mut to.expected_status, text)
    }),
    option!("http.tls-verify", "tls_verify", HTTP, |to, text| {
        to.tls_verify = Some(match text.to_ascii_lowercase().as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(format!("`{}` is neither true nor false", shown(text))),
        });
        Ok(())
    }),
    option!("http.headers", "headers", HTTP, |to, text| {
        to.headers = Some(map(text)?);
        Ok(())
    }),
    option!("http.max-redirects", "max_redirects", HTTP, |to, text| {
        number(&mut to.max_redirects, text)
    }),
    option!("http.body-contains", "body_contains", HTTP, |to, text| {
        put(&mut to.conditions.body_contains, text)
    }),
    option!("http.body-matches", "body_matches", HTTP, |to, text| {
        put(&mut to.conditions.body_matches, text)
    }),
    option!("http.header-contains", "header_contains", HTTP, |to, text| {
        to.conditions.header_contains = map(text)?;
        Ok(())
    }),
    option!("http.header-matches", "header_matches", HTTP, |to, text| {
        to.conditions.header_matches = map(text)?;
        Ok(())
    }),
    option!("tcp.send", "send", TCP, |to, text| put(&mut to.conditions.send, text)),
    option!("tcp.expect", "expect", TCP, |to, text| put(&mut to.conditions.expect, text)),
];

#[expect(clippy::unnecessary_wraps, reason = "one of several ways to set an option")]
fn put(to: &mut Option<String>, text: &str) -> Result<(), String> {
    *to = Some(text.to_owned());
    Ok(())
}

fn number(to: &mut Option<i64>, text: &str) -> Result<(), String> {
    let number = text.parse().map_err(|_| format!("`{}` is no whole number", shown(text)))?;
    *to = Some(number);
    Ok(())
}

/// `{"name":"value"}`, or `name=value,name=value`. Values may be secrets: a fault shows none.
fn map(text: &str) -> Result<BTreeMap<String, String>, String> {
    let fault = || "use a JSON object of texts, or name=value,name=value".to_owned();
    if text.starts_with('{') {
        return serde_json::from_str(text).map_err(|_| fault());
    }
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').ok_or_else(fault)?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() { Err(fault()) } else { Ok((name.to_owned(), value.to_owned())) }
    };
    text.split(',').map(pair).collect()
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

/// What labels said, sorted by whom it is for.
#[derive(Default)]
struct Said<'a> {
    /// By number, then by kind: the label and the target.
    targets: BTreeMap<(u32, &'static str), (&'a str, &'a str)>,
    /// By number, `None` for all: each option with its label and value.
    options: BTreeMap<Option<u32>, Vec<(&'static Known, &'a str, &'a str)>>,
    /// Numbers with an option that is not known; `None`: all of them.
    spoiled: BTreeSet<Option<u32>>,
}

/// The options, without their prefix.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|known| known.label)
}

/// What the labels of a container declare, and every label that has no effect because of a fault.
/// `dropped` are the keys of those that were too large, or too many, to be kept.
pub fn read(
    labels: &BTreeMap<String, String>,
    dropped: &[String],
    defaults: &EndpointInput,
) -> (Vec<Declared>, Vec<Fault>) {
    let mut faults = Faults::default();
    let said = sort(labels, dropped, &mut faults);
    let mut declared = Vec::new();
    for ((number, kind), (label_key, target)) in said.targets.iter().take(MOST_ENDPOINTS) {
        let kind = if *kind == "http" { EndpointType::Http } else { EndpointType::Tcp };
        let spoiled = said.spoiled.contains(&None) || said.spoiled.contains(&Some(*number));
        let endpoint = endpoint(&said, (*number, kind), (label_key, target), defaults, &mut faults);
        declared.extend(endpoint.filter(|_| !spoiled));
    }
    for (label_key, _) in said.targets.values().skip(MOST_ENDPOINTS) {
        faults
            .add(label_key, format!("a container may declare {MOST_ENDPOINTS} endpoints at most"));
    }
    for (number, options) in &said.options {
        for (known, label_key, _) in options {
            let is_meant = |(of, kind): &(u32, &str)| {
                number.is_none_or(|number| number == *of)
                    && known.kind.is_none_or(|wanted| wanted.as_str() == *kind)
            };
            if !said.targets.keys().any(is_meant) {
                let number = number.map(|number| format!("{number}.")).unwrap_or_default();
                let kind = known.kind.map_or("http or .tcp", EndpointType::as_str);
                let fault = format!(
                    "there is no endpoint it is meant for; declare one with {PREFIX}{number}{kind}"
                );
                faults.add(label_key, fault);
            }
        }
    }
    (declared, faults.0)
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, label_key: &str, error: String) {
        let fault = Fault { label_key: label_key.to_owned(), error };
        if !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }
}

/// The number, if there is one, and the option; or what should be a number.
fn split(rest: &str) -> Result<(Option<u32>, &str), &str> {
    match rest.split_once('.') {
        Some((digits, option)) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
            let number = digits.parse::<u32>().ok().filter(|n| n.to_string() == digits);
            number.map(|number| (Some(number), option)).ok_or(digits)
        }
        _ => Ok((None, rest)),
    }
}

fn sort<'a>(
    labels: &'a BTreeMap<String, String>,
    dropped: &[String],
    faults: &mut Faults,
) -> Said<'a> {
    let mut said = Said::default();
    for (key, rest) in dropped.iter().filter_map(|key| Some((key, key.strip_prefix(PREFIX)?))) {
        faults.add(key, not_read());
        said.spoiled.extend(split(rest).ok().map(|(number, option)| {
            // A target without a number is that of number 0.
            number.or(EndpointType::parse(option).map(|_| 0))
        }));
    }
    let ours =
        labels.iter().filter_map(|(key, value)| Some((key, key.strip_prefix(PREFIX)?, value)));
    for (key, rest, value) in ours {
        let value = value.trim();
        let (number, option) = match split(rest) {
            Ok(split) => split,
            Err(digits) => {
                let digits = shown(digits);
                faults.add(key, format!("`{digits}` is no number; count 0, 1, 2, ..."));
                continue;
            }
        };
        if let Some(kind) = EndpointType::parse(option) {
            let place = (number.unwrap_or(0), kind.as_str());
            // Without a number it wins.
            if number != Some(0) || !labels.contains_key(&format!("{PREFIX}{}", kind.as_str())) {
                said.targets.insert(place, (key, value));
            }
        } else if let Some(known) = OPTIONS.iter().find(|known| known.label == option) {
            said.options.entry(number).or_default().push((known, key, value));
        } else {
            let all = OPTIONS.iter().map(|known| known.label).chain(["http", "tcp"]);
            let nearest = nearest(option, all);
            let fault = format!("`{}` is no option; `{nearest}` is the nearest", shown(option));
            faults.add(key, fault);
            said.spoiled.insert(number);
        }
    }
    said
}

/// One endpoint, or faults.
fn endpoint(
    said: &Said<'_>,
    (number, kind): (u32, EndpointType),
    (label_key, target): (&str, &str),
    defaults: &EndpointInput,
    faults: &mut Faults,
) -> Option<Declared> {
    let before = faults.0.len();
    let mut failed = false;
    // In the order in which one is laid over another.
    let mut options: Vec<_> = [None, Some(number)]
        .into_iter()
        .filter_map(|of| said.options.get(&of))
        .flatten()
        .filter(|(known, ..)| known.kind.is_none_or(|of| of == kind))
        .copied()
        .collect();
    loop {
        let mut labels = EndpointInput::default();
        options.retain(|(known, key, value)| {
            let set = if value.is_empty() {
                Err("it is empty; remove it, or say what is wanted".to_owned())
            } else {
                (known.set)(&mut labels, value)
            };
            if let Err(fault) = &set {
                faults.add(key, fault.clone());
                failed = true;
            }
            set.is_ok()
        });
        let mut config = config(kind, over(for_kind(defaults.clone(), kind), &labels));
        shorten_timeout(&mut config);
        match Spec::parse(kind, target, &config) {
            Ok(_) if failed || faults.0.len() > before => return None,
            Ok(spec) => {
                let name = labels.name.unwrap_or_default();
                let (label_key, target) = (label_key.to_owned(), target.to_owned());
                return Some(Declared { label_key, kind, target, name, config, spec });
            }
            Err(fault) => {
                failed = true;
                // The label that had the last word on this field; the next round looks for more.
                let place = options.iter().rposition(|(known, ..)| known.field == fault.field);
                let Some((_, key, _)) = place.map(|place| options.remove(place)) else {
                    faults.add(label_key, fault.fault);
                    return None;
                };
                faults.add(key, fault.fault);
            }
        }
    }
}
