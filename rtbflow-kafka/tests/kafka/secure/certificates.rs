//! Whose certificate is taken: that of a known authority, for the name that was asked for, while it is valid.
//!
//! The key in `expired/` belongs to nothing but this test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rtbflow_kafka::Kafka;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{LONGEST_CHECK, at, given, stranger};

const PASSWORD: &str = "canary-3d1c";

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/secure/expired");
    path.join(name).display().to_string()
}

/// A server for `localhost` whose certificate has expired; nothing is behind it, since nobody comes that far.
async fn expired() -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(file("expired.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("expired.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // It is refused by the client.
            let _refused = acceptor.accept(client).await;
        }
    });
    address
}

async fn refused(kafka: &Kafka, what: &str) {
    let error = kafka.check(LONGEST_CHECK).await.unwrap_err();
    assert!(error.is_config(), "{what}: {}", error.report());
    assert!(error.report().contains("certificate"), "{what}: {}", error.report());
    assert!(!format!("{error:?} {}", error.report()).contains(PASSWORD), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_another_name_and_a_certificate_that_has_expired_are_refused() {
    let own = given("RTBFLOW_TEST_KAFKA_CA");
    refused(&stranger(PASSWORD), "no authority").await;
    let other = stranger(PASSWORD).option("ssl.ca.location", file("authority.pem"));
    refused(&other, "another authority").await;
    // The certificate is for 127.0.0.1.
    let port = given("RTBFLOW_TEST_KAFKA_TLS");
    let (_, port) = port.rsplit_once(':').unwrap();
    let named = at(format!("localhost:{port}"), "rtbflow", PASSWORD).option("ssl.ca.location", own);
    refused(&named, "another name").await;
    let port = expired().await.port();
    let late = at(format!("localhost:{port}"), "rtbflow", PASSWORD);
    refused(&late.option("ssl.ca.location", file("authority.pem")), "expired").await;
}
