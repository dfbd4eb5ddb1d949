//! Settings of the collector. Every option is taken as text and validated here, so that one run
//! reports every fault.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ipnet::IpNet;
use jiff::SignedDuration;
use lettre::message::Mailbox;
use maintenant_serve::args::{ListenArgs, LogArgs, Logging, TokenArgs};
use maintenant_serve::guard::{AllowedHosts, without_port};
use maintenant_serve::listener::ConnectionLimits;
use maintenant_serve::settings::{self, Address, Faults, Secret, SettingsError};
use maintenant_serve::tls::TlsFiles;

use crate::docker::{DEFAULT_HOST, Host};
use crate::endpoints::{self, file::Declarations};
use crate::notify::post::{Smtp, SmtpTls};
use crate::{notify, updates};

/// A container that is down for longer is an alert, whatever is asked for.
pub const LONGEST_DOWN: SignedDuration = SignedDuration::from_hours(24);
/// Registries are other people's.
const SHORTEST_UPDATES: Duration = Duration::from_mins(5);
const LONGEST_UPDATES: Duration = Duration::from_hours(24 * 30);

/// Watches Docker and serves what it sees as REST under /api/v1.
#[derive(Debug, Parser)]
#[command(name = "maintenant-collector", version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub listen: ListenArgs,
    /// More host names under which the API may be asked without a token, comma list
    /// [default: loopback and the host of the base URL]
    #[arg(long, env = "MAINTENANT_ALLOWED_HOSTS", value_name = "HOSTS")]
    pub allowed_hosts: Option<String>,
    #[command(flatten)]
    pub token: TokenArgs,
    #[command(flatten)]
    pub collector: CollectorArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write a consistent copy of the database to FILE while a collector may be running
    Backup { file: PathBuf },
    /// Ask the server that runs with these settings whether it lives: exit code 0, else 1
    Healthcheck {
        /// What to ask for; it must be answered with 200
        #[arg(long, default_value = "/api/v1/health")]
        path: String,
    },
    /// Make a random token in FILE, readable by its owner alone, unless there is one
    Token { file: PathBuf },
    /// Pass on from MAINTENANT_ADDR to the unix socket of DOCKER_HOST what the collector asks of the
    /// engine, and nothing else
    SocketProxy {
        /// Let in only loopback and who has an address of these names, comma list
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        only: Vec<String>,
    },
}

/// What only the collector needs; also part of the standalone program.
#[derive(Debug, Clone, clap::Args)]
pub struct CollectorArgs {
    /// Database file
    #[arg(long, env = "MAINTENANT_DB", default_value = "./maintenant.db", global = true)]
    pub db: String,
    /// Serve beyond loopback without a token
    #[arg(long, env = "MAINTENANT_ALLOW_UNAUTHENTICATED", value_name = "BOOL", global = true)]
    #[arg(default_value = "false", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub allow_unauthenticated: String,
    /// Origins that browsers may call from: *, or a comma list [default: none]
    #[arg(long, env = "MAINTENANT_CORS_ORIGINS", value_name = "ORIGINS", global = true)]
    pub cors_origins: Option<String>,
    /// What to watch: auto, docker or none
    #[arg(long, env = "MAINTENANT_RUNTIME", default_value = "auto", global = true)]
    pub runtime: String,
    /// Docker Engine: unix:///path, tcp://host:port or https://host:port
    /// [default: unix:///var/run/docker.sock]
    #[arg(long, env = "DOCKER_HOST", global = true)]
    pub docker_host: Option<String>,
    /// Folder with ca.pem, cert.pem and key.pem for a TLS engine
    #[arg(long, env = "DOCKER_CERT_PATH", global = true)]
    pub docker_cert_path: Option<PathBuf>,
    /// Use TLS for a tcp:// engine (any value but 0 or empty)
    #[arg(long, env = "DOCKER_TLS_VERIFY", global = true)]
    pub docker_tls_verify: Option<String>,
    /// How long a container may be down before that is an alert
    #[arg(long, env = "MAINTENANT_CONTAINER_DOWN_AFTER", value_name = "DURATION", global = true)]
    #[arg(default_value = "30s")]
    pub container_down_after: String,
    /// TOML file that declares endpoints
    #[arg(long, env = "MAINTENANT_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Networks that may be probed though they are link-local or metadata addresses, comma list
    #[arg(long, env = "MAINTENANT_ALLOWED_TARGETS", value_name = "NETWORKS", global = true)]
    pub allowed_targets: Option<String>,
    /// PEM file of certificate authorities that probes trust besides the system's
    #[arg(long, env = "MAINTENANT_PROBE_CA_CERT", value_name = "FILE", global = true)]
    pub probe_ca_cert: Option<PathBuf>,
    /// Let channels and webhooks use http and reach private addresses
    #[arg(long, env = "MAINTENANT_ALLOW_PRIVATE_WEBHOOKS", value_name = "BOOL", global = true)]
    #[arg(default_value = "false", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub allow_private_webhooks: String,
    /// From one look for newer images to the next, 0 or off for none
    #[arg(long, env = "MAINTENANT_UPDATE_INTERVAL", value_name = "DURATION", global = true)]
    #[arg(default_value = "24h")]
    pub update_interval: String,
    /// Folder of Docker's config.json, for logins at registries [default: ~/.docker]
    #[arg(long, env = "DOCKER_CONFIG", value_name = "FOLDER", global = true)]
    pub docker_config: Option<PathBuf>,
    #[command(flatten)]
    pub smtp: SmtpArgs,
    /// community or extended
    #[arg(long, env = "MAINTENANT_EDITION", default_value = "community", global = true)]
    pub edition: String,
    /// Name shown on the status page
    #[arg(long, env = "MAINTENANT_ORGANISATION_NAME", default_value = "Maintenant", global = true)]
    pub organisation_name: String,
}

