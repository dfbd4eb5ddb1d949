//! Endpoints declared in the TOML file of `MAINTENANT_CONFIG`.
//!
//! ```toml
//! [defaults]                 # for every endpoint, also those of labels and the REST API
//! interval = "1m"
//!
//! [[endpoint]]
//! name = "shop"              # unique in the file: renaming begins a new history
//! type = "http"              # or tcp
//! target = "https://shop.example/health"
//! expected_status = "200,3xx"
//! headers = { Authorization = "Bearer ..." }
//! ```
//!
//! The options are the fields of [`EndpointInput`]. Nothing that is not understood is passed over.

use std::cell::Cell;
use std::path::Path;

use maintenant_api::endpoints::{EndpointInput, EndpointType};
use maintenant_serve::settings::Faults;
use serde::Deserialize;
use toml::{Table, Value};

use super::options::{Own, config, for_kind, nearest, over, shorten_timeout};
use super::spec::Spec;

const SETTING: &str = "MAINTENANT_CONFIG";
const OPTIONS: [&str; 15] = [
    "interval",
    "timeout",
    "failure_threshold",
    "recovery_threshold",
    "method",
    "expected_status",
    "tls_verify",
    "headers",
    "max_redirects",
    "body_contains",
    "body_matches",
    "header_contains",
    "header_matches",
    "send",
    "expect",
];
const OWN: [&str; 3] = ["name", "type", "target"];
/// Without effect on a TCP check. Conditions are refused by [`Spec::parse`].
const HTTP_ONLY: [&str; 5] =
    ["method", "expected_status", "tls_verify", "headers", "max_redirects"];

/// The whole file.
#[derive(Debug, Clone, Default)]
pub struct Declarations {
    /// `[defaults]`, for the endpoints of all sources.
    pub defaults: EndpointInput,
    pub endpoints: Vec<Own>,
}

/// Reads and checks the whole file; every fault is noted with its place.
pub fn read(path: &Path, faults: &mut Faults) -> Declarations {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, faults),
        Err(error) => {
            faults.add(SETTING, &format!("cannot read {}: {error}", path.display()));
            Declarations::default()
        }
    }
}

fn parse(text: &str, faults: &mut Faults) -> Declarations {
    let file = match text.parse::<Table>() {
        Ok(file) => file,
        Err(error) => {
            // The error's own display would quote the line, which may hold a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            faults.add(SETTING, &format!("line {line} is no TOML: {}", error.message()));
            return Declarations::default();
        }
    };
    let mut read = Declarations::default();
    // What comes later may depend on it.
    if let Some(Value::Table(table)) = file.get("defaults") {
        let at = |fault: String| format!("[defaults]: {fault}");
        read.defaults = input(table, &OPTIONS, &mut |fault| faults.add(SETTING, &at(fault)));
        for kind in [EndpointType::Http, EndpointType::Tcp] {
            if let Err(fault) = try_defaults(kind, &read.defaults) {
                faults.add(SETTING, &at(fault));
            }
        }
    }
    for (key, value) in &file {
        match (key.as_str(), value) {
            ("defaults", Value::Table(_)) => {}
            ("endpoint", Value::Array(tables)) => {
                for (place, value) in tables.iter().enumerate() {
                    let known = &read.endpoints;
                    let place = place + 1;
                    let own = endpoint(place, value, &read.defaults, known, faults);
                    read.endpoints.extend(own);
                }
            }
            _ => {
                let key: String = key.chars().take(100).collect();
                let fault = format!("`{key}` is neither [defaults] nor [[endpoint]]");
                faults.add(SETTING, &fault);
            }
        }
    }
    read
}

/// What would be wrong with any endpoint because of the defaults.
fn try_defaults(kind: EndpointType, defaults: &EndpointInput) -> Result<(), String> {
    let target = if kind == EndpointType::Http { "http://localhost" } else { "localhost:1" };
    let mut config = config(kind, for_kind(defaults.clone(), kind));
    if defaults.timeout.is_none() {
        shorten_timeout(&mut config);
    }
    Spec::parse(kind, target, &config).map(drop).map_err(|fault| fault.to_string())
}

fn endpoint(
    place: usize,
    value: &Value,
    defaults: &EndpointInput,
    known: &[Own],
    faults: &mut Faults,
) -> Option<Own> {
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
    let name: String = name.chars().take(100).collect();
    let failed = Cell::new(false);
    let mut fault = |fault: String| {
        failed.set(true);
        let named = if name.is_empty() { String::new() } else { format!(" (`{name}`)") };
        faults.add(SETTING, &format!("endpoint {place}{named}: {fault}"));
    };
    let Value::Table(table) = value else {
        fault("it is no table; begin it with [[endpoint]]".to_owned());
        return None;
    };
    let keys = [&OWN[..], &OPTIONS].concat();
    let own = input(table, &keys, &mut fault);
    if own.endpoint_type.as_deref() == Some("tcp") {
        for key in HTTP_ONLY.iter().filter(|key| table.contains_key(**key)) {
            fault(format!("{key}: a TCP check has none"));
        }
    }
    match Own::read(defaults, &own) {
        Ok(read) if known.iter().any(|other| other.name == read.name) => {
            fault("another endpoint has this name".to_owned());
            None
        }
        Ok(read) => (!failed.get()).then_some(read),
        // Then the fault may be no more than a consequence.
        Err(_) if failed.get() => None,
        Err(error) => {
            fault(error.to_string().replacen("endpoint_type", "type", 1));
            None
        }
    }
}

