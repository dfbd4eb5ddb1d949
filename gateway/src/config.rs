//! Settings of the gateway: an environment variable each, also a flag; secrets also as a file.

use std::path::PathBuf;

use clap::Parser;
use maintenant_serve::args::{ListenArgs, LogArgs, Logging, TokenArgs};
use maintenant_serve::guard::{AllowedHosts, without_port};
use maintenant_serve::settings::{
    Address, Faults, Secret, SettingsError, boolean, is_loopback, list,
};
use maintenant_serve::tls::TlsFiles;
use reqwest::Url;

const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// Answers MCP clients with what collectors know: MCP tools become calls of their REST API.
#[derive(Debug, Parser)]
#[command(name = "maintenant-gateway", version)]
pub struct Args {
    /// Collector: http(s)://… or unix:/path; several as name=url,name=url
    #[arg(long, env = "MAINTENANT_URL", value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
    #[command(flatten)]
    mcp: McpArgs,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Settings of the MCP side, shared with the program that runs collector and gateway in one.
#[derive(Debug, Default, clap::Args)]
pub struct McpArgs {
    /// Serve MCP over Streamable HTTP on /mcp [default: false]
    #[arg(long, env = "MAINTENANT_MCP", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mcp: Option<String>,

    /// Serve MCP on stdin and stdout, and end with them
    #[arg(long)]
    mcp_stdio: bool,

    /// List and serve no tool that changes anything [default: false]
    #[arg(long, env = "MAINTENANT_MCP_READ_ONLY", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mcp_read_only: Option<String>,

    /// Host names clients may use, besides loopback and the base URL's (comma list)
    #[arg(long, env = "MAINTENANT_ALLOWED_HOSTS", value_name = "HOSTS")]
    allowed_hosts: Option<String>,

    /// Origins of web pages that may call, besides loopback and the base URL's (comma list)
    #[arg(long, env = "MAINTENANT_ALLOWED_ORIGINS", value_name = "ORIGINS")]
    allowed_origins: Option<String>,

    /// Only these identities (not in this build)
    #[arg(long, env = "MAINTENANT_MCP_ALLOWED_EMAIL", value_name = "EMAILS", hide = true)]
    mcp_allowed_email: Option<String>,

    /// Issuer of access tokens (not in this build)
    #[arg(long, env = "MAINTENANT_MCP_ISSUER", value_name = "URL", hide = true)]
    mcp_issuer: Option<String>,

    /// Keys of access tokens (not in this build)
    #[arg(long, env = "MAINTENANT_MCP_JWKS_URL", value_name = "URL", hide = true)]
    mcp_jwks_url: Option<String>,

    /// Audience of access tokens (not in this build)
    #[arg(long, env = "MAINTENANT_MCP_AUDIENCE", value_name = "URI", hide = true)]
    mcp_audience: Option<String>,
}

/// Trust and identity towards collectors.
#[derive(Debug, Clone, Default, clap::Args)]
struct UpstreamArgs {
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

/// The settings, valid as a whole.
#[derive(Debug)]
pub struct Config {
    pub address: Address,
    pub tls: Option<TlsFiles>,
    pub mcp: McpSettings,
    pub collectors: CollectorSettings,
}

/// How MCP is served.
#[derive(Debug, Clone)]
pub struct McpSettings {
    /// Streamable HTTP on `/mcp`.
    pub http: bool,
    /// On stdin and stdout.
    pub stdio: bool,
    pub read_only: bool,
    pub base_url: Url,
    /// Without loopback names, which are always allowed.
    pub hosts: Vec<String>,
    pub origins: Vec<Origin>,
}

/// Which collectors to ask, and how to reach them.
#[derive(Debug, Clone, Default)]
pub struct CollectorSettings {
    pub collectors: Vec<(String, Target)>,
    pub token: Option<Secret>,
    pub ca_certificate: Option<PathBuf>,
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

/// Where a collector listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Http(Url),
    Unix(PathBuf),
}

impl Args {
    /// Reads the settings, or reports everything that is wrong with them.
    pub fn check(&self) -> Result<(Config, Logging), SettingsError> {
        let mut faults = Faults::default();
        let logging = self.log.check(&mut faults);
        let listen = self.listen.check(DEFAULT_ADDRESS, &mut faults);
        // What is wrong with it may have been noted in the line above.
        let mut noted = Faults::default();
        let rest = if listen.base_url.host().is_none() { &mut noted } else { &mut faults };
        let base_url = base_url(self.listen.base_url.as_deref(), &listen.address, rest);
        let mcp = self.mcp.settings(base_url, &mut faults);
        if !mcp.http && !mcp.stdio {
            faults.add(
                "MAINTENANT_MCP",
                "nothing to serve; set MAINTENANT_MCP=true for HTTP, or give --mcp-stdio",
            );
        }
        let collectors = self.collectors(&mut faults);
        faults.finish()?;
        Ok((Config { address: listen.address, tls: listen.tls, mcp, collectors }, logging))
    }

