//! Whether a server of ours answers: what a container's health check asks, where there is neither a
//! shell nor curl.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::args::Listen;
use crate::settings::Address;
use crate::tls::{TlsFiles, certificates};

const PATIENCE: Duration = Duration::from_secs(3);
const LONGEST_LINE: u64 = 1024;

/// Asks the server that listens with these settings for `path`. An error unless it answers 200; where
/// it demands client certificates, that it asks for one is enough.
pub fn probe(listen: &Listen, path: &str) -> anyhow::Result<()> {
    let address = &listen.address;
    let result = match address {
        Address::Unix(socket) => {
            UnixStream::connect(socket).map_err(Into::into).and_then(|stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                ask(stream, path)
            })
        }
        Address::Tcp { host, port } => {
            let name = host.trim_start_matches('[').trim_end_matches(']');
            // Linux takes a connection to the unspecified address as one to loopback.
            TcpStream::connect((name, *port)).map_err(Into::into).and_then(|stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                match &listen.tls {
                    None => ask(stream, path),
                    Some(files) => ask_over_tls(stream, files, path),
                }
            })
        }
    };
    result.with_context(|| format!("{address} is not well"))
}

fn ask(mut stream: impl Read + Write, path: &str) -> anyhow::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    let mut status = String::new();
    BufReader::new(stream.take(LONGEST_LINE)).read_line(&mut status)?;
    let status = status.trim_end();
    anyhow::ensure!(status.starts_with("HTTP/1.1 200 "), "{path} is answered with `{status}`");
    Ok(())
}

fn ask_over_tls(stream: TcpStream, files: &TlsFiles, path: &str) -> anyhow::Result<()> {
    let own = certificates(&files.certificate)?.into_iter().next();
    let own = own.with_context(|| format!("no certificate in {}", files.certificate.display()))?;
    let builder = ClientConfig::builder();
    let provider = builder.crypto_provider().clone();
    let verifier = Arc::new(Exactly { own, provider, met: AtomicBool::new(false) });
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    let connection = ClientConnection::new(Arc::new(config), name)?;
    let asked = ask(StreamOwned::new(connection, stream), path);
    match asked {
        Err(error) if files.client_ca.is_some() && verifier.met() && is_end(&error) => Ok(()),
        asked => asked,
    }
}

/// The server has ended the connection: nothing was presented to it. Its alert is lost where it hung
/// up before our request was sent.
fn is_end(error: &anyhow::Error) -> bool {
    let Some(io) = error.downcast_ref::<std::io::Error>() else { return false };
    let tls = io.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::AlertReceived(_)))
        || matches!(io.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// Takes the server's own certificate alone. Whose name is in it and whether it is still valid is no
/// matter of health.
#[derive(Debug)]
struct Exactly {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
    /// It was presented.
    met: AtomicBool,
}

impl Exactly {
    fn met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }
}

impl ServerCertVerifier for Exactly {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *presented == self.own {
            self.met.store(true, Ordering::Relaxed);
            return Ok(ServerCertVerified::assertion());
        }
        let fault = "another certificate is presented than that of MAINTENANT_TLS_CERT";
        Err(rustls::Error::General(fault.to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
