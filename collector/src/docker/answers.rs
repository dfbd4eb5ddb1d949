//! What the engine answers, as far as anybody here reads it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use maintenant_api::containers::Health;
use maintenant_api::wire::null_as_default;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A container in `GET /containers/json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Listed {
    pub id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub names: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    #[serde(deserialize_with = "null_as_default")]
    pub state: String,
    /// `Exited (137) 3 minutes ago`, `Up 2 hours (unhealthy)`
    #[serde(deserialize_with = "null_as_default")]
    pub status: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
}

/// A container in `GET /containers/{id}/json`. Environment and command are not read: they hold secrets
/// that must not get any further. Of mounts one answer is kept, see [`EngineSocket`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Inspected {
    pub id: String,
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub created: String,
    /// Id of its image.
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    #[serde(deserialize_with = "null_as_default")]
    pub restart_count: i64,
    #[serde(deserialize_with = "null_as_default")]
    pub state: InspectedState,
    #[serde(deserialize_with = "null_as_default")]
    pub config: InspectedConfig,
    #[serde(deserialize_with = "null_as_default")]
    pub host_config: InspectedHostConfig,
    #[serde(deserialize_with = "null_as_default")]
    pub mounts: EngineSocket,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedState {
    #[serde(deserialize_with = "null_as_default")]
    pub status: String,
    #[serde(deserialize_with = "null_as_default")]
    pub running: bool,
    #[serde(rename = "OOMKilled", deserialize_with = "null_as_default")]
    pub oom_killed: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub exit_code: i64,
    /// Of its main process, in the engine's own namespace; 0 while it does not run.
    #[serde(deserialize_with = "null_as_default")]
    pub pid: i64,
    #[serde(deserialize_with = "null_as_default")]
    pub error: String,
    #[serde(deserialize_with = "null_as_default")]
    pub started_at: String,
    #[serde(deserialize_with = "null_as_default")]
    pub finished_at: String,
    #[serde(deserialize_with = "null_as_default")]
    pub health: InspectedHealth,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedHealth {
    #[serde(deserialize_with = "null_as_default")]
    pub status: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedConfig {
    #[serde(deserialize_with = "null_as_default")]
    pub image: String,
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    pub stop_signal: String,
    #[serde(deserialize_with = "null_as_default")]
    pub healthcheck: InspectedHealthcheck,
    /// `name`, `uid`, either with `:group`; empty is root.
    #[serde(deserialize_with = "null_as_default")]
    pub user: String,
    /// By port, as `5432/tcp`.
    #[serde(deserialize_with = "null_as_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedHealthcheck {
    #[serde(deserialize_with = "null_as_default")]
    pub test: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedHostConfig {
    #[serde(deserialize_with = "null_as_default")]
    pub restart_policy: InspectedRestartPolicy,
    /// `host`, `none`, `container:<id>`, or the name of a network.
    #[serde(deserialize_with = "null_as_default")]
    pub network_mode: String,
    /// Limit in bytes; 0 without one.
    #[serde(deserialize_with = "null_as_default")]
    pub memory: i64,
    /// Limit in billionths of a core, as `--cpus` sets it; 0 without one.
    #[serde(deserialize_with = "null_as_default")]
    pub nano_cpus: i64,
    /// Microseconds in each period; 0 or less without a limit.
    #[serde(deserialize_with = "null_as_default")]
    pub cpu_quota: i64,
    #[serde(deserialize_with = "null_as_default")]
    pub cpu_period: i64,
    /// The cores it may use, such as `0-2`; empty for all.
    #[serde(deserialize_with = "null_as_default")]
    pub cpuset_cpus: String,
    #[serde(deserialize_with = "null_as_default")]
    pub privileged: bool,
    /// `--rm`: it is removed as soon as it stops.
    #[serde(deserialize_with = "null_as_default")]
    pub auto_remove: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub cap_add: Vec<String>,
    /// By the container's port, as `5432/tcp`.
    #[serde(deserialize_with = "null_as_default")]
    pub port_bindings: BTreeMap<String, Option<Vec<InspectedPortBinding>>>,
    /// All exposed ports, on all interfaces.
    #[serde(deserialize_with = "null_as_default")]
    pub publish_all_ports: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub binds: EngineSocket,
    #[serde(deserialize_with = "null_as_default")]
    pub mounts: EngineSocket,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedPortBinding {
    /// Empty for all interfaces.
    #[serde(deserialize_with = "null_as_default")]
    pub host_ip: String,
    /// Empty for any free one.
    #[serde(deserialize_with = "null_as_default")]
    pub host_port: String,
}

/// Whether the socket of an engine is among what is mounted. Nothing else of mounts is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineSocket(pub bool);

impl<'de> Deserialize<'de> for EngineSocket {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Mounted {
            /// `source:target`, with or without `:options`
            Bind(String),
            Mount {
                #[serde(rename = "Source")]
                source: String,
            },
            Other(IgnoredAny),
        }
        let mounted = Vec::<Mounted>::deserialize(deserializer)?;
        Ok(Self(mounted.iter().any(|mounted| match mounted {
            Mounted::Bind(bind) => is_engine_socket(bind.split(':').next().unwrap_or_default()),
            Mounted::Mount { source } => is_engine_socket(source),
            Mounted::Other(_) => false,
        })))
    }
}

/// By the names that engines give it, or a folder in which it is: all of the host too, as `/`.
fn is_engine_socket(source: &str) -> bool {
    let path = source.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or_default();
    if matches!(name, "docker.sock" | "podman.sock" | "containerd.sock" | "crio.sock") {
        return true;
    }
    let Some(folder) = path.strip_prefix("/var/run").or_else(|| path.strip_prefix("/run")) else {
        return path.is_empty() && !source.is_empty();
    };
    // Rootless engines have theirs in the folder of their user.
    let of_user = folder.strip_prefix("/user/").unwrap_or_default();
    let of_user = of_user.strip_suffix("/podman").unwrap_or(of_user);
    matches!(folder, "" | "/podman" | "/containerd" | "/crio" | "/user")
        || !of_user.is_empty() && of_user.bytes().all(|digit| digit.is_ascii_digit())
}

impl InspectedHostConfig {
    /// Id of the container whose network it shares.
    pub fn network_of(&self) -> Option<&str> {
        self.network_mode.strip_prefix("container:")
    }

    pub fn has_own_network(&self) -> bool {
        self.network_mode != "host" && self.network_of().is_none()
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectedRestartPolicy {
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(deserialize_with = "null_as_default")]
    pub maximum_retry_count: i64,
}

/// An image in `GET /images/{id}/json`. Its configuration is not read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Image {
    /// `repository@digest`, for every repository that it was pulled from or pushed to.
    #[serde(deserialize_with = "null_as_default")]
    pub repo_digests: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub os: String,
    #[serde(deserialize_with = "null_as_default")]
    pub architecture: String,
    #[serde(deserialize_with = "null_as_default")]
    pub variant: String,
}

/// What a container has used since its start: `GET /containers/{id}/stats`. What an engine does not
/// know is missing, `null` or an empty list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// When it was read; the year 1 of a container that does not run.
    #[serde(deserialize_with = "null_as_default")]
    pub read: String,
    pub cpu_stats: Option<CpuStats>,
    pub memory_stats: Option<MemoryStats>,
    /// By interface.
    pub networks: Option<BTreeMap<String, NetworkStats>>,
    pub blkio_stats: Option<BlockStats>,
    pub pids_stats: Option<PidsStats>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    pub cpu_usage: Option<CpuUsage>,
    pub throttling_data: Option<Throttling>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// Nanoseconds.
    pub total_usage: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Throttling {
    pub periods: Option<u64>,
    pub throttled_periods: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    pub usage: Option<u64>,
    pub limit: Option<u64>,
    /// The kernel's `memory.stat`.
    #[serde(deserialize_with = "null_as_default")]
    pub stats: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NetworkStats {
    pub rx_bytes: Option<u64>,
    pub tx_bytes: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BlockStats {
    pub io_service_bytes_recursive: Option<Vec<BlockEntry>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BlockEntry {
    /// `Read`, `Write` and others; of lower case with version 2 of control groups.
    #[serde(deserialize_with = "null_as_default")]
    pub op: String,
    #[serde(deserialize_with = "null_as_default")]
    pub value: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    pub current: Option<u64>,
}

/// An event of `GET /events`, with `type=container`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Carries its argument: `health_status: unhealthy`.
    #[serde(rename = "Action", deserialize_with = "null_as_default")]
    pub action: String,
    #[serde(rename = "Actor", deserialize_with = "null_as_default")]
    pub actor: EventActor,
    #[serde(rename = "time", deserialize_with = "null_as_default")]
    pub time: i64,
    #[serde(rename = "timeNano", deserialize_with = "null_as_default")]
    pub time_nano: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EventActor {
    #[serde(rename = "ID", deserialize_with = "null_as_default")]
    pub id: String,
    /// Name, image and labels of the container, `exitCode` of a `die`, `signal` of a `kill`.
    #[serde(rename = "Attributes", deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// The engine's time of the event.
    pub fn at(&self) -> Option<Timestamp> {
        match self.time_nano {
            0 => Timestamp::from_second(self.time).ok(),
            nano => Timestamp::from_millisecond(nano.div_euclid(1_000_000)).ok(),
        }
    }
}

/// The engine's health word; `none` and nothing mean there is no health check.
pub fn health(word: &str) -> Option<Health> {
    match word {
        "" | "none" => None,
        word => Health::parse(word),
    }
}

/// An engine timestamp in whole milliseconds; the year 1 means never.
pub fn time(text: &str) -> Option<Timestamp> {
    if text.is_empty() || text.starts_with("0001-") {
        return None;
    }
    let time: Timestamp = text.parse().ok()?;
    Timestamp::from_millisecond(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_nulls_and_missing_keys_are_survived() {
        let body = r#"{"Id":"abc","Name":"/x","State":{"Status":"initialized","Health":null,"NewThing":1},
            "Config":{"Labels":null,"Healthcheck":null},"HostConfig":{"RestartPolicy":null},"RestartCount":null}"#;
        let inspected: Inspected = serde_json::from_str(body).unwrap();
        assert_eq!(inspected.state.status, "initialized");
        let list = r#"[{"Id":"abc","Names":null,"State":"stopping-soon","Labels":null,"Ports":[{"Type":"quic"}]}]"#;
        let listed: Vec<Listed> = serde_json::from_str(list).unwrap();
        assert_eq!(listed[0].state, "stopping-soon");
    }

    #[test]
    fn of_mounts_it_is_known_only_whether_an_engines_socket_is_among_them() {
        let check = |mounts: &str, expected: bool| {
            let read: EngineSocket = serde_json::from_str(mounts).unwrap();
            assert_eq!(read, EngineSocket(expected), "{mounts}");
        };
        check("[]", false);
        check(r#"["/srv/data:/data:ro","/var/run/docker.sock:/var/run/docker.sock:ro"]"#, true);
        check(r#"["/srv/docker.sock.d:/data"]"#, false);
        check(r#"["data:/var/run/docker.sock"]"#, false);
        check(r#"["/var/run:/var/run:ro"]"#, true);
        check(r#"["/:/rootfs:ro","/sys:/sys:ro"]"#, true);
        check(r#"[{"Type":"bind","Source":"//"}]"#, true);
        check(r#"[{"Type":"tmpfs","Source":"","Target":"/run"}]"#, false);
        check(r#"["/run/crio:/run/crio"]"#, true);
        check(r#"["/run/user/1000:/x"]"#, true);
        check(r#"["/run/user/1000/podman:/x"]"#, true);
        check(r#"["/run/user/:/x"]"#, true);
        check(r#"["/run/user/1000/bus:/x"]"#, false);
        check(r#"["/run/users:/x","/runs:/y","/var/lib:/z","/srv/run:/r"]"#, false);
        check(r#"[{"Type":"bind","Source":"/run/user/1000/podman/podman.sock"}]"#, true);
        check(r#"[{"Type":"bind","Source":"/run/docker.sock","Target":"/d"}]"#, true);
        check(r#"[{"Type":"volume","Name":"data"},7,null]"#, false);
        let body = r#"{"Mounts":null,"HostConfig":{"Binds":null,"Mounts":null,"CapAdd":null,
            "PortBindings":{"80/tcp":null}},"Config":{"User":null,"ExposedPorts":{"80/tcp":{}}}}"#;
        let read: Inspected = serde_json::from_str(body).unwrap();
        assert_eq!(read.mounts, EngineSocket(false));
    }

    #[test]
    fn times_are_milliseconds_and_year_one_is_never() {
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
        let at = time("2026-05-05T10:00:00.123456789Z").unwrap();
        assert_eq!(at.subsec_nanosecond(), 123_000_000);
    }
}