/// The server that e-mail channels hand their messages to.
#[derive(Debug, Clone, clap::Args)]
pub struct SmtpArgs {
    /// Mail server of email channels [default: none, and no such channels]
    #[arg(long, env = "MAINTENANT_SMTP_HOST", value_name = "HOST", global = true)]
    pub smtp_host: Option<String>,
    /// Its port [default: 587, with tls 465]
    #[arg(long, env = "MAINTENANT_SMTP_PORT", value_name = "PORT", global = true)]
    pub smtp_port: Option<String>,
    /// How it is encrypted: starttls, tls or none
    #[arg(long, env = "MAINTENANT_SMTP_TLS", default_value = "starttls", global = true)]
    pub smtp_tls: String,
    /// User name, if it asks for one
    #[arg(long, env = "MAINTENANT_SMTP_USERNAME", value_name = "NAME", global = true)]
    pub smtp_username: Option<String>,
    /// File with the password; or set MAINTENANT_SMTP_PASSWORD to the password itself
    #[arg(long, env = "MAINTENANT_SMTP_PASSWORD_FILE", value_name = "FILE", global = true)]
    pub smtp_password_file: Option<PathBuf>,
    // Not meant as a flag: command lines are public. clap reads no variable without one.
    #[arg(long = "smtp-password-from-environment", env = "MAINTENANT_SMTP_PASSWORD", hide = true)]
    #[arg(hide_env_values = true, global = true)]
    pub smtp_password: Option<String>,
    /// Sender of the messages
    #[arg(long, env = "MAINTENANT_SMTP_FROM", value_name = "ADDRESS", global = true)]
    #[arg(default_value = "maintenant@localhost")]
    pub smtp_from: String,
}

