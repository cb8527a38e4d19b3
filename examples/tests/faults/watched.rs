//! What a process reports to whoever watches it: health, metrics, and the log of late and bad records.

use rtbflow::testing::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bad_input::{plain, send};
use crate::spoilt::click;
use crate::stage::{Stage, address, postgres, until};
use crate::traffic::{Traffic, producer};
use crate::worker::Kind;

/// An address that nobody listens at.
pub(crate) async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Asks for a path: the status and the body.
pub(crate) async fn get(at: &str, path: &str) -> Result<(u16, String), String> {
    let answer = async {
        let mut stream = TcpStream::connect(at).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = answer.await.map_err(|error| error.to_string())?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim_end().to_owned());
    status.zip(body).ok_or(answer)
}

/// Waits until it is ready, or not, and says so.
pub(crate) async fn until_ready(at: &str, status: u16, says: &str) {
    until(&format!("{status} with {says:?}"), async || match get(at, "/health/ready").await {
        Ok((found, body)) if found == status && body.contains(says) => Ok(()),
        other => Err(other),
    })
    .await;
}

/// A metric of this job, whatever its other labels.
async fn metric(at: &str, name: &str, job: &str) -> Option<f64> {
    let (_, text) = get(at, "/metrics").await.ok()?;
    let label = format!("job=\"{job}\"");
    let of = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(&label);
    text.lines().find(of)?.rsplit(' ').next()?.parse().ok()
}

/// Waits until this many records are between what is committed and the ends of the partitions.
async fn until_lag(at: &str, records: i64) {
    until(&format!("a lag of {records}"), async || {
        let (_, text) = get(at, "/metrics").await?;
        let lags = text.lines().filter(|line| line.starts_with("rtbflow_lag{"));
        let lags: Vec<f64> =
            lags.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        #[expect(clippy::cast_precision_loss, reason = "there are some hundred")]
        let all = lags.iter().sum::<f64>() == records as f64;
        if all && lags.len() == 2 { Ok(()) } else { Err(format!("{lags:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_shows_in_health_and_every_class_in_metrics() {
    let stage = Stage::new("watched", 2).await;
    let proxy = Proxy::to(address(&postgres())).await.unwrap();
    let by = stage.ledger.url_by(&proxy.address().to_string());
    let at = free_address().await;
    let start = stage.start(Kind::Balance).with("--postgres", by);
    let worker = start.with("--metrics", &at).run();
    let mut traffic = Traffic::new(7);
    traffic.send(500, 0).await;
    let bad = plain(b"not json");
    let place = send(&producer(), 1, &bad).await;
    let mut sent = traffic.sent();
    sent.passed(place);
    stage.ledger.until_read(&sent.ends).await;
    until_ready(&at, 200, "ok").await;
    assert_eq!(get(&at, "/health/live").await.unwrap().0, 200);
    let group = &stage.ledger.group;
    let classes = [("decoded", sent.clicks), ("dead_lettered", 1), ("late", 0), ("restarts", 0)];
    for (class, count) in classes {
        let name = format!("rtbflow_{class}_total");
        until(&name, async || match metric(&at, &name, group).await {
            #[expect(clippy::cast_precision_loss, reason = "there are some hundred")]
            Some(found) if found == count as f64 => Ok(()),
            other => Err(other),
        })
        .await;
    }
    assert!(metric(&at, "rtbflow_commit_age_seconds", group).await.is_some_and(|age| age < 60.0));
    let line = format!("partition=1 offset={}", place.1);
    worker.until_said(&line, 1).await;
    assert_eq!(worker.said("a record cannot be used"), 1, "{}", worker.log());

    proxy.cut();
    traffic.send(500, 0).await;
    until_ready(&at, 503, "commits have failed for").await;
    let behind = traffic.sent().records - (sent.records - 1);
    until_lag(&at, behind).await;
    assert_eq!(get(&at, "/health/live").await.unwrap().0, 200, "no restart would help");
    proxy.mend();
    until_ready(&at, 200, "ok").await;
    until_lag(&at, 0).await;
    let ended = worker.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}

/// Clicks of two hours, the later hour first, as files are loaded in the wrong order.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_too_late_is_spoken_of_and_the_bound_that_would_have_sufficed_does() {
    let stage = Stage::new("disorder", 2).await;
    let producer = producer();
    for minute in (60..120).chain(0..60) {
        let at = format!("2024-01-15T{:02}:{:02}:00Z", 10 + minute / 60, minute % 60);
        send(&producer, 0, &plain(click("hours", &at).to_string().as_bytes())).await;
    }
    let start =
        |group: &str| stage.start(Kind::Performance).flag("--until-end").with("--group", group);
    let ended = start(&stage.cache.group).run().end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let late = ended.count("late");
    assert!(late >= 54, "{}", ended.log);
    let line = ended.log.lines().find(|line| line.contains("in the whole run"));
    let line = line.unwrap_or_else(|| panic!("nothing is said of it:\n{}", ended.log));
    assert!(line.contains(&format!("({late}) were late")), "{line}");
    assert!(line.contains("first late: ad-events/0 at offset 60: late:"), "{line}");
    assert!(
        ended.log.contains("a record came too late") && ended.log.contains("offset=60"),
        "{line}"
    );

    let other = format!("{}-judged", stage.cache.group);
    let judged = start(&other).with("--max-late", "5%").run().end().await;
    assert_eq!((judged.code, judged.count("late")), (Some(1), late), "{}", judged.log);
    let says = "keep late records within 5 % of the input";
    assert!(judged.log.contains(says), "{}", judged.log);

    let enough = line.split(" for all").next().unwrap().rsplit(' ').next().unwrap();
    let other = format!("{}-wider", stage.cache.group);
    let wider = start(&other).with("--out-of-orderness", enough).with("--max-late", "0%");
    let wider = wider.run().end().await;
    assert_eq!((wider.code, wider.count("late")), (Some(0), 0), "{enough}: {}", wider.log);
}
