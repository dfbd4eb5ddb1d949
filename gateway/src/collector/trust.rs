//! Whom a collector's certificate must be of, and who we are to it: files that may be read again
//! while the process runs. A client made of them lasts until they change, with its connections.

use std::fmt;
use std::path::Path;

use anyhow::Context;
use reqwest::{Certificate, Client, ClientBuilder, Identity};
use tokio::sync::OnceCell;

use super::settings::CollectorSettings;

/// What the files of `MAINTENANT_CA_CERT`, `MAINTENANT_CLIENT_CERT` and `…_KEY` hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    ca: Option<Vec<u8>>,
    /// Certificate and key.
    identity: Option<Vec<u8>>,
}

/// A client that trusts as these files say.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) files: TlsFiles,
    /// Built at the first call: loading the system's trusted certificates takes longer than the
    /// rest of the start.
    pub(super) client: OnceCell<Client>,
}

impl Trust {
    pub(super) fn of(files: TlsFiles) -> Self {
        Self { files, client: OnceCell::new() }
    }
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFiles").finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// The files that are named, as they are now.
    pub fn read(settings: &CollectorSettings) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let ca = settings.ca_certificate.as_deref().map(read).transpose()?;
        let identity = match &settings.client_certificate {
            None => None,
            Some((certificate, key)) => {
                let mut pem = read(certificate)?;
                pem.push(b'\n');
                pem.extend(read(key)?);
                Some(pem)
            }
        };
        let files = Self { ca, identity };
        if files != Self::default() {
            // What does not parse stops the start, not the first call.
            files.applied(Client::builder(), false)?.build().context("TLS towards collectors")?;
        }
        Ok(files)
    }

    /// Trusts the system's certificates only where TLS is spoken and nothing else is said.
    pub(super) fn applied(
        &self,
        builder: ClientBuilder,
        speaks_tls: bool,
    ) -> anyhow::Result<ClientBuilder> {
        let builder = match &self.ca {
            Some(pem) => {
                let certificates =
                    Certificate::from_pem_bundle(pem).context("MAINTENANT_CA_CERT")?;
                anyhow::ensure!(!certificates.is_empty(), "no certificate in MAINTENANT_CA_CERT");
                builder.tls_certs_only(certificates)
            }
            None if speaks_tls => builder,
            None => builder.tls_certs_only([]),
        };
        Ok(match &self.identity {
            Some(pem) => {
                builder.identity(Identity::from_pem(pem).context("MAINTENANT_CLIENT_CERT")?)
            }
            None => builder,
        })
    }
}
