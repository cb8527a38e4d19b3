//! TLS: whose certificate is taken.
//!
//! The keys in `tls/` and `tests/expired/` belong to nothing but this test.

use rtbflow::epoch::Anchor;
use rtbflow_sinks::redis::Redis;

use crate::namespace::Namespace;
use crate::server::{PrivateServer, free_port};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/tls");
const EXPIRED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expired");

/// A server that speaks TLS, and its port for it.
async fn speaking_tls(certificate: &str, key: &str) -> (PrivateServer, u16) {
    let tls_port = free_port();
    let port = tls_port.to_string();
    let mut options = vec!["--tls-port", &port, "--tls-auth-clients", "no"];
    options.extend(["--tls-cert-file", certificate, "--tls-key-file", key]);
    options.extend(["--tls-ca-cert-file", certificate]);
    (PrivateServer::start(&options).await, tls_port)
}

/// Why nobody connects who trusts this authority, or those that browsers trust.
async fn refused(url: &str, ca_file: Option<&str>) {
    let mut options = Redis::connect_to(url);
    if let Some(path) = ca_file {
        options = options.ca_file(path);
    }
    let job = rtbflow::epoch::JobName::new("nobody").unwrap();
    let error = options.build().unwrap().prepare(&job).await.unwrap_err();
    assert!(error.is_config() && error.to_string().contains("authority"), "{url}: {error:?}");
}

#[tokio::test]
async fn tls_is_spoken_and_the_certificate_is_checked() {
    let (certificate, key) = (format!("{FOLDER}/certificate.pem"), format!("{FOLDER}/key.pem"));
    let (server, tls_port) = speaking_tls(&certificate, &key).await;
    let url = format!("rediss://localhost:{tls_port}");
    let trusting = Redis::connect_to(&url).ca_file(&certificate).build().unwrap();
    let namespace = Namespace::over(trusting, &server.url(), "tls").await;
    namespace.redis.prepare(&namespace.job).await.unwrap();
    let mut owner = namespace.claim(0).await;
    let staged = namespace.stage_with(|namespace, to| {
        to.increment(namespace.key("sum"), "n", 1);
    });
    owner.write(staged).await;
    assert_eq!(namespace.hash("sum").await["n"], "1");
    refused(&url, None).await;
    refused(&url, Some(&format!("{EXPIRED}/authority.pem"))).await;
}

#[tokio::test]
async fn a_certificate_that_has_expired_and_one_of_another_name_are_refused() {
    for name in [format!("{EXPIRED}/expired"), format!("{FOLDER}/elsewhere")] {
        let (_server, tls_port) =
            speaking_tls(&format!("{name}.pem"), &format!("{name}.key")).await;
        let url = format!("rediss://localhost:{tls_port}");
        refused(&url, Some(&format!("{EXPIRED}/authority.pem"))).await;
    }
}
