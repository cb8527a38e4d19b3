//! One run and its events: assignments that are taken away in part, and tasks that are fenced.

use std::collections::{BTreeSet, VecDeque};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};

use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Memory, Verdict};
use crate::error::{Error, Result};
use crate::job::tests::Written;
use crate::job::{Job, Report};
use crate::position::{JobName, Position, Task};
use crate::record::{Partition, Topic};
use crate::source::{
    Assignment, Context, Delivery, Feed, PartitionInput, Revocation, Source, SourceEvent, TaskInput,
};
use crate::staged::Place;

/// What a source says, and how long it waits before that.
#[derive(Debug, Clone)]
enum Say {
    Assigned(&'static [u32]),
    Revoked(&'static [u32]),
    /// The source fails, and may be opened again.
    Fails,
}

/// A source that says what was written down. Each task has one record, and then is quiet.
struct Script(Vec<(Duration, Say)>, Log);

struct ScriptFeed(VecDeque<(Duration, Say)>, Log);

/// What happened, in order.
type Log = Arc<Mutex<Vec<&'static str>>>;

fn task(number: u32) -> Task {
    Task { number, of: 2 }
}

impl Source for Script {
    type Batch = Written;
    type Feed = ScriptFeed;

    fn topics(&self) -> Vec<String> {
        vec!["test".into()]
    }

    async fn open(&self, _: Context) -> Result<ScriptFeed> {
        Ok(ScriptFeed(self.0.clone().into(), Arc::clone(&self.1)))
    }
}

impl Feed for ScriptFeed {
    type Batch = Written;

    async fn next(&mut self) -> Result<SourceEvent<Written>> {
        let Some((pause, _)) = self.0.front() else { return pending().await };
        sleep(*pause).await;
        let Some((_, say)) = self.0.pop_front() else { return pending().await };
        Ok(match say {
            Say::Fails => return Err(Error::transient("read")),
            Say::Assigned(tasks) => {
                let input = |number: &u32| {
                    let partition =
                        Partition::new(Topic::new("test"), i32::try_from(*number).unwrap());
                    let one = Delivery::Batch(Written::from(0, [1]));
                    let deliveries = stream::iter([Ok(one)]).chain(stream::pending()).boxed();
                    let partitions = vec![PartitionInput { partition, deliveries }];
                    TaskInput { task: task(*number), partitions }
                };
                SourceEvent::Assigned(Assignment::new(tasks.iter().map(input).collect(), |_| {}))
            }
            Say::Revoked(tasks) => {
                let tasks = tasks.iter().map(|number| task(*number)).collect();
                let log = Arc::clone(&self.1);
                let done = move || log.lock().unwrap().push("given back");
                SourceEvent::Revoked(Revocation::new(tasks, false, Duration::from_secs(1), done))
            }
        })
    }

    fn committed(&mut self, _: &[(Partition, Position)]) {}

    async fn close(self) {
        self.1.lock().unwrap().push("closed");
    }
}

/// A place that applies the first commit, loses its answer, and is then away for a while.
#[derive(Debug, Clone)]
struct Forgetful {
    place: Memory,
    back: Arc<Mutex<Option<Instant>>>,
}

impl Anchor for Forgetful {
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
        let back = *self.back.lock().unwrap();
        match back {
            Some(back) if Instant::now() < back => Err(Error::transient("commit: it is away")),
            Some(_) => self.place.commit(job, epochs).await,
            None => {
                self.place.commit(job, epochs).await?;
                *self.back.lock().unwrap() = Some(Instant::now() + Duration::from_secs(30));
                Err(Error::transient("commit: the answer is lost"))
            }
        }
    }
}

/// What was applied without an answer is asked about before its partitions are claimed again: after that nobody
/// could find out, and its records would be in no account.
#[tokio::test(start_paused = true)]
async fn what_was_applied_before_the_source_failed_is_accounted_for() {
    let place = Forgetful { place: Memory::new(), back: Arc::default() };
    let says =
        vec![(Duration::ZERO, Say::Assigned(&[0, 1])), (Duration::from_millis(500), Say::Fails)];
    let out = place.place.collected();
    let job = Job::new("answers").source(Script(says, Log::default())).anchor(place.clone());
    let job = job.pipeline({
        let out = out.clone();
        move |numbers| numbers.to(out.sink())
    });
    let report = job.run_until(sleep(Duration::from_secs(60))).await.unwrap();
    assert_eq!(out.values(), [1, 1]);
    assert_eq!((report.decoded, report.records_in(), report.commits), (2, 2, 2));
    assert!(report.restarts >= 1, "{report:?}");
}

/// A place that is away for some claims, and fences some tasks.
#[derive(Debug, Clone)]
struct Strict {
    place: Memory,
    away: Arc<Mutex<u32>>,
    fenced: BTreeSet<Task>,
    claims: Arc<Mutex<Vec<Task>>>,
    /// How long a claim takes, whether anybody waits for it or not.
    slow: Duration,
    log: Log,
}

impl Strict {
    fn new(away: u32, fenced: &[u32]) -> Self {
        let fenced = fenced.iter().map(|number| task(*number)).collect();
        let (away, claims) = (Arc::new(Mutex::new(away)), Arc::default());
        let (slow, log) = (Duration::ZERO, Log::default());
        Self { place: Memory::new(), away, fenced, claims, slow, log }
    }

