//! What a container's labels say to us. A label that cannot be read keeps its default and is
//! logged by the caller; one bad label never hides a container.

use std::collections::BTreeMap;

use maintenant_api::alerts::Severity;

/// Our labels and Compose's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// `maintenant.ignore`
    pub is_ignored: bool,
    /// `maintenant.group`
    pub custom_group: String,
    /// `maintenant.alert.severity`
    pub alert_severity: String,
    /// `maintenant.alert.restart_threshold`: restarts in ten minutes that make a loop
    pub restart_threshold: i64,
    /// `maintenant.alert.channels`, normalised to `a,b`
    pub alert_channels: String,
    pub compose: Option<Compose>,
    /// Labels as written: all that ask for something to be watched, for the dimensions that do it, and
    /// the severity, which `alert_severity` does not tell apart from none. See [`WATCHED`].
    pub watched: BTreeMap<String, String>,
    /// Keys, cut to 200 characters, of those that are too large to be kept. When there are too many
    /// labels, none is kept, and this is the key of the first.
    pub watched_dropped: Vec<String>,
}

/// Beginnings of the labels that are kept as written.
const WATCHED: [&str; 4] =
    [SEVERITY, "maintenant.endpoint.", "maintenant.tls.", "maintenant.update."];
/// How severe whatever happens to the container is.
pub const SEVERITY: &str = "maintenant.alert.severity";
/// With more of these labels none is kept.
pub const MOST_WATCHED: usize = 256;
/// Bytes of key and value; a larger label is not kept.
pub const LONGEST_WATCHED: usize = 4096;

/// A container's place in a Compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    pub project: String,
    pub service: String,
    /// The replica's number. `docker compose run` containers have none that lasts.
    pub number: Option<String>,
    pub working_dir: String,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            is_ignored: false,
            custom_group: String::new(),
            alert_severity: "warning".to_owned(),
            restart_threshold: 3,
            alert_channels: String::new(),
            compose: None,
            watched: BTreeMap::new(),
            watched_dropped: Vec::new(),
        }
    }
}

impl Labels {
    /// The severity that is asked for; one that cannot be read asks for none.
    pub fn severity(&self) -> Option<Severity> {
        Severity::parse(&self.watched.get(SEVERITY)?.trim().to_ascii_lowercase())
    }

    /// Names of the only channels to tell; none for all that are routed to.
    pub fn channels(&self) -> Vec<String> {
        let names = self.alert_channels.split(',').filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }

    pub fn read(labels: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| labels.get(name).map_or("", |value| value.trim());
        let default = Self::default();
        let (watched, watched_dropped) = watched(labels);
        Self {
            is_ignored: matches!(
                get("maintenant.ignore").to_ascii_lowercase().as_str(),
                "true" | "1"
            ),
            custom_group: get("maintenant.group").to_owned(),
            alert_severity: match get(SEVERITY).to_ascii_lowercase().as_str() {
                severity @ ("critical" | "warning" | "info") => severity.to_owned(),
                _ => default.alert_severity,
            },
            restart_threshold: get("maintenant.alert.restart_threshold")
                .parse()
                .ok()
                .filter(|threshold| *threshold >= 1)
                .unwrap_or(default.restart_threshold),
            alert_channels: get("maintenant.alert.channels")
                .split(',')
                .map(str::trim)
                .filter(|channel| !channel.is_empty())
                .collect::<Vec<_>>()
                .join(","),
            compose: compose(get),
            watched,
            watched_dropped,
        }
    }
}

type Watched = (BTreeMap<String, String>, Vec<String>);

/// Why a label of [`Labels::watched_dropped`] has no effect.
pub fn not_read() -> String {
    format!(
        "it is not read: key and value may have {LONGEST_WATCHED} bytes together; of a container \
         with more than {MOST_WATCHED} such labels, none is read"
    )
}

fn watched(labels: &BTreeMap<String, String>) -> Watched {
    let is_watched = |name: &str| WATCHED.iter().any(|beginning| name.starts_with(beginning));
    let cut = |name: &str| name.chars().take(200).collect();
    let all: Vec<_> = labels.iter().filter(|(name, _)| is_watched(name)).collect();
    if let Some((first, _)) = all.first().filter(|_| all.len() > MOST_WATCHED) {
        return (BTreeMap::new(), vec![cut(first)]);
    }
    let (kept, dropped): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(name, value)| name.len() + value.len() <= LONGEST_WATCHED);
    (
        kept.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        dropped.into_iter().map(|(name, _)| cut(name)).collect(),
    )
}

/// As the database keeps them: a JSON object, with null for what is not kept.
pub fn watched_to_json(labels: &Labels) -> String {
    let kept = labels.watched.iter().map(|(name, value)| (name, Some(value)));
    let dropped = labels.watched_dropped.iter().map(|name| (name, None));
    let all: BTreeMap<_, _> = kept.chain(dropped).collect();
    serde_json::to_string(&all).unwrap_or_default()
}

pub fn watched_from_json(json: &str) -> Watched {
    let all: BTreeMap<String, Option<String>> = serde_json::from_str(json).unwrap_or_default();
    let (mut kept, mut dropped) = (BTreeMap::new(), Vec::new());
    for (name, value) in all {
        match value {
            Some(value) => drop(kept.insert(name, value)),
            None => dropped.push(name),
        }
    }
    (kept, dropped)
}

fn compose<'a>(get: impl Fn(&str) -> &'a str) -> Option<Compose> {
    let (project, service) = (get("com.docker.compose.project"), get("com.docker.compose.service"));
    if project.is_empty() || service.is_empty() {
        return None;
    }
    // One-off containers carry a number too, and it is not theirs alone.
    let one_off = get("com.docker.compose.oneoff").eq_ignore_ascii_case("true");
    let number = get("com.docker.compose.container-number");
    Some(Compose {
        project: project.to_owned(),
        service: service.to_owned(),
        number: (!one_off && !number.is_empty()).then(|| number.to_owned()),
        working_dir: get("com.docker.compose.project.working_dir").to_owned(),
    })
}
