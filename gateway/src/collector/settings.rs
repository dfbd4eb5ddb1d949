//! Which collectors to ask, how to reach them, and how much to ask them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use maintenant_serve::settings::{Faults, Secret, duration, list};
use reqwest::Url;

use crate::calls::metrics::Metrics;
use crate::config::http_url;

const MOST_CALLS: usize = 1024;
const LONGEST_FRESH: Duration = Duration::from_mins(1);

/// Trust and identity towards collectors.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct UpstreamArgs {
    /// Trust only this CA for collectors (PEM) [default: the system's]
    #[arg(long, env = "MAINTENANT_CA_CERT", value_name = "FILE")]
    ca_cert: Option<PathBuf>,

    /// Client certificate towards collectors (PEM)
    #[arg(long, env = "MAINTENANT_CLIENT_CERT", value_name = "FILE")]
    client_cert: Option<PathBuf>,

    /// Key of the client certificate (PEM)
    #[arg(long, env = "MAINTENANT_CLIENT_KEY", value_name = "FILE")]
    client_key: Option<PathBuf>,
}

/// How much collectors are asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LoadArgs {
    /// For how long an answer of a collector serves further calls, at most 1m; 0 for never
    /// [default: 2s]
    #[arg(long, env = "MAINTENANT_MCP_CACHE", value_name = "DURATION")]
    mcp_cache: Option<String>,

    /// Calls of one collector at the same time; more wait [default: 64]
    #[arg(long, env = "MAINTENANT_UPSTREAM_CALLS", value_name = "COUNT")]
    upstream_calls: Option<String>,
}

/// [`LoadArgs`], checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How old an answer may be that serves another call; zero for never.
    pub fresh_for: Duration,
    pub calls: usize,
}

/// Which collectors to ask, and how.
#[derive(Debug, Clone, Default)]
pub struct CollectorSettings {
    pub collectors: Vec<(String, Target)>,
    pub token: Option<Secret>,
    pub ca_certificate: Option<PathBuf>,
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    pub load: Load,
    /// Where calls are counted.
    pub metrics: Metrics,
}

/// Where a collector listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Http(Url),
    Unix(PathBuf),
}

impl Default for Load {
    fn default() -> Self {
        Self { fresh_for: Duration::from_secs(2), calls: 64 }
    }
}

impl LoadArgs {
    pub fn check(&self, faults: &mut Faults) -> Load {
        let default = Load::default();
        let given = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
        let fresh_for = given(&self.mcp_cache).map_or(Ok(default.fresh_for), |text| {
            let fresh_for = if text == "0" { Duration::ZERO } else { duration(&text)? };
            let fault = format!("`{text}` is too long; at most 1m is possible, and 0 for never");
            Some(fresh_for).filter(|fresh_for| *fresh_for <= LONGEST_FRESH).ok_or(fault)
        });
        let calls = given(&self.upstream_calls).map_or(Ok(default.calls), |text| {
            let calls = text.parse().ok().filter(|calls| (1..=MOST_CALLS).contains(calls));
            calls.ok_or_else(|| format!("`{text}` is not a number from 1 to {MOST_CALLS}"))
        });
        Load {
            fresh_for: faults.or(default.fresh_for, "MAINTENANT_MCP_CACHE", fresh_for),
            calls: faults.or(default.calls, "MAINTENANT_UPSTREAM_CALLS", calls),
        }
    }
}

