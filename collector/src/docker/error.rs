//! Why a call to the engine failed.

use std::io::ErrorKind;

/// Why a call failed, by what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    #[error("Docker cannot be reached: {0}")]
    Unreachable(String),
    #[error("the Docker socket refuses this user")]
    PermissionDenied,
    /// The same of a socket that could be looked at.
    #[error("{0}")]
    SocketRefuses(String),
    #[error("Docker does not answer")]
    Hung,
    /// No call failed: this process did not run.
    #[error("the collector itself was stopped for a while; everything is read anew")]
    Interrupted,
    #[error("no such container")]
    NotFound,
    /// A proxy or an authorization plugin said no.
    #[error("the call is refused ({0})")]
    Refused(String),
    /// The engine cannot do it, for example read the logs of this logging driver.
    #[error("Docker cannot do this: {0}")]
    Unsupported(String),
    #[error("Docker answered with an error: {0}")]
    Failed(String),
    #[error("Docker's answer could not be read: {0}")]
    Unreadable(String),
}

impl From<bollard::errors::Error> for DockerError {
    fn from(error: bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        match &error {
            Error::DockerResponseServerError { status_code, message } => {
                let message = message.trim().to_owned();
                match status_code {
                    401 | 403 | 405 => Self::Refused(message),
                    404 | 409 => Self::NotFound,
                    501 => Self::Unsupported(message),
                    _ => Self::Failed(message),
                }
            }
            Error::RequestTimeoutError => Self::Hung,
            Error::SocketNotFoundError(path) => Self::Unreachable(format!(
                "{path} does not exist; start Docker, mount its socket, or correct DOCKER_HOST"
            )),
            _ => match io_kind(&error) {
                Some(ErrorKind::PermissionDenied) => Self::PermissionDenied,
                Some(ErrorKind::NotFound) => Self::Unreachable("the socket is gone".into()),
                Some(ErrorKind::ConnectionRefused) => Self::Unreachable(
                    "connection refused; start Docker, or correct DOCKER_HOST".into(),
                ),
                _ => Self::Unreachable(chain(&error)),
            },
        }
    }
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    // bollard's and hyper's own words for "it failed" say nothing to anybody.
    let plain = |text: String| {
        text.replace("Error in the hyper legacy client: ", "").replace("client error ", "")
    };
    let mut text = plain(error.to_string());
    let mut next = error.source();
    while let Some(error) = next {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = error.source();
    }
    text
}
