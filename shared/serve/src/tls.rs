//! TLS on a listener: certificate and key from files, reloaded when the files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// How often, at most, the files are looked at. Looking is driven by new connections.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Where certificate chain, key and the optional client CA stand, as PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// With it, every client must present a certificate of this CA.
    pub client_ca: Option<PathBuf>,
}

/// A TLS configuration that follows its files. A file that does not load keeps the old one.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    modified: Vec<Option<SystemTime>>,
    checked: Instant,
}

impl Tls {
    pub fn load(files: TlsFiles) -> anyhow::Result<Self> {
        let config = Arc::new(config(&files)?);
        let modified = modified(&files);
        let current = Mutex::new(Current { config, modified, checked: Instant::now() });
        Ok(Self { files, current })
    }

    /// The acceptor for a new connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if current.checked.elapsed() >= RELOAD_INTERVAL {
            current.checked = Instant::now();
            let modified = modified(&self.files);
            if modified != current.modified {
                match config(&self.files) {
                    Ok(config) => {
                        current.config = Arc::new(config);
                        current.modified = modified;
                        tracing::info!("TLS certificate reloaded");
                    }
                    Err(error) => {
                        tracing::error!("TLS certificate changed and does not load: {error:#}");
                    }
                }
            }
        }
        TlsAcceptor::from(current.config.clone())
    }
}

fn modified(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()]
        .into_iter()
        .flatten()
        .map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
        .collect()
}

fn config(files: &TlsFiles) -> anyhow::Result<ServerConfig> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("no private key in {}", files.key.display()))?;
    let builder = ServerConfig::builder();
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).with_context(|| format!("in {}", path.display()))?;
            }
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build()?)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .with_context(|| format!("{} and its key", files.certificate.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "no certificate in {}", path.display());
    Ok(certificates)
}
