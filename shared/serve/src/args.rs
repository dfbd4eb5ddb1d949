//! Settings that every program of the project has, as `clap` arguments with their variables.
//!
//! Everything is taken as text and checked here, so that a run reports all faults at once.

use std::path::PathBuf;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use crate::listener::{CONNECTIONS_PER_CLIENT, ConnectionLimits, LOOPBACK};
use crate::logging::{self, Format};
use crate::settings::{Address, Faults, Secret, networks, secret};
use crate::tls::TlsFiles;

/// Where a program listens and under which name it is known.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ListenArgs {
    /// Listen address: host:port, [ipv6]:port or unix:/path [default: 127.0.0.1:8081 for the
    /// collector alone, else 127.0.0.1:8080]
    #[arg(long, env = "MAINTENANT_ADDR", value_name = "ADDRESS", global = true)]
    pub addr: Option<String>,
    /// Public URL [default: http://localhost:<port>]
    #[arg(long, env = "MAINTENANT_BASE_URL", value_name = "URL", global = true)]
    pub base_url: Option<String>,
    /// Certificate chain of the listener, PEM
    #[arg(long, env = "MAINTENANT_TLS_CERT", value_name = "FILE", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the listener, PEM
    #[arg(long, env = "MAINTENANT_TLS_KEY", value_name = "FILE", global = true)]
    pub tls_key: Option<PathBuf>,
    /// Demand client certificates of this CA, PEM
    #[arg(long, env = "MAINTENANT_TLS_CLIENT_CA", value_name = "FILE", global = true)]
    pub tls_client_ca: Option<PathBuf>,
    /// Proxies whose X-Forwarded-For is believed, comma list of addresses and networks
    #[arg(long, env = "MAINTENANT_TRUSTED_PROXIES", value_name = "NETWORKS", global = true)]
    pub trusted_proxies: Option<String>,
    /// Open connections one client address may have on a listener, 0 for any number; loopback and
    /// trusted proxies are not counted [default: 128]
    #[arg(long, env = "MAINTENANT_CONNECTIONS_PER_CLIENT", value_name = "NUMBER", global = true)]
    pub connections_per_client: Option<String>,
}

/// [`ListenArgs`], checked.
#[derive(Debug, Clone)]
pub struct Listen {
    pub address: Address,
    /// Without a slash at its end.
    pub base_url: http::Uri,
    pub tls: Option<TlsFiles>,
    pub trusted_proxies: Vec<IpNet>,
    /// What `serve_all` takes.
    pub connections: ConnectionLimits,
}

impl ListenArgs {
    pub fn check(&self, default_address: &str, faults: &mut Faults) -> Listen {
        let text = self.addr.as_deref().unwrap_or(default_address);
        let address = faults.or(Address::Unix(PathBuf::new()), "MAINTENANT_ADDR", text.parse());
        let text = match (&self.base_url, &address) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Address::Tcp { port, .. }) => format!("http://localhost:{port}"),
            (None, Address::Unix(_)) => "http://localhost".to_owned(),
        };
        let base_url = match text.parse::<http::Uri>() {
            Ok(uri)
                if uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")) =>
            {
                Ok(uri)
            }
            _ => Err(format!("`{text}` is no URL; use https://host[:port]")),
        };
        let tls = match (self.tls_cert.clone(), self.tls_key.clone(), self.tls_client_ca.clone()) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), client_ca) => {
                Ok(Some(TlsFiles { certificate, key, client_ca }))
            }
            _ => Err("certificate and key (MAINTENANT_TLS_KEY) belong together".to_owned()),
        };
        let proxies = networks(self.trusted_proxies.as_deref().unwrap_or_default());
        let trusted_proxies = faults.or(Vec::new(), "MAINTENANT_TRUSTED_PROXIES", proxies);
        let per_client = self.connections_per_client.as_deref().map(per_client);
        let per_client = per_client.unwrap_or(Ok(CONNECTIONS_PER_CLIENT));
        let connections = ConnectionLimits {
            per_client: faults.or(0, "MAINTENANT_CONNECTIONS_PER_CLIENT", per_client),
            uncounted: [&LOOPBACK, trusted_proxies.as_slice()].concat(),
            ..ConnectionLimits::default()
        };
        Listen {
            address,
            base_url: faults.or(http::Uri::default(), "MAINTENANT_BASE_URL", base_url),
            tls: faults.or(None, "MAINTENANT_TLS_CERT", tls),
            trusted_proxies,
            connections,
        }
    }
}

