//! Who asks for a server to be watched: labels of containers, and endpoints that speak TLS.

use std::collections::BTreeMap;

use maintenant_api::certificates::CertificateSource;
use maintenant_serve::logging::foreign;
use url::Host;

use crate::containers::labels::not_read;
use crate::net::TlsTarget;
use crate::net::tls::server_name;
use crate::problems::Fault;

const LABEL: &str = "maintenant.tls.certificates";
const PREFIX: &str = "maintenant.tls.";
/// Servers one label may name.
const MOST_SERVERS: usize = 100;
const ACCEPTED: &str = "name servers as `example.com`, `example.com:8443`, `[::1]:443`";

/// Host, as [`host`] writes it, and port: what a monitor is told apart by.
pub type Server = (String, u16);

/// Who asked for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `label` or `auto`.
    pub source: CertificateSource,
    pub endpoint_id: Option<i64>,
    /// Docker's id of the container.
    pub external_id: String,
    /// The name that the endpoint asks for in place of the host.
    pub server_name: Option<String>,
}

/// A host as it is stored: lower case, international names in their ASCII form, addresses without
/// brackets, no final dot.
pub fn host(given: &str) -> Result<String, String> {
    let fault = || {
        format!("`{}` is no host; use a name such as example.com or an IP address", foreign(given))
    };
    let given = given.trim();
    let text = match given.parse::<std::net::Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => match Host::parse(given.trim_end_matches('.')).map_err(|_| fault())? {
            Host::Domain(name) => name,
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        },
    };
    if server_name(&text).is_some() { Ok(text) } else { Err(fault()) }
}

/// The servers of a label: scheme and path are removed, the port is 443 unless named.
pub fn read_label(value: &str) -> (Vec<Server>, Vec<String>) {
    let (mut servers, mut faults) = (Vec::new(), Vec::new());
    for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match read_server(entry) {
            Ok(server) if servers.contains(&server) => {}
            Ok(_) if servers.len() >= MOST_SERVERS => {
                faults
                    .push(format!("more than {MOST_SERVERS} servers; split them over containers"));
                break;
            }
            Ok(server) => servers.push(server),
            Err(fault) => faults.push(fault),
        }
    }
    if servers.is_empty() && faults.is_empty() {
        faults.push(format!("it is empty; {ACCEPTED}"));
    }
    (servers, faults)
}

fn read_server(entry: &str) -> Result<Server, String> {
    let fault = |what: &str| format!("`{}`: {what}; {ACCEPTED}", foreign(entry));
    let rest = entry.split_once("://").map_or(entry, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Colons of a bare IPv6 address are no port.
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (rest, None),
    };
    let port = match port {
        None => 443,
        Some(port) => port
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| fault("the port is no number from 1 to 65535"))?,
    };
    Ok((host(name).map_err(|_| fault("this is no host"))?, port))
}

/// What a container's labels of this kind say, and what is wrong with them. `dropped` are the keys of
/// those that were too large, or too many, to be kept.
pub fn read_labels(
    labels: &BTreeMap<String, String>,
    dropped: &[String],
) -> (Vec<Server>, Vec<Fault>) {
    let mut servers = Vec::new();
    let dropped = dropped.iter().filter(|key| key.starts_with(PREFIX));
    let mut faults: Vec<_> =
        dropped.map(|key| Fault { label_key: key.clone(), error: not_read() }).collect();
    for (key, value) in labels.range(PREFIX.to_owned()..) {
        if !key.starts_with(PREFIX) {
            break;
        }
        if key == LABEL {
            let (found, wrong) = read_label(value);
            servers = found;
            faults.extend(wrong.into_iter().map(|error| Fault { label_key: key.clone(), error }));
        } else {
            let error = format!("there is no such label; `{LABEL}` is the only one");
            faults.push(Fault { label_key: key.clone(), error });
        }
    }
    (servers, faults)
}

/// Everything that is asked for. A label comes before an endpoint, the first container by name
/// before others, and the endpoint with the lowest id.
pub fn wanted<'a>(
    labels: impl IntoIterator<Item = (&'a str, Vec<Server>)>,
    endpoints: &[TlsTarget],
) -> BTreeMap<Server, Asked> {
    let mut all = BTreeMap::new();
    for (external_id, servers) in labels {
        for server in servers {
            all.entry(server).or_insert_with(|| Asked {
                source: CertificateSource::Label,
                endpoint_id: None,
                external_id: external_id.to_owned(),
                server_name: None,
            });
        }
    }
    let mut endpoints: Vec<_> = endpoints.iter().collect();
    endpoints.sort_by_key(|target| target.endpoint_id);
    for target in endpoints {
        let Ok(name) = host(&target.host) else { continue };
        let server_name = target.server_name.as_deref().and_then(|asked| host(asked).ok());
        let server_name = server_name.filter(|asked| *asked != name);
        all.entry((name, target.port)).or_insert_with(|| Asked {
            source: CertificateSource::Auto,
            endpoint_id: Some(target.endpoint_id),
            external_id: String::new(),
            server_name,
        });
    }
    all
}

