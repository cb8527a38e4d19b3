//! TLS: what is verified in which mode, against the real server behind an end of TLS.
//!
//! The key in `certificates/` belongs to nothing but this test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rtbflow::epoch::Anchor;
use rtbflow::{Error, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::schema::{Schema, job, server};

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/postgres/certificates");
    path.join(name).display().to_string()
}

/// What has expired, and its authority, which has not.
fn expired(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/expired");
    path.join(name).display().to_string()
}

/// Ends TLS for `localhost`, with this certificate and key, and speaks in the clear to the real server.
async fn end_of_tls([certificate, key]: [String; 2]) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // The request for TLS is 8 bytes; `S` says yes.
                client.read_exact(&mut [0; 8]).await.unwrap();
                client.write_all(b"S").await.unwrap();
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(server()).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

async fn prepare(schema: &Schema, host: &str, mode: &str, ca_file: Option<&str>) -> Result<()> {
    let address = end_of_tls(["server.pem", "server.key"].map(file)).await;
    prepare_at(address, schema, (host, mode), ca_file).await
}

async fn prepare_at(
    address: SocketAddr,
    schema: &Schema,
    (host, mode): (&str, &str),
    ca_file: Option<&str>,
) -> Result<()> {
    let url = schema.url().replace(&server(), &format!("{host}:{}", address.port()));
    let mode = if mode.is_empty() { String::new() } else { format!("&sslmode={mode}") };
    let mut options = rtbflow_sinks::postgres::Postgres::connect_to(&format!("{url}{mode}"));
    if let Some(path) = ca_file {
        options = options.ca_file(path);
    }
    options.build()?.prepare(&job()).await
}

#[tokio::test]
async fn a_server_proves_who_it_is_where_that_is_asked_for() {
    let schema = Schema::new().await;
    let authority = file("authority.pem");
    for mode in ["require", "verify-ca", "verify-full"] {
        prepare(&schema, "localhost", mode, Some(&authority)).await.unwrap();
        // Not signed by anybody known; and a name that the certificate does not carry.
        for (host, ca_file) in [("localhost", None), ("127.0.0.1", Some(&*authority))] {
            let error: Error = prepare(&schema, host, mode, ca_file).await.unwrap_err();
            assert!(error.is_config(), "{mode} {host}: {error:?}");
            assert!(error.report().contains("certificate"), "{error:?}");
        }
    }
    prepare(&schema, "localhost", "prefer", None).await.unwrap();
    // An authority that is given is asked, also where the URL does not say how.
    prepare(&schema, "localhost", "", Some(&authority)).await.unwrap();
    let error = prepare(&schema, "127.0.0.1", "", Some(&authority)).await.unwrap_err();
    assert!(error.is_config() && error.report().contains("certificate"), "{error:?}");
    let missing = prepare(&schema, "localhost", "require", Some("/no/such/file.pem")).await;
    let error = missing.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("/no/such/file.pem"), "{error:?}");
    let url_option = format!("require&sslrootcert={}", authority.replace('/', "%2F"));
    prepare(&schema, "localhost", &url_option, None).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_has_expired_and_one_of_another_authority_are_refused() {
    let (schema, authority) = (Schema::new().await, expired("authority.pem"));
    let at = end_of_tls(["expired.pem", "expired.key"].map(expired)).await;
    let late = prepare_at(at, &schema, ("localhost", "verify-full"), Some(&authority)).await;
    let error = late.unwrap_err();
    assert!(error.is_config() && error.report().contains("certificate"), "{error:?}");
    assert!(error.report().to_lowercase().contains("expired"), "{}", error.report());
    // Who is known there vouches for nobody here.
    let other = prepare(&schema, "localhost", "require", Some(&authority)).await;
    let error = other.unwrap_err();
    assert!(error.is_config() && error.report().contains("certificate"), "{error:?}");
}
