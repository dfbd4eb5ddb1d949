//! Fetches the keys of an issuer over HTTP: from the address that is set, else from the one its
//! metadata names (RFC 8414, OpenID Connect Discovery 1.0).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use maintenant_serve::settings::is_loopback;
use reqwest::{Certificate, Client, Url, redirect};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::keys::KeySet;
use super::refresh::Fetch;
use super::settings::{AuthSettings, Issuer};

/// For one document, from the connection to its last byte.
const DEADLINE: Duration = Duration::from_secs(5);
/// Largest document, in bytes.
const LARGEST: usize = 256 * 1024;

/// One issuer, reached over HTTP.
pub struct Http {
    issuer: String,
    /// Set, or where metadata may be.
    from: Source,
    ca: Option<PathBuf>,
    insecure: bool,
    deadline: Duration,
    /// Built at the first fetch: reading the system's trusted certificates takes its time.
    client: OnceCell<Client>,
}

enum Source {
    Set(Url),
    Discovered { scheme: String, metadata: Vec<Url> },
}

/// The members of both kinds of metadata that are needed here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Http {
    /// Checks addresses and connects to nothing.
    pub fn new(issuer: &Issuer, settings: &AuthSettings) -> anyhow::Result<Self> {
        let insecure = settings.insecure_issuer;
        let from = if let Some(url) = &issuer.jwks_url {
            permitted(url, insecure)
                .map_err(anyhow::Error::msg)
                .context("MAINTENANT_MCP_JWKS_URL")?;
            Source::Set(url.clone())
        } else {
            let url = Url::parse(&issuer.name)
                .map_err(anyhow::Error::msg)
                .and_then(|url| permitted(&url, insecure).map_err(anyhow::Error::msg).map(|()| url))
                .context("MAINTENANT_MCP_ISSUER")?;
            Source::Discovered { scheme: url.scheme().to_owned(), metadata: metadata_urls(&url) }
        };
        Ok(Self {
            issuer: issuer.name.clone(),
            from,
            ca: settings.issuer_ca.clone(),
            insecure,
            deadline: DEADLINE,
            client: OnceCell::new(),
        })
    }

    /// With another deadline for one document than five seconds.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    async fn jwks_url(&self) -> Result<Url, String> {
        let (scheme, metadata) = match &self.from {
            Source::Set(url) => return Ok(url.clone()),
            Source::Discovered { scheme, metadata } => (scheme, metadata),
        };
        let mut faults = Vec::new();
        for url in metadata {
            match self.document(url).await.and_then(|body| self.read_metadata(&body, scheme)) {
                Ok(jwks_url) => return Ok(jwks_url),
                Err(fault) => faults.push(format!("{url}: {fault}")),
            }
        }
        Err(format!("no metadata of the issuer; {}", faults.join("; ")))
    }

    fn read_metadata(&self, body: &[u8], scheme: &str) -> Result<Url, String> {
        let metadata: Metadata = serde_json::from_slice(body)
            .map_err(|_| "not a metadata document with issuer and jwks_uri".to_owned())?;
        // RFC 8414 §3.3: else one issuer could speak for another.
        if metadata.issuer != self.issuer {
            return Err(format!(
                "it is the metadata of `{}`; MAINTENANT_MCP_ISSUER must be the same, byte for byte",
                metadata.issuer.chars().take(100).collect::<String>()
            ));
        }
        let url = Url::parse(&metadata.jwks_uri).map_err(|_| "its jwks_uri is no URL")?;
        if url.scheme() != scheme {
            return Err(format!("its jwks_uri is not {scheme} as the issuer"));
        }
        permitted(&url, self.insecure)?;
        Ok(url)
    }

    async fn document(&self, url: &Url) -> Result<Vec<u8>, String> {
        let client = self
            .client
            .get_or_try_init(async || self.build_client())
            .await
            .map_err(|error| format!("{error:#}"))?;
        let failed = |error: reqwest::Error| describe(error, self.deadline);
        let mut response = client.get(url.clone()).send().await.map_err(failed)?;
        let status = response.status().as_u16();
        if (300..400).contains(&status) {
            return Err(format!("it redirects (status {status}), which is not followed"));
        }
        if status != 200 {
            return Err(format!("status {status}"));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LARGEST {
                return Err("larger than 256 KiB".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn build_client(&self) -> anyhow::Result<Client> {
        let builder = || {
            Client::builder()
                .no_proxy()
                .redirect(redirect::Policy::none())
                .timeout(self.deadline)
                .pool_max_idle_per_host(0)
                .user_agent(concat!("maintenant-gateway/", env!("CARGO_PKG_VERSION")))
        };
        let speaks_tls = match &self.from {
            Source::Set(url) => url.scheme() == "https",
            Source::Discovered { scheme, .. } => scheme == "https",
        };
        let Some(file) = &self.ca else {
            let builder = if speaks_tls { builder() } else { builder().tls_certs_only([]) };
            return builder.build().context("trusted certificates of the system");
        };
        let pem = std::fs::read(file).context("MAINTENANT_MCP_ISSUER_CA")?;
        let certificates =
            Certificate::from_pem_bundle(&pem).context("MAINTENANT_MCP_ISSUER_CA")?;
        anyhow::ensure!(!certificates.is_empty(), "no certificate in MAINTENANT_MCP_ISSUER_CA");
        // An image may have no certificates of its own.
        let merged = builder().tls_certs_merge(certificates.clone()).build();
        merged.or_else(|_| builder().tls_certs_only(certificates).build()).context("TLS")
    }
}

#[async_trait]
impl Fetch for Http {
    async fn fetch(&self) -> Result<KeySet, String> {
        let url = self.jwks_url().await?;
        let set = self.document(&url).await.and_then(|body| KeySet::parse(&body));
        set.map_err(|fault| format!("{url}: {fault}"))
    }
}

/// https, or http to this machine, or anything in a laboratory.
fn permitted(url: &Url, insecure: bool) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default();
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL holds credentials; leave them away".to_owned());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if insecure || is_loopback(host) => Ok(()),
        "http" => Err("http is for loopback; use https, or set \
                       MAINTENANT_MCP_INSECURE_ISSUER=true in a laboratory"
            .to_owned()),
        _ => Err("the URL is neither https://… nor http://…".to_owned()),
    }
}

/// Where metadata may be, in this order: RFC 8414 §3.1, OpenID Connect with the path inserted in the
/// same way, and with the path first (OpenID Connect Discovery 1.0 §4).
fn metadata_urls(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: &str| {
        let mut url = issuer.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.set_path(path);
        url
    };
    let mut urls = vec![
        at(&format!("/.well-known/oauth-authorization-server{path}")),
        at(&format!("/.well-known/openid-configuration{path}")),
    ];
    if !path.is_empty() {
        urls.push(at(&format!("{path}/.well-known/openid-configuration")));
    }
    urls
}

/// The innermost cause says most; the URL is named by the caller.
fn describe(error: reqwest::Error, deadline: Duration) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", deadline.as_secs_f32());
    }
    let connect = error.is_connect();
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if connect { format!("cannot connect: {cause}") } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn metadata_is_looked_for_at_every_place_a_specification_names() {
        let check = |issuer: &str, expected: &[&str]| {
            let got: Vec<_> = metadata_urls(&url(issuer)).iter().map(Url::to_string).collect();
            assert_eq!(got, expected);
        };
        let bare = [
            "https://i.example/.well-known/oauth-authorization-server",
            "https://i.example/.well-known/openid-configuration",
        ];
        check("https://i.example", &bare);
        check("https://i.example/", &bare);
        let path = [
            "https://i.example:8443/.well-known/oauth-authorization-server/a/b",
            "https://i.example:8443/.well-known/openid-configuration/a/b",
            "https://i.example:8443/a/b/.well-known/openid-configuration",
        ];
        check("https://i.example:8443/a/b", &path);
        check("https://i.example:8443/a/b/", &path);
    }

    #[test]
    fn plain_http_is_for_loopback_and_laboratories() {
        for good in
            ["https://i.example", "http://localhost:1", "http://127.0.0.1", "http://[::1]/x"]
        {
            assert_eq!(permitted(&url(good), false), Ok(()), "{good}");
        }
        for bad in [
            "http://i.example",
            "http://localhost.example",
            "ftp://localhost",
            "unix:/x",
            "https://u@i.example",
            "https://:p@i.example",
            "http://u:p@localhost",
        ] {
            assert!(permitted(&url(bad), false).is_err(), "{bad}");
        }
        assert_eq!(permitted(&url("http://i.example"), true), Ok(()));
        assert!(permitted(&url("file:///x"), true).is_err());
    }

    #[test]
    fn metadata_speaks_for_its_own_issuer_and_keeps_its_scheme() {
        let issuer = Issuer { name: "https://i.example/a".to_owned(), jwks_url: None };
        let http = Http::new(&issuer, &AuthSettings::default()).unwrap();
        let read = |issuer: &str, jwks: &str| {
            let body = serde_json::json!({"issuer": issuer, "jwks_uri": jwks, "x": 1}).to_string();
            http.read_metadata(body.as_bytes(), "https").map(|url| url.to_string())
        };
        let name = "https://i.example/a";
        // On another host and with an odd path, as Glewlwyd has it.
        let keys = "https://k.example:4593//api/oidc/jwks";
        assert_eq!(read(name, keys).as_deref(), Ok(keys));
        for other in ["https://i.example/a/", "https://I.example/a", "https://i.example", ""] {
            assert!(read(other, keys).unwrap_err().contains("byte for byte"), "{other}");
        }
        for bad in [
            "http://k.example",
            "http://127.0.0.1/",
            "file:///etc/passwd",
            "/jwks",
            "",
            "https://u:p@k.example",
        ] {
            assert!(read(name, bad).is_err(), "{bad}");
        }
        assert!(http.read_metadata(b"{}", "https").is_err());
    }

    #[test]
    fn an_issuer_whose_metadata_is_looked_for_is_a_permitted_url() {
        let new = |name: &str, jwks: Option<&str>| {
            let issuer = Issuer { name: name.to_owned(), jwks_url: jwks.map(url) };
            Http::new(&issuer, &AuthSettings::default()).map(|_| ()).map_err(|e| format!("{e:#}"))
        };
        assert!(new("any name", Some("https://k.example")).is_ok());
        assert!(new("any name", None).unwrap_err().contains("MAINTENANT_MCP_ISSUER"));
        assert!(new("http://i.example", None).unwrap_err().contains("loopback"));
        let fault = new("i", Some("http://k.example")).unwrap_err();
        assert!(fault.contains("MAINTENANT_MCP_JWKS_URL"), "{fault}");
    }
}
