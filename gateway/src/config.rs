//! Settings of the gateway: an environment variable each, also a flag; secrets also as a file.

use std::path::PathBuf;

use clap::Parser;
use maintenant_serve::args::{Listen, ListenArgs, LogArgs, Logging, TokenArgs};
use maintenant_serve::clients::IpNet;
use maintenant_serve::guard::{AllowedHosts, without_port};
use maintenant_serve::health;
use maintenant_serve::listener::ConnectionLimits;
use maintenant_serve::settings::{Address, Faults, SettingsError, boolean, is_loopback, list};
use maintenant_serve::tls::TlsFiles;
use reqwest::Url;

use crate::auth::args::AuthArgs;
use crate::auth::settings::AuthSettings;
use crate::calls::settings::{CallArgs, CallSettings};
use crate::client_config::{self, Given, is_true};
pub use crate::collector::settings::{CollectorSettings, Load, Target};
use crate::collector::settings::{LoadArgs, UpstreamArgs};

const DEFAULT_ADDRESS: &str = "127.0.0.1:8080";

/// Answers MCP clients with what collectors know: MCP tools become calls of their REST API.
#[derive(Debug, Parser)]
#[command(name = "maintenant-gateway", version)]
// A setting may also stand behind the command.
#[command(mut_args(|arg| arg.global(true)))]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
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
    /// Serve /mcp beyond loopback to everyone, though the collector asks for a token [default:
    /// false]
    #[arg(long, env = "MAINTENANT_ALLOW_UNAUTHENTICATED", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_unauthenticated: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say what works of these settings and what does not, and end: exit code 0 when all is well, 1
    /// when something does not work, 64 when the settings are wrong
    Check {
        /// Also say whether the bearer token in FILE is let in; - is stdin
        #[arg(long, value_name = "FILE")]
        token: Option<PathBuf>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the configuration with which a client reaches this gateway, or starts it with these
    /// settings, to stdout, and to stderr where it belongs
    ///
    /// Over HTTP where --url ends in /mcp or MAINTENANT_MCP=true; else, or with --mcp-stdio, as a
    /// program that the client starts.
    ClientConfig(client_config::Options),
    /// Ask the gateway that runs with these settings whether it lives: exit code 0, else 1
    Healthcheck,
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

    #[command(flatten)]
    calls: CallArgs,

    #[command(flatten)]
    load: LoadArgs,

    #[command(flatten)]
    auth: AuthArgs,
}

/// The settings, valid as a whole.
#[derive(Debug)]
pub struct Config {
    pub address: Address,
    pub tls: Option<TlsFiles>,
    pub connections: ConnectionLimits,
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
    pub calls: CallSettings,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    pub auth: AuthSettings,
    /// How much collectors are asked.
    pub load: Load,
}

