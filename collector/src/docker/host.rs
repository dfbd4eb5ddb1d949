//! Where the engine is, and how it is connected to.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;

use super::{CALL_DEADLINE, DockerError};
use crate::socket;

pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// Where the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Unix(String),
    Tcp(String),
    /// Client certificates and CA are `cert.pem`, `key.pem` and `ca.pem` in the folder.
    Tls(String, PathBuf),
}

impl Host {
    /// Reads `DOCKER_HOST` as Docker's own client does.
    pub fn parse(text: &str, tls: bool, cert_path: Option<&Path>) -> Result<Self, String> {
        let fault = || {
            format!("`{text}` is no engine; use unix:///path, tcp://host:port or https://host:port")
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(fault)?;
        if rest.is_empty() {
            return Err(fault());
        }
        match scheme {
            "unix" => Ok(Self::Unix(rest.to_owned())),
            "tcp" | "http" if !tls => Ok(Self::Tcp(rest.to_owned())),
            "tcp" | "https" => match cert_path {
                Some(folder) => Ok(Self::Tls(rest.to_owned(), folder.to_owned())),
                None => Err("TLS needs DOCKER_CERT_PATH, the folder of its certificates".into()),
            },
            _ => Err(fault()),
        }
    }

    /// How much the engine's clock may differ from ours.
    pub fn clock_skew(&self) -> Duration {
        match self {
            Self::Unix(_) => Duration::from_secs(2),
            Self::Tcp(_) | Self::Tls(..) => Duration::from_mins(1),
        }
    }

    /// The error with the group that would help, where it is one of permission.
    pub(super) fn with_advice(&self, error: DockerError) -> DockerError {
        match (self, error) {
            (Self::Unix(path), DockerError::PermissionDenied) => {
                DockerError::SocketRefuses(socket::refused(path))
            }
            // bollard takes a folder that cannot be entered for a missing socket.
            (Self::Unix(path), DockerError::Unreachable(_)) if is_hidden(path) => {
                DockerError::SocketRefuses(socket::refused(path))
            }
            (_, error) => error,
        }
    }

    pub(super) fn connect(&self) -> Result<bollard::Docker, DockerError> {
        // Covers the wait for an answer's head; whole calls have their own deadlines.
        let deadline = CALL_DEADLINE.as_secs();
        if let Self::Tls(_, folder) = self {
            // bollard goes on without a client certificate that it cannot read.
            for file in ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name)) {
                std::fs::read(&file).map_err(|error| {
                    DockerError::Unreachable(format!("cannot read {}: {error}", file.display()))
                })?;
            }
        }
        let client = match self {
            Self::Unix(path) => {
                bollard::Docker::connect_with_unix(path, deadline, API_DEFAULT_VERSION)
            }
            Self::Tcp(address) => {
                bollard::Docker::connect_with_http(address, deadline, API_DEFAULT_VERSION)
            }
            Self::Tls(address, folder) => bollard::Docker::connect_with_ssl(
                address,
                &folder.join("key.pem"),
                &folder.join("cert.pem"),
                &folder.join("ca.pem"),
                deadline,
                API_DEFAULT_VERSION,
            ),
        };
        Ok(client?)
    }
}

fn is_hidden(path: &str) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_is_read_as_dockers_client_reads_it() {
        let certs = Path::new("/certs");
        assert_eq!(
            Host::parse(DEFAULT_HOST, false, None),
            Ok(Host::Unix("/var/run/docker.sock".into()))
        );
        assert_eq!(Host::parse("tcp://h:2375", false, None), Ok(Host::Tcp("h:2375".into())));
        let tls = Ok(Host::Tls("h:2376".into(), "/certs".into()));
        assert_eq!(Host::parse("tcp://h:2376", true, Some(certs)), tls);
        assert_eq!(Host::parse("https://h:2376", false, Some(certs)), tls);
        assert!(Host::parse("tcp://h:2376", true, None).unwrap_err().contains("DOCKER_CERT_PATH"));
        for bad in ["", "docker.sock", "unix://", "ssh://h", "npipe:////./pipe/x"] {
            assert!(Host::parse(bad, false, None).is_err(), "{bad}");
        }
    }
}