    fn collectors(&self, faults: &mut Faults) -> CollectorSettings {
        let collectors = match self.url.as_deref() {
            None | Some("") => Err("not set; give the collector's URL, such as \
                                    http://localhost:8081 or unix:/run/maintenant.sock"
                .to_owned()),
            Some(text) => targets(text),
        };
        let collectors = faults.or(Vec::new(), "MAINTENANT_URL", collectors);
        let token = self.token.check(faults);
        let UpstreamArgs { ca_cert, client_cert, client_key } = self.upstream.clone();
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
        CollectorSettings { collectors, token, ca_certificate: ca_cert, client_certificate }
    }
}

impl McpArgs {
    /// Reads the MCP settings. Whether anything is served at all is the caller's question.
    pub fn settings(&self, base_url: Url, faults: &mut Faults) -> McpSettings {
        let flag = |name: &str, text: &Option<String>, faults: &mut Faults| {
            faults.or(false, name, boolean(text.as_deref().unwrap_or_default()))
        };
        let http = flag("MAINTENANT_MCP", &self.mcp, faults);
        let read_only = flag("MAINTENANT_MCP_READ_ONLY", &self.mcp_read_only, faults);
        let verification = [
            ("MAINTENANT_MCP_ALLOWED_EMAIL", &self.mcp_allowed_email),
            ("MAINTENANT_MCP_ISSUER", &self.mcp_issuer),
            ("MAINTENANT_MCP_JWKS_URL", &self.mcp_jwks_url),
            ("MAINTENANT_MCP_AUDIENCE", &self.mcp_audience),
        ];
        for (name, value) in verification {
            if value.as_deref().is_some_and(|value| !value.is_empty()) {
                faults.add(
                    name,
                    "this build cannot verify tokens yet and does not start open instead; unset \
                     it, or put a proxy that verifies tokens in front",
                );
            }
        }
        let mut hosts = vec![base_url.host_str().unwrap_or("localhost").to_owned()];
        for entry in list(self.allowed_hosts.as_deref().unwrap_or_default()) {
            hosts.push(faults.or(String::new(), "MAINTENANT_ALLOWED_HOSTS", host(&entry)));
        }
        hosts.retain(|host| !is_loopback(host));
        let mut origins = Origin::loopback();
        origins.extend(Origin::of(&base_url));
        for entry in list(self.allowed_origins.as_deref().unwrap_or_default()) {
            match entry.parse() {
                Ok(origin) => origins.push(origin),
                Err(fault) => faults.add("MAINTENANT_ALLOWED_ORIGINS", &fault),
            }
        }
        McpSettings { http, stdio: self.mcp_stdio, read_only, base_url, hosts, origins }
    }
}

impl McpSettings {
    pub fn allowed_hosts(&self) -> AllowedHosts {
        AllowedHosts::new(self.hosts.clone())
    }
}

/// A web origin (RFC 6454). Without a port in `*`, the scheme's own port is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    /// `None`: any port.
    port: Option<u16>,
}

impl Origin {
    /// Whether the value of an `Origin` header is this origin.
    pub fn matches(&self, header: &str) -> bool {
        let Some(Self { scheme, host, port: Some(port) }) = Self::exact(header) else {
            return false;
        };
        scheme == self.scheme && host == self.host && self.port.is_none_or(|own| own == port)
    }