impl Args {
    /// What of the settings concerns clients. They need not be complete.
    pub fn given_to_clients(&self) -> Result<Given<'_>, SettingsError> {
        let mut faults = Faults::default();
        let listen = self.listen.check(DEFAULT_ADDRESS, &mut faults);
        let public = self.listen.base_url.as_deref();
        let public = base_url(public, &listen.address, &mut Faults::default());
        faults.finish()?;
        Ok(Given {
            url: self.url.as_deref(),
            token_file: self.token.api_token_file.as_deref(),
            has_token: self.token.api_token.is_some(),
            files: self.upstream.files(),
            read_only: is_true(self.mcp.mcp_read_only.as_deref()),
            stdio: self.mcp.mcp_stdio,
            served_at: Url::parse(&resource(&public))
                .ok()
                .filter(|_| is_true(self.mcp.mcp.as_deref())),
            has_mcp_token: self.mcp.auth.has_token(),
            program: std::env::current_exe().ok(),
        })
    }

    /// Asks the gateway that listens with these settings.
    pub fn healthcheck(&self) -> anyhow::Result<()> {
        let mut faults = Faults::default();
        let listen = self.listen.check(DEFAULT_ADDRESS, &mut faults);
        faults.finish()?;
        health::probe(&listen, "/healthz")
    }

    /// Reads the settings, or reports everything that is wrong with them.
    pub fn check(&self) -> Result<(Config, Logging), SettingsError> {
        let mut faults = Faults::default();
        let logging = self.log.check(&mut faults);
        let listen = self.listen.check(DEFAULT_ADDRESS, &mut faults);
        // What is wrong with it may have been noted in the line above.
        let mut noted = Faults::default();
        let rest = if listen.base_url.host().is_none() { &mut noted } else { &mut faults };
        let base_url = base_url(self.listen.base_url.as_deref(), &listen.address, rest);
        let mut mcp = self.mcp.settings(base_url, listen.trusted_proxies, &mut faults);
        mcp.check_audience(self.listen.base_url.as_deref(), &listen.address, &mut faults);
        if self.command.is_none() && !mcp.http && !mcp.stdio {
            faults.add(
                "MAINTENANT_MCP",
                "nothing to serve; set MAINTENANT_MCP=true for HTTP, or give --mcp-stdio",
            );
        }
        let token = self.token.check(&mut faults);
        let open = boolean(self.allow_unauthenticated.as_deref().unwrap_or_default());
        let open = faults.or(false, "MAINTENANT_ALLOW_UNAUTHENTICATED", open);
        let asks = listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let is_reached = mcp.http && !listen.address.is_local();
        if is_reached && token.is_some() && mcp.auth.is_open() && !asks && !open {
            let fault = format!(
                "{} can be reached from other machines and /mcp asks nobody who they are, while \
                 the collector asks for MAINTENANT_API_TOKEN, so everyone could read what that \
                 guards; set MAINTENANT_MCP_TOKEN or MAINTENANT_MCP_ISSUER, or \
                 MAINTENANT_ALLOW_UNAUTHENTICATED=true if something in front of it asks",
                listen.address
            );
            faults.add("MAINTENANT_ADDR", &fault);
        }
        let collectors = self.upstream.check(self.url.as_deref(), token, mcp.load, &mut faults);
        faults.finish()?;
        let Listen { address, tls, connections, .. } = listen;
        Ok((Config { address, tls, connections, mcp, collectors }, logging))
    }
}

impl McpArgs {
    /// Reads the MCP settings. Whether anything is served at all is the caller's question.
    pub fn settings(
        &self,
        base_url: Url,
        trusted_proxies: Vec<IpNet>,
        faults: &mut Faults,
    ) -> McpSettings {
        let flag = |name: &str, text: &Option<String>, faults: &mut Faults| {
            faults.or(false, name, boolean(text.as_deref().unwrap_or_default()))
        };
        let http = flag("MAINTENANT_MCP", &self.mcp, faults);
        let read_only = flag("MAINTENANT_MCP_READ_ONLY", &self.mcp_read_only, faults);
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
        let auth = self.auth.settings(&resource(&base_url), faults);
        let load = self.load.check(faults);
        let calls = self.calls.check(faults);
        McpSettings {
            http,
            stdio: self.mcp_stdio,
            read_only,
            base_url,
            hosts,
            origins,
            trusted_proxies,
            auth,
            calls,
            load,
        }
    }
}

impl McpSettings {
    pub fn allowed_hosts(&self) -> AllowedHosts {
        AllowedHosts::new(self.hosts.clone())
    }

    /// Refuses, or on loopback only notes, an audience that every machine has which was not told
    /// its name: a token for one of them would be good for all (RFC 8707 §2).
    pub fn check_audience(
        &mut self,
        base_url: Option<&str>,
        address: &Address,
        faults: &mut Faults,
    ) {
        let is_named = base_url.is_some_and(|url| !url.is_empty());
        let is_default = self.auth.audiences.contains(&self.resource());
        self.auth.audience_is_a_guess = self.http && !is_named && is_default;
        if self.auth.audience_is_a_guess && !address.is_local() {
            let fault = "it is not set, so tokens would have to be for localhost, as on every \
                         machine without it; set it to the URL that clients use, or set \
                         MAINTENANT_MCP_AUDIENCE";
            faults.add("MAINTENANT_BASE_URL", fault);
        }
    }

    /// The URL of `/mcp` as clients know it (RFC 9728: the resource identifier).
    pub fn resource(&self) -> String {
        resource(&self.base_url)
    }

