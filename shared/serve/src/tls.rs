//! TLS on a listener: certificate and key from files, reloaded when the files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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

    /// Loads the files now, whether or not they look changed. When they do not load, the old
    /// configuration stays.
    pub fn reload(&self) -> anyhow::Result<()> {
        let (modified, config) = (modified(&self.files), Arc::new(config(&self.files)?));
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Current { config, modified, checked: Instant::now() };
        Ok(())
    }

    /// The acceptor for a new connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
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

pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read certificates from {}", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "no certificate in {}", path.display());
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_load_keeps_the_old_certificate() {
        crate::process::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            certificate: folder.path().join("pem"),
            key: folder.path().join("key"),
            client_ca: None,
        };
        let make = || {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(&files.certificate, made.cert.pem()).unwrap();
            std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        };
        make();
        let tls = Tls::load(files.clone()).unwrap();
        let served = || tls.acceptor().config().clone();
        let first = served();
        std::fs::write(&files.certificate, "nothing").unwrap();
        assert!(tls.reload().is_err());
        assert!(Arc::ptr_eq(&first, &served()));
        make();
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&first, &served()));
    }
}