/// Key by key, so that each fault is told with its key.
fn input(table: &Table, keys: &[&'static str], fault: &mut dyn FnMut(String)) -> EndpointInput {
    let mut all = EndpointInput::default();
    for (key, value) in table {
        if !keys.contains(&key.as_str()) {
            let nearest = nearest(key, keys.iter().copied());
            let key: String = key.chars().take(100).collect();
            fault(format!("`{key}` is no key of it; `{nearest}` is the nearest"));
            continue;
        }
        if value.as_str() == Some("") {
            fault(format!("{key}: it is empty; remove it, or say what is wanted"));
            continue;
        }
        let field = if key == "type" { "endpoint_type" } else { key };
        let table = Table::from_iter([(field.to_owned(), value.clone())]);
        match EndpointInput::deserialize(table) {
            Ok(input) => all = over(all, &input),
            // Its own words quote the value, which may be a secret.
            Err(_) => fault(format!("{key}: a {} is not accepted here", value.type_str())),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) -> Declarations {
        let mut faults = Faults::default();
        let read = parse(text, &mut faults);
        let told = faults.finish().map_or_else(|error| error.0, |()| Vec::new());
        assert_eq!(told.len(), expected.len(), "{text}: {told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with("MAINTENANT_CONFIG: "), "{told}");
            assert!(told.contains(expected), "{told}, not {expected}");
        }
        read
    }

    const SHOP: &str = "[[endpoint]]\nname='shop'\ntype='http'\ntarget='http://a'\n";

    #[test]
    fn an_endpoint_is_read_with_every_option() {
        let text = "
            [defaults]
            interval = '1m'
            timeout = '20s'
            send = 'PING'
            [[endpoint]]
            name = 'shop'
            type = 'http'
            target = 'https://shop.example'
            timeout = '5s'
            failure_threshold = 1
            recovery_threshold = 4
            method = 'head'
            expected_status = '3xx'
            tls_verify = false
            headers = { Host = 'x' }
            max_redirects = 0
            body_contains = 'a'
            body_matches = 'b'
            header_contains = { c = 'd' }
            header_matches = { e = 'f' }
            [[endpoint]]
            name = 'db'
            type = 'tcp'
            target = 'db:5432'
            expect = '+OK'";
        let read = check(text, &[]);
        let [shop, db] = &read.endpoints[..] else { panic!("{read:?}") };
        let config = serde_json::to_value(&shop.config).unwrap();
        let expected = serde_json::json!({
            "interval": "1m", "timeout": "5s", "failure_threshold": 1, "recovery_threshold": 4,
            "method": "HEAD", "expected_status": "3xx", "tls_verify": false,
            "headers": {"Host": "x"}, "max_redirects": 0, "body_contains": "a",
            "body_matches": "b", "header_contains": {"c": "d"}, "header_matches": {"e": "f"},
        });
        assert_eq!(config, expected);
        assert_eq!((db.config.timeout.as_str(), db.config.interval.as_str()), ("20s", "1m"));
        assert_eq!(db.config.conditions.send.as_deref(), Some("PING"));
        assert_eq!(db.config.conditions.expect.as_deref(), Some("+OK"));
    }

    #[test]
    fn a_time_out_nobody_asked_for_fits_the_interval_and_another_is_a_fault() {
        let read = check(&format!("{SHOP}interval='5s'"), &[]);
        assert_eq!(read.endpoints[0].config.timeout, "5s");
        check(&format!("{SHOP}interval='5s'\ntimeout='6s'"), &["(`shop`): timeout: 6s is longer"]);
        check("[defaults]\ninterval='5s'\ntimeout='6s'", &["[defaults]: timeout", "[defaults]"]);
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        check("x", &["line 1 is no TOML"]);
        check("\n\na = 'secret", &["line 3 is no TOML"]);
        check("[other]", &["`other` is neither"]);
        check("endpoint = 1", &["`endpoint` is neither"]);
        check("endpoint = [1]", &["endpoint 1: it is no table"]);
        check(&format!("{SHOP}interval='1s'"), &["endpoint 1 (`shop`): interval: `1s`"]);
        check(&format!("{SHOP}intervall='1m'"), &["`intervall` is no key of it; `interval`"]);
        check(&format!("{SHOP}interval=5"), &["interval: a integer is not accepted"]);
        check(&format!("{SHOP}method=''"), &["method: it is empty"]);
        check(&format!("{SHOP}{SHOP}"), &["endpoint 2 (`shop`): another endpoint has this name"]);
        check(&format!("{SHOP}a=1\n{SHOP}b=1"), &["endpoint 1", "endpoint 2"]);
        check("[[endpoint]]\nname='a'\ntarget='a:1'", &["type: `` is neither http nor tcp"]);
        check("[[endpoint]]\ntype='tcp'\ntarget='a:1'", &["endpoint 1: name: "]);
        let tcp = "[[endpoint]]\nname='a'\ntype='tcp'\ntarget='a:1'\n";
        check(&format!("{tcp}method='GET'"), &["method: a TCP check has none"]);
        check(&format!("{tcp}body_contains='a'"), &["use send and expect"]);
        check("[defaults]\nname='a'", &["`name` is no key of it"]);
        check("[defaults]\nmethod='BREW'", &["[defaults]: method: `BREW`"]);
    }

    #[test]
    fn a_secret_is_in_no_fault() {
        let mut faults = Faults::default();
        parse("[[endpoint]]\nheaders = 'hunter2'\nx = { a = 'hunter2 }", &mut faults);
        parse("[[endpoint]]\nheaders = { a = ['hunter2'] }", &mut faults);
        let told = faults.finish().unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