    fn exact(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let port = url.port_or_known_default()?;
        // An origin ends after its port; `Url` adds the one slash.
        let bare = url.path() == "/" && !text.ends_with('/') && url.query().is_none();
        let bare = bare && url.fragment().is_none() && url.username().is_empty();
        if !bare || !["http", "https"].contains(&url.scheme()) {
            return None;
        }
        let host = url.host_str()?.to_owned();
        Some(Self { scheme: url.scheme().to_owned(), host, port: Some(port) })
    }

    fn loopback() -> Vec<Self> {
        let origin = |scheme: &str, host: &str| Self {
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            port: None,
        };
        let hosts = ["localhost", "127.0.0.1", "[::1]"];
        hosts.into_iter().flat_map(|host| [origin("http", host), origin("https", host)]).collect()
    }

    fn of(url: &Url) -> Option<Self> {
        Self::exact(&url.origin().ascii_serialization())
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:", self.scheme, self.host)?;
        match self.port {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("*"),
        }
    }
}

impl std::str::FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bare, any_port) = match text.strip_suffix(":*") {
            Some(bare) => (bare, true),
            None => (text, false),
        };
        let origin = Self::exact(bare).ok_or_else(|| {
            format!(
                "`{text}` is no origin; use https://app.example.org, with :port if it has one, or \
                 :* for any port"
            )
        })?;
        Ok(if any_port { Self { port: None, ..origin } } else { origin })
    }
}

/// The public URL: as set, else `localhost` with the listener's port.
pub fn base_url(text: Option<&str>, address: &Address, faults: &mut Faults) -> Url {
    let port = match address {
        Address::Tcp { port, .. } => *port,
        Address::Unix(_) => 80,
    };
    let default = format!("http://localhost:{port}");
    let text = text.filter(|text| !text.is_empty()).unwrap_or(&default);
    let parsed = http_url(text).map_err(|fault| format!("it {fault}"));
    match parsed {
        Ok(url) => url,
        Err(fault) => {
            faults.add("MAINTENANT_BASE_URL", &fault);
            fallback_url()
        }
    }
}

#[expect(clippy::expect_used, reason = "a constant that parses")]
fn fallback_url() -> Url {
    Url::parse("http://localhost").expect("a URL")
}

/// The fault, without the text: a password in it must not reach a log.
fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL ({error})"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("is neither http://… nor https://…".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials; use MAINTENANT_API_TOKEN".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment; leave them away".to_owned());
    }
    Ok(url)
}