impl SmtpArgs {
    fn check(&self, faults: &mut Faults) -> Option<Smtp> {
        let tls = match self.smtp_tls.as_str() {
            "starttls" => Ok(SmtpTls::Starttls),
            "tls" => Ok(SmtpTls::Tls),
            "none" => Ok(SmtpTls::None),
            other => Err(format!("`{other}`: use starttls, tls or none")),
        };
        let tls = faults.or(SmtpTls::Starttls, "MAINTENANT_SMTP_TLS", tls);
        let usual = if tls == SmtpTls::Tls { 465 } else { 587 };
        let port = match self.smtp_port.as_deref().filter(|port| !port.is_empty()) {
            Some(port) => port.parse().map_err(|_| format!("`{port}` is no port; use 1 to 65535")),
            None => Ok(usual),
        };
        let name = "MAINTENANT_SMTP_PASSWORD";
        let file = self.smtp_password_file.as_deref();
        let password = settings::secret(name, self.smtp_password.as_deref(), file);
        let password = faults.or(None, name, password);
        let user = self.smtp_username.clone().filter(|user| !user.is_empty());
        if user.is_some() != password.is_some() {
            faults.add("MAINTENANT_SMTP_USERNAME", "user name and password belong together");
        }
        let from = self.smtp_from.parse::<Mailbox>();
        if from.is_err() {
            let fault = format!("`{}` is no address such as ops@example.org", self.smtp_from);
            faults.add("MAINTENANT_SMTP_FROM", &fault);
        }
        let port = faults.or(usual, "MAINTENANT_SMTP_PORT", port);
        let host = self.smtp_host.clone().filter(|host| !host.is_empty())?;
        Some(Smtp { host, port, tls, credentials: user.zip(password), from: from.ok()? })
    }
}

/// What the collector runs with.
#[derive(Debug)]
pub struct Config {
    pub address: Address,
    pub tls: Option<TlsFiles>,
    pub access: Access,
    pub db: PathBuf,
    /// The engine to watch; `None` watches nothing.
    pub docker: Option<Host>,
    /// How long a container may be down before that is an alert; at most [`LONGEST_DOWN`].
    pub container_down_after: SignedDuration,
    pub probes: Probes,
    /// The file of `MAINTENANT_CONFIG`.
    pub endpoints: Declarations,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    pub connections: ConnectionLimits,
    /// Where the public reaches this server: pings are sent there.
    pub base_url: String,
    /// How messages are sent.
    pub notify: notify::Settings,
    pub updates: updates::Settings,
    pub edition: Edition,
    pub organisation_name: String,
}

/// What endpoints and certificates are probed with.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    /// Exceptions from what is never probed.
    pub allowed: Vec<IpNet>,
    pub ca_cert: Option<PathBuf>,
}

/// Who may ask, and from where.
#[derive(Debug, Clone)]
pub struct Access {
    pub token: Option<Secret>,
    /// Checked while no token is set: a name from elsewhere is a rebound one.
    pub allowed_hosts: AllowedHosts,
    pub cors_origins: Arc<[String]>,
}

/// Whether the routes marked Pro are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    Community,
    Extended,
}

impl Args {
    pub fn check(&self) -> Result<(Config, Logging), SettingsError> {
        let mut faults = Faults::default();
        let logging = self.log.check(&mut faults);
        let hosts = settings::list(self.allowed_hosts.as_deref().unwrap_or_default());
        let parts = (&self.listen, &self.token, hosts.as_slice());
        let config = self.collector.check(parts, "127.0.0.1:8081", &mut faults);
        faults.finish()?;
        Ok((config, logging))
    }
}

