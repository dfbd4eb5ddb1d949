//! What to say of what is dangerous: pure.

use maintenant_api::insights::{ContainerInsights, Insight, InsightList, InsightSummary};
use serde_json::{Map, Value, json};

use crate::containers::exposure::{Noticed, Risk};
use crate::containers::model::Container;
use crate::wording::details;

/// What is said of a risk.
struct Words {
    kind: &'static str,
    title: String,
    description: String,
    remedy: String,
    details: Map<String, Value>,
}

/// What is dangerous about one container.
pub fn of_container(container: &Container) -> ContainerInsights {
    let risks = container.risks();
    let scanned = risks.is_some();
    let insights: Vec<Insight> =
        risks.unwrap_or_default().iter().map(|noticed| insight(container, noticed)).collect();
    ContainerInsights {
        container_id: container.id,
        container_name: container.facts.name.clone(),
        highest_severity: insights.iter().map(|insight| insight.severity).max(),
        count: whole(insights.len()),
        insights,
        scanned,
    }
}

/// What is dangerous about all of them, worst first, and how much that is.
pub fn of_all<'a>(containers: impl Iterator<Item = &'a Container>) -> InsightList {
    let mut list = InsightList::default();
    for container in containers.filter(|container| !container.facts.labels.is_ignored) {
        let of_one = of_container(container);
        let summary: &mut InsightSummary = &mut list.summary;
        summary.total_containers_monitored += 1;
        summary.total_containers_unknown += i64::from(!of_one.scanned);
        summary.total_containers_affected += i64::from(of_one.count > 0);
        summary.total_insights += of_one.count;
        for insight in &of_one.insights {
            *summary.by_severity.entry(insight.severity.as_str().to_owned()).or_default() += 1;
            *summary.by_type.entry(insight.kind.clone()).or_default() += 1;
        }
        if of_one.count > 0 {
            list.containers.push(of_one);
        }
    }
    // Stable: of one severity, in the order of the names.
    list.containers.sort_by_key(|of_one| std::cmp::Reverse(of_one.highest_severity));
    list
}

fn insight(container: &Container, Noticed { risk, since }: &Noticed) -> Insight {
    let Words { kind, title, description, remedy, details } = words(risk);
    Insight {
        kind: kind.to_owned(),
        severity: risk.severity(),
        container_id: container.id,
        container_name: container.facts.name.clone(),
        title,
        description,
        remedy,
        details,
        detected_at: *since,
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A risk in a few words, as part of a sentence about its container.
pub fn in_short(risk: &Risk) -> String {
    match risk {
        Risk::Privileged => "is privileged".to_owned(),
        Risk::EngineSocket => "has an engine's socket mounted".to_owned(),
        Risk::HostNetwork => "uses the host's network".to_owned(),
        Risk::Published { port, protocol, .. } if risk.is_database() => {
            format!("publishes database port {port}/{protocol} on all interfaces")
        }
        Risk::Published { port, protocol, .. } => {
            format!("publishes port {port}/{protocol} on all interfaces")
        }
        Risk::Capability { name } => format!("has capability {name} added"),
        Risk::Root => "starts as root".to_owned(),
        Risk::NoMemoryLimit => "has no memory limit".to_owned(),
        Risk::NoCpuLimit => "has no CPU limit".to_owned(),
    }
}

fn words(risk: &Risk) -> Words {
    let plain = |kind, title: &str, description: &str, remedy: &str| Words {
        kind,
        title: title.to_owned(),
        description: description.to_owned(),
        remedy: remedy.to_owned(),
        details: Map::new(),
    };
    match risk {
        Risk::Privileged => plain(
            "privileged_container",
            "Privileged",
            "It has every capability and every device of the host and no confinement: whoever gets \
             into the container has the host.",
            "Take `privileged` away; add only the capabilities (`cap_add`) and devices (`devices`) \
             that it needs.",
        ),
        Risk::EngineSocket => plain(
            "docker_socket_mounted",
            "Docker socket mounted",
            "Whoever can open an engine's socket can start a container with all of the host in it. \
             Mounting it read-only changes nothing about that.",
            "Take the mount away, or put a proxy in between that lets only the calls pass that it \
             needs.",
        ),
        Risk::HostNetwork => plain(
            "host_network_mode",
            "Host network",
            "It listens on the host's own addresses and reaches all that listens on the host's \
             loopback, past every network of containers.",
            "Take `network_mode: host` away; use a network of its own and publish the ports that it \
             needs.",
        ),
        Risk::Published { port, protocol, host_port } => {
            published(risk, *port, protocol, *host_port)
        }
        Risk::Capability { name } => capability(risk, name),
        Risk::Root => plain(
            "root_user",
            "Starts as root",
            "Its first process is root's. It may give that up later, which cannot be seen here; one \
             that does not has root's rights to all that is mounted, and on the host after a way out.",
            "Set `user:` in Compose, or `USER` in the image, to one that is not root.",
        ),
        Risk::NoMemoryLimit => plain(
            "no_memory_limit",
            "No memory limit",
            "It can use up the host's memory, and the kernel then may end other processes for it.",
            "Set `mem_limit` (`docker run --memory`), such as `512m`, above what it is seen to use.",
        ),
        Risk::NoCpuLimit => plain(
            "no_cpu_limit",
            "No CPU limit",
            "It can use all cores and slow down all else on the host.",
            "Set `cpus` (`docker run --cpus`), such as `1.5`.",
        ),
    }
}

fn published(risk: &Risk, port: u16, protocol: &str, host_port: Option<u16>) -> Words {
    let of_host = host_port.map_or_else(|| "a free port".to_owned(), |port| format!("port {port}"));
    let example = host_port.map(|port| port.to_string()).unwrap_or_default();
    let suffix = if protocol == "tcp" { String::new() } else { format!("/{protocol}") };
    let is_database = risk.is_database();
    let (kind, what, why) = if is_database {
        let why = "such ports are searched for, and many databases trust whoever can connect";
        ("database_port_exposed", "Database port", why)
    } else {
        let why = "a firewall of the host such as ufw does not see it";
        ("port_exposed_all_interfaces", "Port", why)
    };
    let inside = "or, for other containers alone, publish nothing and share a network with them";
    let otherwise = if is_database { format!("; {inside}") } else { String::new() };
    Words {
        kind,
        title: format!("{what} {port}/{protocol} on all interfaces"),
        description: format!(
            "It is published as {of_host} on all addresses of the host, so that whoever reaches the \
             host reaches it: {why}."
        ),
        remedy: format!(
            "Publish it on one address, as `127.0.0.1:{example}:{port}{suffix}`, if only the host or \
             a reverse proxy on it needs it{otherwise}."
        ),
        details: details([
            ("port", json!(port)),
            ("protocol", json!(protocol)),
            ("host_port", json!(host_port)),
        ]),
    }
}

fn capability(risk: &Risk, name: &str) -> Words {
    use maintenant_api::insights::InsightSeverity::{Critical, High, Medium};
    let description = match risk.severity() {
        Critical => {
            "It has every capability: that is nearly as much as being privileged.".to_owned()
        }
        High => format!("With {name}, code in the container can find a way to the host."),
        Medium => format!("{name} is more than containers have by default."),
    };
    Words {
        kind: "capability_added",
        title: format!("Capability {name} added"),
        description,
        remedy: format!(
            "Take `{name}` out of `cap_add` unless it cannot work without; name single ones in place \
             of `ALL`."
        ),
        details: details([("capability", json!(name))]),
    }
}