fn targets(text: &str) -> Result<Vec<(String, Target)>, String> {
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

fn host(text: &str) -> Result<String, String> {
    let name = without_port(text);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(format!("`{text}` is no host name; write names such as monitor.example.org"));
    }
    Ok(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        let program = ["maintenant-gateway"];
        let args = Args::try_parse_from(program.iter().chain(arguments)).unwrap();
        args.check().map(|(config, _)| config).map_err(|error| error.to_string())
    }

    fn url(text: &str) -> Result<Vec<(String, Target)>, String> {
        config(&["--mcp", "--url", text]).map(|config| config.collectors.collectors)
    }

    fn http(text: &str) -> Target {
        Target::Http(Url::parse(text).unwrap())
    }

    #[test]
    fn every_fault_is_reported_in_one_run() {
        let text = config(&[
            "--addr=nowhere",
            "--base-url=ftp://x",
            "--log-level=a=b=c",
            "--log-format=xml",
            "--mcp-read-only=maybe",
            "--allowed-origins=example.org",
            "--allowed-hosts=http://x",
            "--tls-cert=/nowhere",
            "--ca-cert=/nowhere",
            "--mcp-issuer=https://issuer.example.org",
        ])
        .unwrap_err();
        for name in [
            "MAINTENANT_ADDR",
            "MAINTENANT_BASE_URL",
            "MAINTENANT_LOG_LEVEL",
            "MAINTENANT_LOG_FORMAT",
            "MAINTENANT_MCP_READ_ONLY",
            "MAINTENANT_ALLOWED_ORIGINS",
            "MAINTENANT_ALLOWED_HOSTS",
            "MAINTENANT_TLS_CERT",
            "MAINTENANT_CA_CERT",
            "MAINTENANT_URL",
            "MAINTENANT_MCP:",
            "MAINTENANT_MCP_ISSUER",
        ] {
            assert!(text.contains(&format!("\n  {name}")), "{name} in {text}");
        }
    }

    #[test]
    fn one_collector_needs_no_name_and_several_do() {
        let single = vec![("collector".to_owned(), http("http://localhost:8081"))];
        assert_eq!(url("http://localhost:8081"), Ok(single));
        let socket = vec![("collector".to_owned(), Target::Unix("/run/m.sock".into()))];
        assert_eq!(url("unix:/run/m.sock"), Ok(socket));
        assert_eq!(
            url("prod=https://a.example/base, lab=unix:/b=c"),
            Ok(vec![
                ("prod".to_owned(), http("https://a.example/base")),
                ("lab".to_owned(), Target::Unix("/b=c".into())),
            ])
        );
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_its_password() {
        let cases = [
            ("a=http://x,a=http://y", "two collectors are called a"),
            ("http://x,http://y", "entry 1 has no name"),
            ("A=http://x", "bad name"),
            ("localhost:8081", "neither http://"),
            ("unix:run/m.sock", "no absolute path"),
            ("http://u:hunter2@x", "holds credentials"),
            ("http://x/?a=b", "query"),
            ("", "not set"),
        ];
        for (text, part) in cases {
            let fault = url(text).unwrap_err();
            assert!(fault.contains(part), "{text}: {fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn a_base_url_with_credentials_is_refused() {
        let url = "--base-url=https://u:hunter2@x.example";
        let fault = config(&["--mcp", "--url=http://x", url]).unwrap_err();
        assert!(fault.contains("MAINTENANT_BASE_URL: it holds credentials"), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }

    #[test]
    fn tokens_cannot_be_verified_yet_so_asking_for_it_stops_the_start() {
        let fault = config(&["--mcp", "--url=http://x", "--mcp-allowed-email=a@b.c"]).unwrap_err();
        assert!(
            fault.contains("MAINTENANT_MCP_ALLOWED_EMAIL: this build cannot verify"),
            "{fault}"
        );
    }

    #[test]
    fn hosts_and_origins_are_loopback_the_base_url_and_the_listed() {
        let config = config(&[
            "--mcp=true",
            "--url=http://x",
            "--base-url=https://Monitor.example.org",
            "--allowed-hosts=inner:8080,localhost",
            "--allowed-origins=https://app.example.org:8443,http://dev.example.org:*",
        ])
        .unwrap();
        let hosts = config.mcp.allowed_hosts();
        for host in ["localhost:1", "127.0.0.1", "monitor.example.org", "inner:9"] {
            assert!(hosts.allows(host), "{host}");
        }
        assert!(!hosts.allows("evil.example"));
        let allows = |origin: &str| config.mcp.origins.iter().any(|own| own.matches(origin));
        for origin in [
            "http://localhost:3000",
            "https://monitor.example.org",
            "https://app.example.org:8443",
            "http://dev.example.org:81",
        ] {
            assert!(allows(origin), "{origin}");
        }
        for origin in [
            "null",
            "http://monitor.example.org",
            "https://app.example.org",
            "https://localhost.evil.example",
            "https://monitor.example.org/",
            "https://u@monitor.example.org",
        ] {
            assert!(!allows(origin), "{origin}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "hunter2\n").unwrap();
        let file = format!("--api-token-file={}", file.display());
        let config = config(&["--mcp-stdio", "--url=http://x", &file]).unwrap();
        assert_eq!(config.collectors.token.as_ref().unwrap().expose(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(config.mcp.stdio && !config.mcp.http);
    }
}