impl CollectorArgs {
    /// Checks these settings together with where to listen, the token, and the host names allowed
    /// without one.
    pub fn check(
        &self,
        (listen, token, hosts): (&ListenArgs, &TokenArgs, &[String]),
        default_address: &str,
        faults: &mut Faults,
    ) -> Config {
        let listen = listen.check(default_address, faults);
        let token = token.check(faults);
        let open = settings::boolean(&self.allow_unauthenticated);
        let open = faults.or(false, "MAINTENANT_ALLOW_UNAUTHENTICATED", open);
        let asks =
            token.is_some() || listen.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if !listen.address.is_local() && !asks && !open {
            faults.add(
                "MAINTENANT_ADDR",
                &format!(
                    "{} can be reached from other machines and nothing asks who calls; set \
                     MAINTENANT_API_TOKEN, or MAINTENANT_ALLOW_UNAUTHENTICATED=true if something \
                     in front of it does",
                    listen.address
                ),
            );
        }
        let edition = match self.edition.as_str() {
            "community" => Ok(Edition::Community),
            "extended" | "enterprise" => Ok(Edition::Extended),
            other => Err(format!("`{other}` is no edition; use community or extended")),
        };
        let private = settings::boolean(&self.allow_private_webhooks);
        let notify = notify::Settings {
            allow_private: faults.or(false, "MAINTENANT_ALLOW_PRIVATE_WEBHOOKS", private),
            smtp: self.smtp.check(faults),
        };
        let own_host = listen.base_url.host().unwrap_or_default().to_owned();
        let hosts = hosts.iter().map(|host| without_port(host).to_owned());
        let origins = settings::list(self.cors_origins.as_deref().unwrap_or_default());
        Config {
            address: listen.address,
            tls: listen.tls,
            access: Access {
                token,
                allowed_hosts: AllowedHosts::new(hosts.chain([own_host])),
                cors_origins: origins.into(),
            },
            db: database_path(&self.db, faults),
            probes: Probes {
                allowed: faults.or(
                    Vec::new(),
                    "MAINTENANT_ALLOWED_TARGETS",
                    settings::networks(self.allowed_targets.as_deref().unwrap_or_default()),
                ),
                ca_cert: self.probe_ca_cert.clone(),
            },
            endpoints: self
                .config
                .as_deref()
                .map(|path| endpoints::file::read(path, faults))
                .unwrap_or_default(),
            trusted_proxies: listen.trusted_proxies,
            connections: listen.connections,
            base_url: listen.base_url.to_string().trim_end_matches('/').to_owned(),
            notify,
            updates: updates::Settings {
                interval: update_interval(&self.update_interval, faults),
                docker_config: docker_config(self.docker_config.as_deref()),
            },
            docker: docker(self, faults),
            container_down_after: down_after(&self.container_down_after, faults),
            edition: faults.or(Edition::Community, "MAINTENANT_EDITION", edition),
            organisation_name: self.organisation_name.clone(),
        }
    }
}

/// The database's one true path: lock and socket stand beside it, and must be the same whatever
/// link it is reached by.
fn database_path(text: &str, faults: &mut Faults) -> PathBuf {
    let path = PathBuf::from(text);
    if let Ok(real) = path.canonicalize()
        && real.is_file()
    {
        return real;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    match (path.file_name(), folder) {
        (Some(name), Ok(folder)) if !path.is_dir() => folder.join(name),
        (Some(_), Err(_)) => {
            faults.add("MAINTENANT_DB", &format!("the folder of `{text}` does not exist"));
            path
        }
        _ => {
            faults.add("MAINTENANT_DB", &format!("`{text}` names no file"));
            path
        }
    }
}

/// The unix socket beside the database: `<db>.sock`.
pub fn local_socket(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".sock");
    path.into()
}

/// A comma list of networks; a bare address is a network of one.
fn down_after(text: &str, faults: &mut Faults) -> SignedDuration {
    let parsed = settings::duration(text).and_then(|after| {
        let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
        let fault = || format!("`{text}` is too long; use at most {LONGEST_DOWN:#}");
        if after <= LONGEST_DOWN { Ok(after) } else { Err(fault()) }
    });
    faults.or(SignedDuration::ZERO, "MAINTENANT_CONTAINER_DOWN_AFTER", parsed)
}

/// `None` for none at all.
fn update_interval(text: &str, faults: &mut Faults) -> Option<Duration> {
    if matches!(text.trim(), "0" | "off") {
        return None;
    }
    let parsed = settings::duration(text).and_then(|interval| {
        let fault = || {
            let (least, most) =
                (SHORTEST_UPDATES.as_secs() / 60, LONGEST_UPDATES.as_secs() / 86_400);
            format!("`{text}`: use {least} minutes to {most} days, or 0 for none")
        };
        let is_none = interval.is_zero();
        let fits = (SHORTEST_UPDATES..=LONGEST_UPDATES).contains(&interval);
        if is_none || fits { Ok(Some(interval).filter(|_| fits)) } else { Err(fault()) }
    });
    faults.or(None, "MAINTENANT_UPDATE_INTERVAL", parsed)
}

fn docker_config(folder: Option<&Path>) -> Option<PathBuf> {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    let usual = || std::env::home_dir().map(|home| home.join(".docker"));
    Some(folder.map(Path::to_owned).or_else(usual)?.join("config.json"))
}