impl UpstreamArgs {
    /// The files, as they were given.
    pub(crate) fn files(&self) -> [(&'static str, Option<&Path>); 3] {
        [
            ("MAINTENANT_CA_CERT", self.ca_cert.as_deref()),
            ("MAINTENANT_CLIENT_CERT", self.client_cert.as_deref()),
            ("MAINTENANT_CLIENT_KEY", self.client_key.as_deref()),
        ]
    }

    /// The collectors of `url`, asked with `token`.
    pub fn check(
        &self,
        url: Option<&str>,
        token: Option<Secret>,
        load: Load,
        faults: &mut Faults,
    ) -> CollectorSettings {
        let collectors = match url {
            None | Some("") => Err("not set; give the collector's URL, such as \
                                    http://localhost:8081 or unix:/run/maintenant.sock"
                .to_owned()),
            Some(text) => targets(text),
        };
        let collectors = faults.or(Vec::new(), "MAINTENANT_URL", collectors);
        let Self { ca_cert, client_cert, client_key } = self.clone();
        let client_certificate = match (client_cert, client_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let fault = "certificate and key (MAINTENANT_CLIENT_KEY) belong together";
                faults.add("MAINTENANT_CLIENT_CERT", fault);
                None
            }
        };
        let files = [
            ("MAINTENANT_CA_CERT", ca_cert.as_ref()),
            ("MAINTENANT_CLIENT_CERT", client_certificate.as_ref().map(|(file, _)| file)),
            ("MAINTENANT_CLIENT_KEY", client_certificate.as_ref().map(|(_, file)| file)),
        ];
        for (name, file) in files {
            if let Some(Err(error)) = file.map(std::fs::metadata) {
                faults.add(name, &format!("cannot read the file: {error}"));
            }
        }
        CollectorSettings {
            collectors,
            token,
            ca_certificate: ca_cert,
            client_certificate,
            load,
            metrics: Metrics::default(),
        }
    }
}

/// The collectors of a `MAINTENANT_URL`.
pub(crate) fn targets(text: &str) -> Result<Vec<(String, Target)>, String> {
    let entries = list(text);
    let several = entries.len() > 1;
    let mut targets: Vec<(String, Target)> = Vec::new();
    for (at, entry) in (1..).zip(entries) {
        let unnamed = ["http://", "https://", "unix:"].iter().any(|start| entry.starts_with(start));
        let (name, url) = match entry.split_once('=') {
            Some((name, url)) if !unnamed => (name, url),
            _ if several => {
                return Err(format!("entry {at} has no name; write several as name=url,name=url"));
            }
            _ => ("collector", entry.as_str()),
        };
        if !is_name(name) {
            return Err(format!(
                "entry {at} has a bad name; a name is 1 to 32 of a-z, 0-9, - and _, and begins \
                 with a letter or digit"
            ));
        }
        if targets.iter().any(|(known, _)| known == name) {
            return Err(format!("two collectors are called {name}"));
        }
        let target = target(url).map_err(|fault| format!("the URL of {name} {fault}"))?;
        targets.push((name.to_owned(), target));
    }
    if targets.is_empty() { Err("is empty".to_owned()) } else { Ok(targets) }
}

fn target(text: &str) -> Result<Target, String> {
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(Target::Unix(path.into())),
        Some(_) => Err("names no absolute path; write unix:/run/maintenant.sock".to_owned()),
        None => http_url(text).map(Target::Http),
    }
}

fn is_name(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 32
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(cache: &str, calls: &str) -> Result<Load, String> {
        let args =
            LoadArgs { mcp_cache: Some(cache.to_owned()), upstream_calls: Some(calls.to_owned()) };
        let mut faults = Faults::default();
        let load = args.check(&mut faults);
        faults.finish().map(|()| load).map_err(|error| error.to_string())
    }

    #[test]
    fn how_much_is_asked_has_defaults_and_bounds() {
        let check = |cache: &str, calls: &str, milliseconds: u64, expected: usize| {
            let fresh_for = Duration::from_millis(milliseconds);
            assert_eq!(
                load(cache, calls),
                Ok(Load { fresh_for, calls: expected }),
                "{cache} {calls}"
            );
        };
        check("", "", 2000, 64);
        check("0", "1", 0, 1);
        check("0s", "1024", 0, 1024);
        check("1m", "8", 60_000, 8);
        check("500ms", "8", 500, 8);
        for (cache, calls, fault) in [
            ("2", "", "MAINTENANT_MCP_CACHE: `2` is no duration"),
            ("61s", "", "MAINTENANT_MCP_CACHE: `61s` is too long"),
            ("", "0", "MAINTENANT_UPSTREAM_CALLS: `0` is not a number from 1 to 1024"),
            ("", "many", "MAINTENANT_UPSTREAM_CALLS"),
        ] {
            let text = load(cache, calls).unwrap_err();
            assert!(text.contains(fault), "{text}");
        }
    }
}