/// Whether what is watched is not what is asked for.
pub fn differ(known: &BTreeMap<Server, (i64, Asked)>, wanted: &BTreeMap<Server, Asked>) -> bool {
    let is_own = |asked: &Asked| asked.source == CertificateSource::Standalone;
    let is_met = |(server, asked): (&Server, &Asked)| {
        known.get(server).is_some_and(|(_, known)| is_own(known) || known == asked)
    };
    let is_wanted = |(server, (_, asked)): (&Server, &(i64, Asked))| {
        is_own(asked) || wanted.contains_key(server)
    };
    !wanted.iter().all(is_met) || !known.iter().all(is_wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, servers: &[(&str, u16)], faults: &[&str]) {
        let (found, wrong) = read_label(value);
        let found: Vec<_> = found.iter().map(|(host, port)| (host.as_str(), *port)).collect();
        assert_eq!(found, servers, "{value}");
        assert_eq!(wrong.len(), faults.len(), "{value}: {wrong:?}");
        for (fault, says) in wrong.iter().zip(faults) {
            assert!(fault.contains(says), "{value}: {fault}");
        }
    }

    #[test]
    fn a_label_lists_servers() {
        check("example.com", &[("example.com", 443)], &[]);
        check(" Example.COM. , b.test:8443,", &[("example.com", 443), ("b.test", 8443)], &[]);
        check("https://example.com/path?x=1", &[("example.com", 443)], &[]);
        check("https://example.com:8443/a:b", &[("example.com", 8443)], &[]);
        check("[::1]:8443, [::1], ::1", &[("::1", 8443), ("::1", 443)], &[]);
        check("192.0.2.1:993", &[("192.0.2.1", 993)], &[]);
        check("my_service:443", &[("my_service", 443)], &[]);
        check("bücher.example", &[("xn--bcher-kva.example", 443)], &[]);
        check("a.test,A.test:443,a.test.", &[("a.test", 443)], &[]);
    }

    #[test]
    fn a_bad_entry_is_named_and_does_not_hide_the_others() {
        check("a.test:0,b.test", &[("b.test", 443)], &["`a.test:0`: the port"]);
        check("a.test:99999", &[], &["65535"]);
        check("a.test:https", &[], &["the port"]);
        check("a b, ,*.c.test", &[], &["`a b`: this is no host", "`*.c.test`: this is no host"]);
        check("https://", &[], &["this is no host"]);
        check("[::1", &[], &["this is no host"]);
        check("", &[], &["it is empty"]);
        let many: Vec<_> = (0..200).map(|number| format!("h{number}")).collect();
        assert_eq!(read_label(&many.join(",")).0.len(), MOST_SERVERS);
        assert_eq!(read_label(&many.join(",")).1.len(), 1);
    }

    #[test]
    fn an_unknown_label_is_a_fault() {
        let labels = ["maintenant.endpoint.http", "maintenant.tls.certificate", LABEL];
        let labels = labels.map(|key| (key.to_owned(), "a.test".to_owned())).into();
        let too_large = ["maintenant.tls.large", "maintenant.endpoint.0.http"];
        let (servers, faults) = read_labels(&labels, &too_large.map(str::to_owned));
        assert_eq!(servers, [("a.test".to_owned(), 443)]);
        let faults: Vec<_> = faults.iter().map(|fault| fault.label_key.as_str()).collect();
        assert_eq!(faults, ["maintenant.tls.large", "maintenant.tls.certificate"]);
    }

    #[test]
    fn a_label_comes_before_an_endpoint() {
        let server = |host: &str| (host.to_owned(), 443);
        let target = |host: &str, endpoint_id| TlsTarget {
            host: host.into(),
            port: 443,
            endpoint_id,
            server_name: (endpoint_id == 4).then(|| "Shop.test".to_owned()),
        };
        let labels = [("one", vec![server("a.test")]), ("two", vec![server("a.test")])];
        let endpoints =
            [target("A.test", 3), target("b.test", 9), target("[::1]", 5), target("b.test", 4)];
        let all = wanted(labels, &endpoints);
        let told: Vec<_> = all
            .iter()
            .map(|((host, _), asked)| {
                (host.as_str(), asked.external_id.as_str(), asked.endpoint_id)
            })
            .collect();
        assert_eq!(told, [("::1", "", Some(5)), ("a.test", "one", None), ("b.test", "", Some(4))]);
        let names: Vec<_> = all.values().map(|asked| asked.server_name.as_deref()).collect();
        assert_eq!(names, [None, None, Some("shop.test")]);
    }
}
