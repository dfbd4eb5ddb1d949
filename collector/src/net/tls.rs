//! TLS as a client: a handshake that accepts everything and records it, and separately the question
//! whether it should have been accepted.
//!
//! A handshake that verifies would throw away the very certificate somebody wants to know about. So
//! the chain is recorded first and judged afterwards, before anything is sent over the connection.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a server presented.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presented {
    /// As sent, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Stapled OCSP response, DER; empty without one.
    pub ocsp: Vec<u8>,
    pub version: Option<ProtocolVersion>,
}

/// Why a handshake did not complete.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{}", super::connect::words(.0))]
    Io(std::io::Error),
    #[error("no TLS handshake in time")]
    Timeout,
}

/// Roots of trust: the system's and the operator's.
#[derive(Debug)]
pub struct Trust {
    roots: RootCertStore,
    /// When each of `roots` ends, in their order, as far as their certificates were seen.
    ends: Vec<Option<Timestamp>>,
    /// `None` without a single root: then nothing is trusted.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// The system's roots and those of a PEM file. A system without roots is reported in the log;
    /// then only what the file names is trusted.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut trust = Self::of(RootCertStore::empty())?;
        for certificate in rustls_native_certs::load_native_certs().certs {
            // Systems carry odd ones; what cannot be read is not trusted.
            let _ = trust.add(certificate);
        }
        if trust.roots.is_empty() {
            tracing::warn!(
                "this system has no certificate authorities: every chain is found untrusted"
            );
        }
        if let Some(path) = file {
            let more = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .with_context(|| format!("cannot read certificates from {}", path.display()))?;
            anyhow::ensure!(!more.is_empty(), "no certificate in {}", path.display());
            for certificate in more {
                trust.add(certificate).with_context(|| format!("in {}", path.display()))?;
            }
        }
        trust.ready()
    }

    /// Only these roots, which may be none.
    pub fn of(roots: RootCertStore) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let ends = vec![None; roots.len()];
        let config = Arc::new(recording_config(provider)?);
        Self { roots, ends, verifier: None, config }.ready()
    }

    fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), rustls::Error> {
        let end = x509_parser::parse_x509_certificate(&certificate).ok().map(|(_, parsed)| {
            let end = parsed.validity().not_after.timestamp();
            Timestamp::from_second(end).unwrap_or(Timestamp::MAX)
        });
        self.roots.add(certificate)?;
        self.ends.push(end);
        Ok(())
    }

    /// With a verifier for the roots as they now are.
    fn ready(mut self) -> anyhow::Result<Self> {
        self.verifier = if self.roots.is_empty() {
            None
        } else {
            let roots = Arc::new(self.roots.clone());
            let provider = self.config.crypto_provider().clone();
            Some(WebPkiServerVerifier::builder_with_provider(roots, provider).build()?)
        };
        Ok(self)
    }

    /// A client that accepts only what leads to these roots.
    pub fn verifying(&self) -> Result<ClientConfig, rustls::Error> {
        let provider = self.config.crypto_provider().clone();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        Ok(config)
    }

    /// Each root, and when its certificate ends where that is known.
    pub fn roots(&self) -> impl Iterator<Item = (&TrustAnchor<'static>, Option<Timestamp>)> {
        self.roots.roots.iter().zip(self.ends.iter().copied())
    }

    /// The same roots and these.
    pub fn with(&self, more: &[CertificateDer<'static>]) -> anyhow::Result<Self> {
        let mut trust = Self {
            roots: self.roots.clone(),
            ends: self.ends.clone(),
            verifier: None,
            config: self.config.clone(),
        };
        for certificate in more {
            trust.add(certificate.clone())?;
        }
        trust.ready()
    }

    /// Whether a client that trusts these roots accepts what was presented, under `name` at `now`.
    pub fn judge(
        &self,
        presented: &Presented,
        name: &ServerName<'_>,
        now: Timestamp,
    ) -> Result<(), rustls::Error> {
        let unknown = || rustls::Error::from(CertificateError::UnknownIssuer);
        let (leaf, intermediates) = presented.chain.split_first().ok_or_else(unknown)?;
        let verifier = self.verifier.as_ref().ok_or_else(unknown)?;
        let now = unix_time(now);
        verifier.verify_server_cert(leaf, intermediates, name, &presented.ocsp, now).map(|_| ())
    }

    /// Whether what was presented leads to one of these roots at `at`, whatever name it is for.
    pub fn judge_chain(&self, presented: &Presented, at: Timestamp) -> Result<(), rustls::Error> {
        let unknown = || rustls::Error::from(CertificateError::UnknownIssuer);
        let (leaf, intermediates) = presented.chain.split_first().ok_or_else(unknown)?;
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.config.crypto_provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.roots,
            intermediates,
            unix_time(at),
            algorithms,
        )
    }

    /// Handshakes over `stream` before `until`, accepting and recording whatever is presented. `name`
    /// goes out as SNI unless it is an address. No session is resumed.
    pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        name: ServerName<'static>,
        until: Instant,
    ) -> Result<(TlsStream<S>, Presented), HandshakeError> {
        let (presented, stream) = self.record(stream, name, true, until).await;
        Ok((stream?, presented))
    }

    /// As [`Trust::handshake`], with `name` sent only if `sni` says so. What was presented is told
    /// even if the handshake did not complete: a server may refuse us after showing who it is.
    pub async fn record<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        name: ServerName<'static>,
        sni: bool,
        until: Instant,
    ) -> (Presented, Result<TlsStream<S>, HandshakeError>) {
        let recorder = Arc::new(Recorder::new(self.config.crypto_provider()));
        let mut config = (*self.config).clone();
        config.enable_sni = sni;
        config.dangerous().set_certificate_verifier(recorder.clone());
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = match tokio::time::timeout_at(until, connecting).await {
            Err(_) => Err(HandshakeError::Timeout),
            Ok(Err(error)) => Err(fault(error)),
            Ok(Ok(stream)) => Ok(stream),
        };
        let mut presented = recorder.take();
        presented.version = stream.as_ref().ok().and_then(|s| s.get_ref().1.protocol_version());
        (presented, stream)
    }
}

/// Whether `certificate` is for `name`, by its alternative names alone. `None`: clients cannot read
/// it.
pub fn is_for(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Option<bool> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    Some(verify_server_name(&certificate, name).is_ok())
}

fn unix_time(at: Timestamp) -> UnixTime {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// The name of a host as TLS knows it: a DNS name or an address, brackets and final dot removed.
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.trim_end_matches('.').to_owned()).ok()
}

fn recording_config(provider: Arc<CryptoProvider>) -> anyhow::Result<ClientConfig> {
    let recorder = Arc::new(Recorder::new(&provider));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(recorder)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = Vec::new();
    Ok(config)
}

fn fault(error: std::io::Error) -> HandshakeError {
    match error.downcast::<rustls::Error>() {
        Ok(tls) => HandshakeError::Tls(tls),
        Err(error) => HandshakeError::Io(error),
    }
}

/// Accepts every certificate and keeps it. The signature that proves possession of its key is still
/// checked: otherwise anybody could present anybody's certificate.
#[derive(Debug)]
struct Recorder {
    algorithms: WebPkiSupportedAlgorithms,
    seen: Mutex<Presented>,
}

impl Recorder {
    fn new(provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { algorithms, seen: Mutex::default() }
    }

    fn take(&self) -> Presented {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(leaf).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            Presented { chain, ocsp: ocsp.to_vec(), version: None };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
