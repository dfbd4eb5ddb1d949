//! Who we are at a registry: what `docker login` has left in Docker's configuration.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maintenant_serve::settings::Secret;
use serde::Deserialize;

use super::reference::HUB;

/// Bytes of the file.
const LARGEST: u64 = 1 << 20;

/// How to log in.
#[derive(Debug, Clone)]
pub enum Credential {
    Password {
        user: String,
        password: Secret,
    },
    /// Changed for an access token (OAuth 2 refresh).
    Identity(Secret),
}

/// All of a configuration file.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    known: BTreeMap<String, Credential>,
    /// By registry, the program that keeps its credentials; that of `*` keeps all others.
    helpers: BTreeMap<String, String>,
    /// Why the file could not be read.
    pub fault: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    /// `user:password` in base64.
    #[serde(rename = "auth")]
    both: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl Credentials {
    /// Reads `config.json`. A file that is not there holds nothing.
    pub fn read(path: &Path) -> Self {
        let fault = |error: String| Self {
            fault: Some(format!("{} cannot be read: {error}", path.display())),
            ..Self::default()
        };
        match std::fs::metadata(path) {
            Ok(found) if found.len() > LARGEST => return fault("it is too large".to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::default(),
            Err(error) => return fault(error.to_string()),
        }
        match std::fs::read(path) {
            Ok(text) => Self::parse(&text).unwrap_or_else(fault),
            Err(error) => fault(error.to_string()),
        }
    }

    pub fn parse(text: &[u8]) -> Result<Self, String> {
        // What serde says of a value may repeat it.
        let file: File = serde_json::from_slice(text)
            .map_err(|error| format!("it is no configuration of Docker (line {})", error.line()))?;
        let mut known = BTreeMap::new();
        for (registry, auth) in file.auths {
            if let Some(credential) = auth.credential() {
                known.insert(host_of(&registry), credential);
            }
        }
        let mut helpers: BTreeMap<_, _> = file
            .cred_helpers
            .into_iter()
            .map(|(registry, helper)| (host_of(&registry), helper))
            .collect();
        if !file.creds_store.is_empty() {
            helpers.insert("*".to_owned(), file.creds_store);
        }
        Ok(Self { known, helpers, fault: None })
    }

    /// For a host as requests name it.
    pub fn find(&self, host: &str) -> Option<&Credential> {
        self.known.get(&host_of(host))
    }

    /// The helper that would know. Helpers are programs of the user's desktop and are not run.
    pub fn helper(&self, host: &str) -> Option<&str> {
        self.helpers.get(&host_of(host)).or_else(|| self.helpers.get("*")).map(String::as_str)
    }
}

impl Auth {
    fn credential(self) -> Option<Credential> {
        if !self.identitytoken.is_empty() {
            return Some(Credential::Identity(Secret::new(self.identitytoken)));
        }
        let decoded = STANDARD.decode(self.both.trim()).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let (user, password) = match decoded.trim_end_matches('\0').split_once(':') {
            Some((user, password)) => (user.to_owned(), password.to_owned()),
            None => (self.username, self.password),
        };
        let password = Secret::new(password);
        (!user.is_empty()).then_some(Credential::Password { user, password })
    }
}

/// Keys are hosts or addresses; Docker's own registry has had several names.
fn host_of(key: &str) -> String {
    let bare = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
    let host = bare.split('/').next().unwrap_or(bare).to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => HUB.to_owned(),
        _ => host,
    }
}
