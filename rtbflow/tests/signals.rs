//! A process that runs a job and is asked to end by the system's signals.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test stops where something is missing")]

use std::future::pending;
use std::io::{BufRead, BufReader, Read, Write, stdout};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rtbflow::epoch::{Anchor, ChunkPage, Claim, Epoch, JobName, Memory, Position, Task, Verdict};
use rtbflow::sink::{Collected, Place};
use rtbflow::source::TickSource;
use rtbflow::{Job, Result, Timestamp};

/// What says to this program that it is the process that is asked to end.
const CHILD: &str = "RTBFLOW_TEST_SIGNALS";

/// Says something to whoever started the process, past what a test captures.
fn say(line: &str) {
    let mut out = stdout().lock();
    writeln!(out, "says: {line}").unwrap();
    out.flush().unwrap();
}

/// Starts this test once more, in a process of its own, and waits until it says this.
fn start(test: &str, until: &str) -> (Child, BufReader<impl Read + use<>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(CHILD, test)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(until) {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended before it said {until:?}");
    }
    (child, out)
}

fn send(signal: &str, to: &Child) {
    let sent = Command::new("kill").args(["-s", signal, &to.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// A place in memory that says when the first epoch is to be committed, and may never answer.
#[derive(Clone)]
struct Noticed {
    place: Memory,
    answers: bool,
}

impl Anchor for Noticed {
    fn place(&self) -> Place {
        self.place.place()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.place.prepare(job).await
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.place.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.place.restore(job, task, from).await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        if !self.answers {
            say("commits");
            return pending().await;
        }
        let verdicts = self.place.commit(job, epochs).await;
        say("commits");
        verdicts
    }
}

/// A job that ends when it is asked to, and what it collects.
fn ticks(
    answers: bool,
) -> (impl Future<Output = Result<rtbflow::job::Report>>, Collected<Timestamp>) {
    let place = Memory::new();
    let out = place.collected();
    let job = Job::new("ticks").source(TickSource::every(Duration::from_millis(1)));
    let job = job.anchor(Noticed { place, answers }).stop_deadline(Duration::from_mins(10));
    let results = out.clone();
    (job.pipeline(move |ticks| ticks.to(results.sink())).run(), out)
}

fn ends_in_order(test: &str, signal: &str) {
    let (mut child, mut out) = start(test, "commits");
    send(signal, &child);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert!(rest.contains("says: all is committed"), "{rest}");
}

async fn end_in_order() {
    let (job, out) = ticks(true);
    let report = job.await.unwrap();
    assert_eq!((report.pending, out.values().len() as u64), (0, report.records_in()));
    say("all is committed");
}

// In a runtime without a driver for input and output, in which signals cannot be taken.
fn run(job: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(job);
}

#[test]
fn a_job_commits_everything_and_ends_by_sigterm() {
    match is_child() {
        true => run(end_in_order()),
        false => ends_in_order("a_job_commits_everything_and_ends_by_sigterm", "TERM"),
    }
}

#[test]
fn a_job_commits_everything_and_ends_by_ctrl_c() {
    match is_child() {
        true => run(end_in_order()),
        false => ends_in_order("a_job_commits_everything_and_ends_by_ctrl_c", "INT"),
    }
}

#[test]
fn a_second_signal_ends_a_job_whose_place_does_not_answer() {
    if is_child() {
        return run(async {
            let error = ticks(false).0.await.unwrap_err();
            assert!(error.to_string().contains("a second signal came"), "{error:?}");
            say("ended at once");
        });
    }
    let name = "a_second_signal_ends_a_job_whose_place_does_not_answer";
    let (mut child, mut out) = start(name, "commits");
    // Of two of one kind the system may make one.
    send("INT", &child);
    send("TERM", &child);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert!(rest.contains("says: ended at once"), "{rest}");
}
