//! What an image is called: registry, repository, tag and digest, as Docker reads them.

use std::fmt;
use std::net::IpAddr;

/// The registry of names without one.
pub const HUB: &str = "docker.io";
/// Where that registry answers.
const HUB_HOST: &str = "registry-1.docker.io";
/// Bytes of a name; the distribution's own limit is 255 for the repository.
const LONGEST: usize = 512;

/// A reference with everything that is implied written out, but for the tag: `nginx` is
/// `docker.io/library/nginx`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host, and port if there is one.
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    /// `sha256:...`
    pub digest: Option<String>,
}

/// Where a repository is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Host, and port if there is one.
    pub host: String,
    pub repository: String,
}

impl Reference {
    /// Reads `[host[:port]/]path[:tag][@digest]`. The fault is one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = |what: &str| {
            Err(format!(
                "`{}` is no image reference: {what}; expected a form such as nginx:1.27 or \
                 ghcr.io/owner/app:v2",
                maintenant_serve::logging::foreign(text)
            ))
        };
        if text.is_empty() || text.len() > LONGEST {
            return fault("it is empty or too long");
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return fault("what follows the @ is no digest");
        }
        if name.starts_with("sha256:") || (name.len() == 64 && is_hex(name)) {
            return fault("it is the id of an image");
        }
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return fault("its tag has characters that tags do not have");
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path),
            _ => (HUB, name),
        };
        let registry = match registry.to_ascii_lowercase() {
            hub if matches!(&*hub, "index.docker.io" | "registry-1.docker.io") => HUB.to_owned(),
            other => other,
        };
        if !path.split('/').all(is_path_part) {
            return fault("its name has parts that names do not have");
        }
        let official = registry == HUB && !path.contains('/');
        let repository = if official { format!("library/{path}") } else { path.to_owned() };
        Ok(Self {
            registry,
            repository,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// A reference without tag and digest, as it is written.
    pub fn name_in(written: &str) -> &str {
        let name = written.split('@').next().unwrap_or(written);
        match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => name,
            _ => name,
        }
    }

    /// The tag that is meant: `latest` where neither tag nor digest is given.
    pub fn effective_tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some("latest"),
            (None, Some(_)) => None,
        }
    }

    /// Where it is asked for; with a mirror there, by the same repository.
    pub fn place(&self, mirror: Option<&str>) -> Place {
        let host = match mirror.unwrap_or(&self.registry) {
            HUB => HUB_HOST,
            other => other,
        };
        Place { host: host.to_owned(), repository: self.repository.clone() }
    }

    /// As people write it, without tag and digest.
    pub fn name(&self) -> String {
        match (self.registry.as_str(), self.repository.strip_prefix("library/")) {
            (HUB, Some(official)) => official.to_owned(),
            (HUB, None) => self.repository.clone(),
            (registry, _) => format!("{registry}/{}", self.repository),
        }
    }

    pub fn is_same_repository(&self, other: &Self) -> bool {
        self.registry == other.registry && self.repository == other.repository
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(to, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(to, "@{digest}"))
    }
}

/// Reads the label that names a mirror: a host, with a port if need be.
pub fn mirror(text: &str) -> Result<String, String> {
    let host = text.trim().trim_end_matches('/');
    let host = host.strip_prefix("https://").unwrap_or(host).to_ascii_lowercase();
    if is_host(&host) && !host.contains('@') {
        return Ok(if host == "index.docker.io" { HUB.to_owned() } else { host });
    }
    let given = maintenant_serve::logging::foreign(text);
    Err(format!("`{given}` is no registry; use a host such as ghcr.io or mirror.example:5000"))
}

/// Whether a host (with or without a port) is this machine, where plain HTTP is spoken too.
pub fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(bare, _)| bare),
    };
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The first part of a name is a host where it could be no path of Docker's own registry.
fn is_host(text: &str) -> bool {
    let (bare, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            return rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        }
        None => match text.split_once(':') {
            Some((bare, port)) => (bare, Some(port)),
            None => (text, None),
        },
    };
    let is_fine = |label: &str| {
        let middle = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(middle) && !label.starts_with('-')
    };
    let is_named = bare.contains('.') || port.is_some() || bare == "localhost";
    is_named && bare.split('.').all(is_fine) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_path_part(part: &str) -> bool {
    let bytes = part.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

/// `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`
pub fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// `sha256:` and 64 digits, or `sha512:` and 128.
pub fn is_digest(text: &str) -> bool {
    match text.split_once(':') {
        Some(("sha256", hex)) => hex.len() == 64 && is_hex(hex),
        Some(("sha512", hex)) => hex.len() == 128 && is_hex(hex),
        _ => false,
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Enough of a digest to tell it from others.
pub fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}
