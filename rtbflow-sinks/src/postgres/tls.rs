//! TLS by rustls.

use std::path::Path;
use std::sync::Arc;

use rtbflow::{Error, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::postgres::address::Trust;

/// What makes a connection a TLS connection. A certificate is verified against the file of
/// authorities, or where there is none against those that browsers trust.
pub(crate) fn connector(trust: Trust, ca_file: Option<&Path>) -> Result<MakeRustlsConnect> {
    // By name: a process that has linked two of them has no default one.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config("set up TLS for Postgres").because(error))?;
    let config = if trust == Trust::Verified {
        builder.with_root_certificates(authorities(ca_file)?).with_no_client_auth()
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
            .with_no_client_auth()
    };
    Ok(MakeRustlsConnect::new(config))
}

fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let Some(path) = ca_file else {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(store);
    };
    let unusable =
        || Error::config(format!("read the certificate authorities in {}", path.display()));
    for certificate in CertificateDer::pem_file_iter(path)
        .map_err(|error| unusable().because(error.to_string()))?
    {
        // One that cannot be read ends it: whoever named the file meant all of them.
        let certificate = certificate.map_err(|error| unusable().because(error.to_string()))?;
        store.add(certificate).map_err(|error| unusable().because(error))?;
    }
    if store.is_empty() {
        return Err(unusable().because("the file holds no certificate"));
    }
    Ok(store)
}

/// Takes every certificate: for `sslmode=prefer`, which would take no TLS at all as well. The
/// handshake's signatures are still verified.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
