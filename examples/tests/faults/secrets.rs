//! Passwords and tokens that a process was given: with all logs that there are, of the clients as well, none is in what it
//! writes or serves, whether they let it in or not.

use std::env;

use crate::stage::{Stage, address};
use crate::traffic::Traffic;
use crate::watched::{free_address, get, until_ready};
use crate::worker::{Kind, Start};

/// Long enough to be in nothing by chance.
const CANARY: &str = "canary-5f0e9d";
/// As it stands in bytes that are shown in base64, wherever it begins there.
const ENCODED: [&str; 3] = ["Y2FuYXJ5LTVmMGU5Z", "NhbmFyeS01ZjBlOW", "jYW5hcnktNWYwZTlk"];

fn given(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ./dev test"))
}

/// What a process shows, to whoever it may be.
fn hides(what: &str, shown: &str, secrets: &[&str]) {
    for secret in secrets.iter().chain(&[CANARY]).chain(&ENCODED) {
        let line = shown.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what} shows {secret:?}: {}", line.unwrap_or_default());
    }
}

/// By TLS, with a password, and with all that the client says.
fn secured(start: Start, password: &str) -> Start {
    let options = [
        "security.protocol=SASL_SSL",
        "sasl.mechanism=SCRAM-SHA-512",
        "sasl.username=rtbflow",
        &format!("sasl.password={password}"),
        // Of which neither is used; that they were given is enough for a client that shows what it was given.
        &format!("ssl.key.password={CANARY}-key"),
        &format!("sasl.oauthbearer.config=principal={CANARY}-principal"),
        &format!("ssl.ca.location={}", given("RTBFLOW_TEST_KAFKA_CA")),
        "debug=all",
    ];
    let start = start.with("--kafka", given("RTBFLOW_TEST_KAFKA_TLS")).logging("trace");
    options.into_iter().fold(start, |start, option| start.with("--kafka-option", option))
}

/// A URL with a user and a password.
fn with_password(url: &str, user: &str) -> String {
    let (scheme, _) = url.split_once("://").unwrap();
    let behind = url.split_once(&address(url)).unwrap().1;
    format!("{scheme}://{user}:{CANARY}@{}{behind}", address(url))
}

/// A user of Redis with this password.
async fn user_of_redis(stage: &Stage) {
    let client = redis::Client::open(stage.cache.url()).unwrap();
    let mut server = client.get_multiplexed_async_connection().await.unwrap();
    let mut user = redis::cmd("ACL");
    user.arg(&["SETUSER", "canary", "reset", "on", "~*", "&*", "+@all"]).arg(format!(">{CANARY}"));
    user.query_async::<()>(&mut server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_or_metric_of_those_who_are_let_in() {
    let stage = Stage::new("secrets", 1).await;
    user_of_redis(&stage).await;
    let password = given("RTBFLOW_TEST_KAFKA_PASSWORD");
    let (ledger, cache) = (stage.ledger.url(), stage.cache.url());
    let starts = [
        stage.start(Kind::Balance).with("--postgres", with_password(&ledger, "rtbflow")),
        stage.start(Kind::Performance).with("--redis", with_password(&cache, "canary")),
    ];
    Traffic::new(5).send(200, 0).await;
    for start in starts {
        let at = free_address().await;
        let worker = secured(start, &password).with("--metrics", &at).run();
        worker.until_assigned().await;
        until_ready(&at, 200, "").await;
        let (status, metrics) = get(&at, "/metrics").await.unwrap();
        assert!(status == 200 && metrics.contains("rtbflow_"), "{metrics}");
        let ended = worker.stop().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert!(ended.log.contains("librdkafka") && ended.log.contains("SASL"), "the client logs");
        for shown in [&metrics, &ended.log, &ended.said] {
            hides("a pipeline that runs", shown, &[&password]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_what_is_said_of_a_login_that_is_refused() {
    let stage = Stage::new("refused", 1).await;
    let password = given("RTBFLOW_TEST_KAFKA_PASSWORD");
    let (ledger, cache) = (stage.ledger.url(), stage.cache.url());
    let refused = [
        secured(stage.start(Kind::Balance), CANARY),
        secured(stage.start(Kind::Balance), &password)
            .with("--postgres", with_password(&ledger, "nobody_of_this_name")),
        secured(stage.start(Kind::Performance), &password)
            .with("--redis", with_password(&cache, "nobody")),
        secured(stage.start(Kind::Performance), &password)
            .with("--redis", format!("redis://:{CANARY}@no such host/")),
        secured(stage.start(Kind::Balance), &password)
            .with("--kafka-option", format!("ssl.key.pem={CANARY}")),
    ];
    for (number, start) in refused.into_iter().enumerate() {
        let ended = start.with("--connect-timeout", "3s").run().end().await;
        assert_ne!(ended.code, Some(0), "{number}");
        hides(&format!("refused {number}"), &(ended.log + &ended.said), &[&password]);
    }
}