    async fn run(&self, says: Vec<(Duration, Say)>, stop_after: Duration) -> Result<Report> {
        let out = self.place.collected();
        let job = Job::new("events")
            .source(Script(says, Arc::clone(&self.log)))
            .anchor(self.clone())
            .pipeline(move |numbers| numbers.to(out.sink()));
        let account = job.account();
        let ran = timeout(Duration::from_secs(600), job.run_until(sleep(stop_after))).await;
        let report = ran.map_err(|_| Error::permanent("end"))??;
        assert_eq!(report, account.report());
        Ok(report)
    }
}

impl Anchor for Strict {
    fn place(&self) -> Place {
        self.place.place()
    }
    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.place.prepare(job).await
    }
    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        {
            let mut away = self.away.lock().unwrap();
            if *away > 0 {
                *away -= 1;
                return Err(Error::transient("claim: the place is away"));
            }
        }
        self.claims.lock().unwrap().push(claim.task);
        if !self.slow.is_zero() {
            let (slow, log) = (self.slow, Arc::clone(&self.log));
            let call = tokio::spawn(async move {
                sleep(slow).await;
                log.lock().unwrap().push("claimed");
            });
            call.await.unwrap();
        }
        self.place.claim(job, claim).await
    }
    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.place.restore(job, task, from).await
    }
    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        let mut verdicts = Vec::new();
        for epoch in epochs {
            match self.fenced.contains(&epoch.task) {
                true => verdicts.push(Verdict::Fenced),
                false => {
                    verdicts.extend(self.place.commit(job, std::slice::from_ref(epoch)).await?);
                }
            }
        }
        Ok(verdicts)
    }
}

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn a_task_that_was_taken_away_before_it_was_claimed_is_left_to_its_next_owner() {
    let place = Strict::new(5, &[]);
    let soon = Duration::from_millis(200);
    let says = vec![(soon, Say::Assigned(&[0, 1])), (soon, Say::Revoked(&[0]))];
    let report = place.run(says, MINUTE).await.unwrap();
    assert_eq!(*place.claims.lock().unwrap(), [task(1)]);
    assert_eq!((report.records_in(), report.decoded), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn each_fenced_task_must_be_taken_away_or_the_job_ends() {
    let soon = Duration::from_millis(500);
    let assigned = (Duration::ZERO, Say::Assigned(&[0, 1]));
    for (revoked, kept) in [([0], 1), ([1], 0)] {
        let revoked: &'static [u32] = if revoked == [0] { &[0] } else { &[1] };
        let place = Strict::new(0, &[0, 1]);
        let says = vec![assigned.clone(), (soon, Say::Revoked(revoked))];
        let error = place.run(says, MINUTE).await.unwrap_err();
        assert!(
            error.is_fenced() && error.to_string().contains(&task(kept).to_string()),
            "{error}"
        );
    }
    let place = Strict::new(0, &[0, 1]);
    let report = place.run(vec![assigned, (soon, Say::Revoked(&[0, 1]))], MINUTE).await.unwrap();
    assert_eq!((report.records_in(), report.commits), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_task_goes_on_in_its_next_life() {
    let (place, soon) = (Strict::new(0, &[]), Duration::from_millis(500));
    let says = vec![
        (Duration::ZERO, Say::Assigned(&[0, 1])),
        (soon, Say::Revoked(&[0, 1])),
        (Duration::ZERO, Say::Assigned(&[0, 1])),
    ];
    // The one record of each stands below the position in the second life.
    let report = place.run(says, MINUTE).await.unwrap();
    assert_eq!((report.records_in(), report.decoded, report.pending), (2, 2, 0));
    assert_eq!(place.claims.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_task_is_given_back_when_the_claim_for_it_has_ended() {
    let (soon, ms) = (Duration::from_millis(100), Duration::from_millis);
    let cases: [(Duration, &'static [u32], &[&str]); 4] = [
        (ms(300), &[0, 1], &["claimed", "given back"]),
        // The claim under way is for a task that stays, or comes to an end after the deadline.
        (ms(300), &[1], &["given back", "claimed"]),
        (ms(5_000), &[0, 1], &["given back", "claimed"]),
        // All is claimed as the task is given back: the other one begins.
        (ms(80), &[1], &["claimed", "claimed", "given back"]),
    ];
    for (slow, revoked, happened) in cases {
        let place = Strict { slow, ..Strict::new(0, &[]) };
        let says = vec![(Duration::ZERO, Say::Assigned(&[0, 1])), (soon, Say::Revoked(revoked))];
        let report = place.run(says, MINUTE).await.unwrap();
        assert_eq!(*place.log.lock().unwrap(), [happened, &["closed"]].concat());
        assert_eq!(report.decoded, u64::from(revoked == [1]));
        assert_eq!(place.claims.lock().unwrap().len(), 1 + usize::from(slow == ms(80)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_under_way_ends_before_the_source_is_closed() {
    let place = Strict { slow: Duration::from_millis(300), ..Strict::new(0, &[]) };
    let says = vec![(Duration::ZERO, Say::Assigned(&[0, 1]))];
    let report = place.run(says, Duration::from_millis(100)).await.unwrap();
    assert_eq!(
        (report, &**place.log.lock().unwrap()),
        (Report::default(), &["claimed", "closed"][..])
    );
}
