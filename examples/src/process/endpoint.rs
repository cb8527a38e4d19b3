//! The endpoint for whoever watches the process: `/metrics`, `/health/live` and `/health/ready`.
//!
//! On a thread of its own, so that a busy or stuck pipeline cannot keep a probe waiting. It knows just
//! enough of HTTP: one request a connection, GET or HEAD, a head of bounded size within a deadline.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rtbflow::job::Health;
use rtbflow::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Connections that are answered at a time; more wait.
const MOST_CONNECTIONS: usize = 32;
/// The largest head of a request in bytes.
const MOST_HEAD: usize = 8 << 10;
/// How long one request and its answer may take.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);
/// The pause after a connection could not be taken: the process may be out of file descriptors.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// How often what was measured is taken together, so that it does not grow where nobody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// The job that the endpoint answers for, once there is one. A clone is another handle on the same.
#[derive(Debug, Clone, Default)]
pub struct Probed(Arc<OnceLock<Health>>);

impl Probed {
    /// The endpoint answers for this job from now on; of several, for the first.
    pub fn answer_for(&self, health: Health) {
        let _ = self.0.set(health);
    }

    fn live(&self) -> Result<(), String> {
        self.0.get().map_or(Ok(()), |health| health.live().map_err(|why| why.to_string()))
    }

    fn ready(&self) -> Result<(), String> {
        let Some(health) = self.0.get() else {
            return Err("starting: the servers, topics and tables are being looked at".to_owned());
        };
        health.ready().map_err(|why| why.to_string())
    }
}

/// Makes the process measure, and serves what it measures and how the probed job is.
///
/// # Errors
/// If the address is taken, or something measures already.
pub(super) fn serve(address: SocketAddr, probed: Probed) -> Result<()> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::config(format!(
            "serve metrics and health at {address}: free the address or give --metrics another"
        ))
        .because(error)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(error.into()))?;
    let listener =
        runtime.block_on(TcpListener::bind(address)).map_err(|error| failed(error.into()))?;
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| failed(error.to_string().into()))?;
    let endpoint = Endpoint { metrics, probed };
    let serve = move || runtime.block_on(endpoint.serve(&listener));
    thread::Builder::new()
        .name("endpoint".to_owned())
        .spawn(serve)
        .map_err(|error| failed(error.into()))?;
    tracing::info!(%address, "serving /metrics, /health/live and /health/ready");
    Ok(())
}

#[derive(Clone)]
struct Endpoint {
    metrics: PrometheusHandle,
    probed: Probed,
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn text(status: &'static str, body: impl Into<String>) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: body.into() + "\n" }
    }

    fn health(found: Result<(), String>) -> Self {
        match found {
            Ok(()) => Self::text("200 OK", "ok"),
            Err(why) => Self::text("503 Service Unavailable", why),
        }
    }

    fn written(&self, with_body: bool) -> String {
        let Self { status, kind, body } = self;
        let length = body.len();
        let body = if with_body { body } else { "" };
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
             cache-control: no-store\r\nconnection: close\r\n\r\n{body}"
        )
    }
}

impl Endpoint {
    async fn serve(self, listener: &TcpListener) {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut upkeep = interval(UPKEEP);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let taken = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, listener.accept().await)
            };
            tokio::select! {
                _ = upkeep.tick() => self.metrics.run_upkeep(),
                (permit, accepted) = taken => match accepted {
                    Ok((stream, _)) => {
                        let endpoint = self.clone();
                        tokio::spawn(async move {
                            // Whoever asks too slowly, or is gone, gets no answer.
                            let _ = timeout(LONGEST_ANSWER, endpoint.answer(stream)).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!("take a connection for metrics or health: {error}");
                        sleep(REFUSED_PAUSE).await;
                    }
                },
            }
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let head = read_head(&mut stream).await?;
        let answer = match &head {
            Some(head) => self.answer_to(head),
            None => Answer::text("431 Request Header Fields Too Large", "the request is too long"),
        };
        let with_body = !head.is_some_and(|head| head.starts_with("HEAD "));
        stream.write_all(answer.written(with_body).as_bytes()).await?;
        stream.shutdown().await
    }

    fn answer_to(&self, head: &str) -> Answer {
        let mut words = head.split_ascii_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !["GET", "HEAD"].contains(&method) {
            return Answer::text("405 Method Not Allowed", "ask with GET");
        }
        match target.split('?').next().unwrap_or_default() {
            "/metrics" => Answer {
                status: "200 OK",
                kind: "text/plain; version=0.0.4; charset=utf-8",
                body: self.metrics.render(),
            },
            "/health/live" => Answer::health(self.probed.live()),
            "/health/ready" => Answer::health(self.probed.ready()),
            _ => {
                Answer::text("404 Not Found", "there are /metrics, /health/live and /health/ready")
            }
        }
    }
}

/// Reads up to the end of a request's head; `None` if it is longer than it may be.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= MOST_HEAD {
            return Ok(None);
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(probed: &Probed, head: &str) -> String {
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        Endpoint { metrics, probed: probed.clone() }.answer_to(head).written(true)
    }

    #[test]
    fn each_path_has_its_answer() {
        let probed = Probed::default();
        let get = |path: &str| ask(&probed, &format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
        assert!(get("/health/live").starts_with("HTTP/1.1 200 "));
        let starting = get("/health/ready?full");
        assert!(starting.starts_with("HTTP/1.1 503 ") && starting.contains("starting"));
        assert!(get("/metrics").starts_with("HTTP/1.1 200 "));
        assert!(get("/").starts_with("HTTP/1.1 404 "));
        assert!(ask(&probed, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(ask(&probed, "\r\n\r\n").starts_with("HTTP/1.1 405 "));
        probed.answer_for(rtbflow::Job::new("job").health());
        assert!(get("/health/ready").contains("not started"));
    }

    #[test]
    fn a_head_has_the_length_and_no_body() {
        let answer = Answer::text("200 OK", "ok");
        assert!(answer.written(true).ends_with("\r\n\r\nok\n"));
        let head = answer.written(false);
        assert!(head.contains("content-length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }
}
