//! What of a container's configuration is dangerous, as an inspection shows it: facts and how grave
//! each is. What to say of them is said in `insights`.
//!
//! It is the configuration that counts, whether the container runs or not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use maintenant_api::insights::InsightSeverity;
use serde::{Deserialize, Serialize};

use super::model::Container;
use crate::docker::{Inspected, InspectedHostConfig};

/// Published ports that are kept of one container, databases first: a range may have thousands.
const MOST_PORTS: usize = 50;
const MOST_CAPABILITIES: usize = 50;

/// Ports of databases, caches and search engines, which trust their network: MSSQL, Oracle, MySQL,
/// PostgreSQL, `CouchDB`, Redis, Neo4j, Cassandra, Elasticsearch, memcached, `MongoDB`, `CockroachDB`.
const DATABASE_PORTS: [u16; 17] = [
    1433, 1521, 3306, 5432, 5984, 6379, 7474, 7687, 9042, 9200, 9300, 11211, 26257, 27017, 27018,
    27019, 33060,
];

/// What every container has unless it is taken away (moby, `oci/caps/defaults.go`): to add one of
/// them back is not dangerous.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// With these, code in the container can reach the host (capabilities(7)).
const DANGEROUS_CAPABILITIES: [&str; 6] =
    ["BPF", "DAC_READ_SEARCH", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO"];

/// Something dangerous.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "risk", rename_all = "snake_case")]
pub enum Risk {
    Privileged,
    /// It may ask an engine for anything.
    EngineSocket,
    HostNetwork,
    /// Published on all interfaces.
    Published {
        /// The container's.
        port: u16,
        protocol: String,
        /// `None`: any free one.
        host_port: Option<u16>,
    },
    /// Added, without `CAP_`.
    Capability {
        name: String,
    },
    /// Its first process is root's.
    Root,
    NoMemoryLimit,
    NoCpuLimit,
}

impl Risk {
    pub fn severity(&self) -> InsightSeverity {
        match self {
            Self::Privileged | Self::EngineSocket => InsightSeverity::Critical,
            Self::Published { .. } if self.is_database() => InsightSeverity::Critical,
            Self::Capability { name } if name == "ALL" => InsightSeverity::Critical,
            Self::HostNetwork => InsightSeverity::High,
            Self::Capability { name } if DANGEROUS_CAPABILITIES.contains(&name.as_str()) => {
                InsightSeverity::High
            }
            Self::Published { .. }
            | Self::Capability { .. }
            | Self::Root
            | Self::NoMemoryLimit
            | Self::NoCpuLimit => InsightSeverity::Medium,
        }
    }

    /// A published port behind which a database usually is.
    pub fn is_database(&self) -> bool {
        matches!(self, Self::Published { port, protocol, .. }
            if protocol == "tcp" && DATABASE_PORTS.contains(port))
    }
}

/// A risk, and when it was first seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noticed {
    #[serde(flatten)]
    pub risk: Risk,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub since: Timestamp,
}

/// All that is dangerous about a container, worst first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Exposure(Vec<Noticed>);

impl Exposure {
    /// What an inspection at `now` shows.
    pub fn of(inspected: &Inspected, now: Timestamp) -> Self {
        let since = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let mut noticed: Vec<Noticed> =
            risks(inspected).into_iter().map(|risk| Noticed { risk, since }).collect();
        // Stable: of one severity, in the order of the risks.
        noticed.sort_by_key(|noticed| std::cmp::Reverse(noticed.risk.severity()));
        Self(noticed)
    }

    /// The same risks, those that were there `before` since then.
    #[must_use]
    pub fn after(&self, before: &Self) -> Self {
        let known = |risk: &Risk| before.0.iter().find(|noticed| noticed.risk == *risk);
        let mut next = self.clone();
        for noticed in &mut next.0 {
            if let Some(before) = known(&noticed.risk) {
                noticed.since = before.since;
            }
        }
        next
    }

    pub fn risks(&self) -> &[Noticed] {
        &self.0
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `None` for what another version wrote and this one cannot read: the next inspection mends it.
    pub fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

impl Container {
    /// What is dangerous about it, worst first; `None` while it was not inspected. Nothing is, about a
    /// container that is ignored or gone.
    pub fn risks(&self) -> Option<&[Noticed]> {
        if self.facts.labels.is_ignored || self.archived_at.is_some() {
            return Some(&[]);
        }
        self.facts.exposure.as_ref().map(Exposure::risks)
    }

    /// How many there are, and how grave the worst is.
    pub fn risk_counts(&self) -> Option<(i64, Option<InsightSeverity>)> {
        let risks = self.risks()?;
        let count = i64::try_from(risks.len()).unwrap_or(i64::MAX);
        Some((count, risks.first().map(|worst| worst.risk.severity())))
    }
}

fn risks(inspected: &Inspected) -> BTreeSet<Risk> {
    let host = &inspected.host_config;
    let has_socket = inspected.mounts.0 || host.mounts.0 || host.binds.0;
    let user = inspected.config.user.split(':').next().unwrap_or_default();
    let has_cpu_limit =
        host.nano_cpus > 0 || host.cpu_quota > 0 || !host.cpuset_cpus.trim().is_empty();
    let found = [
        (Risk::Privileged, host.privileged),
        (Risk::EngineSocket, has_socket),
        (Risk::HostNetwork, host.network_mode == "host"),
        (Risk::Root, matches!(user, "" | "0" | "root")),
        (Risk::NoMemoryLimit, host.memory <= 0),
        (Risk::NoCpuLimit, !has_cpu_limit),
    ];
    let mut risks: BTreeSet<Risk> =
        found.into_iter().filter_map(|(risk, is_so)| is_so.then_some(risk)).collect();
    // A privileged container has them all.
    if !host.privileged {
        risks.extend(capabilities(&host.cap_add));
    }
    // In another's network, or in none, nothing is published.
    if host.has_own_network() && host.network_mode != "none" {
        let mut ports = published(host, &inspected.config.exposed_ports);
        ports.sort_by_key(|port| !port.is_database());
        ports.dedup();
        risks.extend(ports.into_iter().take(MOST_PORTS));
    }
    risks
}

fn capabilities(added: &[String]) -> impl Iterator<Item = Risk> {
    added
        .iter()
        .map(|name| name.trim().to_ascii_uppercase())
        .map(|name| name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name))
        .filter(|name| (1..=32).contains(&name.len()))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        .filter(|name| !DEFAULT_CAPABILITIES.contains(&name.as_str()))
        .take(MOST_CAPABILITIES)
        .map(|name| Risk::Capability { name })
}

fn published<T>(host: &InspectedHostConfig, exposed: &BTreeMap<String, T>) -> Vec<Risk> {
    let bound = host.port_bindings.iter().flat_map(|(port, bindings)| {
        let open = bindings.iter().flatten().filter(|binding| is_all_interfaces(&binding.host_ip));
        open.map(move |binding| (port, binding.host_port.parse().ok().filter(|port| *port != 0)))
    });
    let all = exposed
        .keys()
        .filter(|port| host.publish_all_ports && !host.port_bindings.contains_key(port.as_str()));
    let risk = |(port, host_port): (&String, Option<u16>)| {
        let (port, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let protocol = match protocol {
            known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
            _ => return None,
        };
        Some(Risk::Published { port: port.parse().ok()?, protocol, host_port })
    };
    bound.chain(all.map(|port| (port, None))).filter_map(risk).collect()
}

fn is_all_interfaces(address: &str) -> bool {
    let address = address.trim().trim_start_matches('[').trim_end_matches(']');
    address.is_empty() || address.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified())
}