    /// Where the metadata of that resource are (RFC 9728 §3.1).
    pub fn metadata_url(&self) -> Url {
        let path = self.base_url.path().trim_end_matches('/');
        let mut url = self.base_url.clone();
        url.set_path(&format!("/.well-known/oauth-protected-resource{path}/mcp"));
        url
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

fn resource(base_url: &Url) -> String {
    format!("{}/mcp", base_url.as_str().trim_end_matches('/'))
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
pub(crate) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL ({error})"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("is neither http://… nor https://…, such as http://localhost:8081".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials; use MAINTENANT_API_TOKEN".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or a fragment; leave them away".to_owned());
    }
    Ok(url)
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
            "--mcp-issuer=http://issuer.example.org",
            "--trusted-proxies=10.0.0.0/33",
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
            "MAINTENANT_TRUSTED_PROXIES",
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
    fn the_resource_and_its_metadata_follow_from_the_base_url_alone() {
        let check = |base: &str, resource: &str, metadata: &str| {
            let base = format!("--base-url={base}");
            let issuer = "--mcp-issuer=https://id.example.org";
            let mcp = config(&["--mcp", "--url=http://x", issuer, &base]).unwrap().mcp;
            assert_eq!(mcp.resource(), resource);
            assert_eq!(mcp.auth.audiences, [resource]);
            let well_known = "/.well-known/oauth-protected-resource";
            assert_eq!(mcp.metadata_url().as_str(), metadata.replace("/.w", well_known));
        };
        check("https://M.example:443", "https://m.example/mcp", "https://m.example/.w/mcp");
        check("https://m.example/", "https://m.example/mcp", "https://m.example/.w/mcp");
        check("https://m.example/x/", "https://m.example/x/mcp", "https://m.example/.w/x/mcp");
    }

    #[test]
    fn a_token_of_the_collector_is_not_undone_for_other_machines() {
        let token = "--api-token-from-environment=hunter2";
        let check = |arguments: &[&str], is_fault: bool| {
            let all = [&["--mcp", "--url=http://x"], arguments].concat();
            let fault = config(&all).err().unwrap_or_default();
            assert_eq!(fault.contains("MAINTENANT_ADDR"), is_fault, "{arguments:?}: {fault}");
            assert!(is_fault || fault.is_empty(), "{arguments:?}: {fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        };
        let anywhere = "--addr=0.0.0.0:8080";
        check(&[anywhere, token], true);
        check(&[anywhere, token, "--allow-unauthenticated=false"], true);
        check(&[anywhere, token, "--allow-unauthenticated"], false);
        check(&[anywhere], false);
        check(&[token], false);
        check(&["--addr=unix:/run/m.sock", token], false);
        let own = "--mcp-token-from-environment=0123456789abcdef0123456789abcdef";
        check(&[anywhere, token, own], false);
        let tls = ["--tls-cert=Cargo.toml", "--tls-key=Cargo.toml", "--tls-client-ca=Cargo.toml"];
        check(&[&[anywhere, token], tls.as_slice()].concat(), false);
    }

    #[test]
    fn the_audience_of_other_machines_is_a_name_of_this_one() {
        let issuer = "--mcp-issuer=https://id.example.org";
        let check = |arguments: &[&str], expected: Result<bool, ()>| {
            let all = [&["--mcp", "--url=http://x"], arguments].concat();
            let got = config(&all).map(|config| config.mcp.auth.audience_is_a_guess);
            let named =
                got.as_ref().err().is_none_or(|fault| fault.contains("MAINTENANT_BASE_URL"));
            assert!(named, "{got:?}");
            assert_eq!(got.map_err(|_| ()), expected, "{arguments:?}");
        };
        let anywhere = "--addr=0.0.0.0:8080";
        check(&[anywhere, issuer], Err(()));
        check(&[anywhere, issuer, "--base-url="], Err(()));
        check(&[anywhere, issuer, "--base-url=https://m.example"], Ok(false));
        check(&[anywhere, issuer, "--mcp-audience=api://m"], Ok(false));
        check(&[anywhere], Ok(false));
        check(&[issuer], Ok(true));
        let warnings = config(&["--mcp", "--url=http://x", issuer]).unwrap().mcp.auth.warnings();
        assert!(warnings.iter().any(|text| text.contains("MAINTENANT_BASE_URL")));
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