fn docker(args: &CollectorArgs, faults: &mut Faults) -> Option<Host> {
    match args.runtime.as_str() {
        "none" => return None,
        "auto" | "docker" => {}
        other => {
            let fault = format!("`{other}` is no runtime; use auto, docker or none");
            faults.add("MAINTENANT_RUNTIME", &fault);
        }
    }
    let text = args.docker_host.as_deref().filter(|text| !text.is_empty()).unwrap_or(DEFAULT_HOST);
    let tls = args.docker_tls_verify.as_deref().is_some_and(|value| !matches!(value, "" | "0"));
    match Host::parse(text, tls, args.docker_cert_path.as_deref()) {
        Ok(host) => Some(host),
        Err(fault) => {
            faults.add("DOCKER_HOST", &fault);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(arguments: &[&str]) -> String {
        let args = Args::try_parse_from([&["maintenant-collector"], arguments].concat()).unwrap();
        match args.check() {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(faults(&[]), "");
    }

    #[test]
    fn every_fault_is_listed() {
        let text = faults(&[
            "--addr=nowhere",
            "--edition=gold",
            "--runtime=podman",
            "--log-format=xml",
            "--docker-host=ftp://x",
            "--db=/no/such/folder/m.db",
            "--container-down-after=25h",
            "--tls-cert=x.pem",
            "--allowed-targets=everything",
            "--trusted-proxies=10.0.0.0/33",
            "--allow-private-webhooks=perhaps",
            "--smtp-port=smtp",
            "--smtp-tls=ssl",
            "--smtp-username=me",
            "--smtp-from=nobody",
            "--update-interval=10s",
        ]);
        for name in [
            "MAINTENANT_ADDR",
            "MAINTENANT_EDITION",
            "MAINTENANT_RUNTIME",
            "MAINTENANT_LOG_FORMAT",
            "DOCKER_HOST",
            "MAINTENANT_DB",
            "MAINTENANT_CONTAINER_DOWN_AFTER",
            "MAINTENANT_TLS_CERT",
            "MAINTENANT_ALLOWED_TARGETS",
            "MAINTENANT_TRUSTED_PROXIES",
            "MAINTENANT_ALLOW_PRIVATE_WEBHOOKS",
            "MAINTENANT_SMTP_PORT",
            "MAINTENANT_SMTP_TLS",
            "MAINTENANT_SMTP_USERNAME",
            "MAINTENANT_SMTP_FROM",
            "MAINTENANT_UPDATE_INTERVAL",
        ] {
            assert!(text.contains(name), "{name} is missing from: {text}");
        }
    }

    #[test]
    fn a_container_may_be_down_for_a_day_at_most() {
        assert_eq!(faults(&["--container-down-after=0s"]), "");
        assert_eq!(faults(&["--container-down-after=24h"]), "");
        assert!(faults(&["--container-down-after=24h1s"]).contains("use at most 24h"));
        assert!(faults(&["--container-down-after=soon"]).contains("no duration"));
    }

    #[test]
    fn a_database_has_one_path_whatever_link_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (real, links) = (folder.path().join("real"), folder.path().join("links"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &links).unwrap();
        std::os::unix::fs::symlink(real.join("m.db"), real.join("also.db")).unwrap();
        let path = |path: PathBuf| database_path(path.to_str().unwrap(), &mut Faults::default());
        let canonical = path(real.join("m.db"));
        assert_eq!(path(links.join("m.db")), canonical, "before the file exists");
        std::fs::write(real.join("m.db"), "").unwrap();
        assert_eq!(path(links.join("m.db")), canonical);
        assert_eq!(path(real.join("also.db")), canonical);
    }

    #[test]
    fn listening_beyond_loopback_needs_a_token_or_a_decision() {
        assert!(faults(&["--addr=0.0.0.0:8081"]).contains("MAINTENANT_API_TOKEN"));
        assert_eq!(faults(&["--addr=0.0.0.0:8081", "--allow-unauthenticated"]), "");
        assert_eq!(faults(&["--addr=unix:/tmp/m.sock"]), "");
    }
}