fn per_client(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Ok(usize::MAX),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("`{text}` is no number; use 1 or more, or 0 for any number")),
    }
}

/// The bearer token of `/api/v1`, demanded by the collector and sent by the gateway.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TokenArgs {
    /// File with the bearer token of /api/v1; or set MAINTENANT_API_TOKEN to the token itself
    #[arg(long, env = "MAINTENANT_API_TOKEN_FILE", value_name = "FILE", global = true)]
    pub api_token_file: Option<PathBuf>,
    // Not meant as a flag: command lines are public. clap reads no variable without one.
    #[arg(long = "api-token-from-environment", env = "MAINTENANT_API_TOKEN", hide = true)]
    #[arg(hide_env_values = true, global = true)]
    pub api_token: Option<String>,
}

impl TokenArgs {
    pub fn check(&self, faults: &mut Faults) -> Option<Secret> {
        let name = "MAINTENANT_API_TOKEN";
        let token = secret(name, self.api_token.as_deref(), self.api_token_file.as_deref());
        faults.or(None, name, token)
    }
}

/// How much is logged and in which form; always on stderr.
#[derive(Debug, Clone, clap::Args)]
pub struct LogArgs {
    /// error, warn, info, debug or trace, or directives such as info,maintenant_collector=debug
    #[arg(long, env = "MAINTENANT_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    #[arg(global = true)]
    pub log_level: String,
    /// text or json [default: text on a terminal, else json]
    #[arg(long, env = "MAINTENANT_LOG_FORMAT", value_name = "FORMAT", global = true)]
    pub log_format: Option<String>,
}

/// [`LogArgs`], checked.
#[derive(Debug)]
pub struct Logging {
    pub filter: EnvFilter,
    pub format: Format,
}

impl LogArgs {
    pub fn check(&self, faults: &mut Faults) -> Logging {
        let filter = logging::filter(&self.log_level);
        let format = logging::format(self.log_format.as_deref());
        Logging {
            filter: faults.or(EnvFilter::default(), "MAINTENANT_LOG_LEVEL", filter),
            format: faults.or(Format::Json, "MAINTENANT_LOG_FORMAT", format),
        }
    }
}

impl Logging {
    pub fn init(self) {
        logging::init(self.filter, self.format);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_have_so_many_connections_and_proxies_any_number() {
        let check = |text: Option<&str>, expected: Result<usize, &str>| {
            let args = ListenArgs {
                connections_per_client: text.map(str::to_owned),
                trusted_proxies: Some("192.0.2.0/24".to_owned()),
                ..ListenArgs::default()
            };
            let mut faults = Faults::default();
            let limits = args.check("127.0.0.1:8080", &mut faults).connections;
            let fault = faults.finish().err().map(|error| error.to_string());
            assert_eq!(fault.is_none(), expected.is_ok(), "{text:?}: {fault:?}");
            match expected {
                Ok(expected) => assert_eq!(limits.per_client, expected, "{text:?}"),
                Err(expected) => assert!(fault.unwrap().contains(expected), "{text:?}"),
            }
            let uncounted = limits.uncounted.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(uncounted, ["127.0.0.0/8", "::1/128", "192.0.2.0/24"]);
        };
        check(None, Ok(128));
        check(Some("7"), Ok(7));
        check(Some("0"), Ok(usize::MAX));
        for bad in ["", "-1", "many", "1.5"] {
            check(Some(bad), Err("MAINTENANT_CONNECTIONS_PER_CLIENT: `"));
        }
    }
}
