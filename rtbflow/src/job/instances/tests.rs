//! Names are taken, held, taken over and given back, in virtual time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::epoch::{Anchor, ChunkPage, Claim, Epoch, Memory, Verdict};
use crate::job::Job;
use crate::job::health::Health;
use crate::position::Position;
use crate::source::{Context, FixedFeed, MemoryBatch, Source};
use crate::staged::Place;

const SILENCE: Duration = Duration::from_millis(800);

/// A place whose commits and answers take their time; one that takes too long does not answer.
#[derive(Clone)]
struct Slow {
    memory: Memory,
    commit_ms: Arc<AtomicU64>,
    is_away: Arc<AtomicU64>,
    probes: bool,
}

impl Slow {
    fn new() -> Self {
        let (commit_ms, is_away) = Default::default();
        Self { memory: Memory::new(), commit_ms, is_away, probes: true }
    }

    fn reach(&self) -> Result<()> {
        match self.is_away.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(Error::transient("reach the place")),
        }
    }
}

impl Anchor for Slow {
    fn place(&self) -> Place {
        self.memory.place()
    }

    async fn prepare(&self, job: &JobName) -> Result<()> {
        self.memory.prepare(job).await
    }

    async fn probe(
        &self,
        job: &JobName,
        partitions: &[Partition],
    ) -> Result<Option<Vec<Position>>> {
        self.reach()?;
        match self.probes {
            true => self.memory.probe(job, partitions).await,
            false => Ok(None),
        }
    }

    async fn claim(&self, job: &JobName, claim: &Claim) -> Result<Vec<Position>> {
        self.reach()?;
        self.memory.claim(job, claim).await
    }

    async fn restore(&self, job: &JobName, task: Task, from: Option<String>) -> Result<ChunkPage> {
        self.memory.restore(job, task, from).await
    }

    async fn commit(&self, job: &JobName, epochs: &[Epoch]) -> Result<Vec<Verdict>> {
        self.reach()?;
        sleep(Duration::from_millis(self.commit_ms.load(Ordering::Relaxed))).await;
        self.memory.commit(job, epochs).await
    }
}

fn standby(place: &Slow, names: &[&str]) -> Standby<Slow> {
    let names = names.iter().map(|name| Arc::from(*name)).collect();
    let job = JobName::new("clicks").unwrap();
    let instances = Instances { names, silence: SILENCE };
    Standby::new(job, place, instances, Health::default())
}

/// How long it takes to take a name.
async fn taking(standby: &mut Standby<Slow>) -> (Held, Duration) {
    let began = Instant::now();
    let held = standby.take().await.unwrap();
    (held, began.elapsed())
}

async fn waits(standby: &mut Standby<Slow>, time: Duration) {
    assert!(timeout(time, standby.take()).await.is_err(), "it takes a name that is held");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_over_when_its_holder_is_gone_and_not_before() {
    let place = Slow::new();
    let (mut one, mut two) = (standby(&place, &["a"]), standby(&place, &["a"]));
    let (held, at_once) = taking(&mut one).await;
    assert_eq!((&*held.name(), at_once), ("a", Duration::ZERO));
    waits(&mut two, Duration::from_secs(60)).await;
    drop(held);
    let (_held, silent) = taking(&mut two).await;
    assert!((SILENCE..SILENCE * 2).contains(&silent), "{silent:?}");
}

#[tokio::test(start_paused = true)]
async fn each_takes_a_name_of_its_own() {
    let place = Slow::new();
    let names = ["a", "b", "c"];
    let (mut one, mut two) = (standby(&place, &names), standby(&place, &names));
    let (one, two) = tokio::join!(one.take(), two.take());
    assert_ne!(one.unwrap().name(), two.unwrap().name());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_given_back_is_taken_without_waiting_for_silence() {
    let place = Slow::new();
    let (mut one, mut two) = (standby(&place, &["a"]), standby(&place, &["a"]));
    let (held, _) = taking(&mut one).await;
    waits(&mut two, Duration::from_secs(5)).await;
    held.give_back().await;
    let (_held, waited) = taking(&mut two).await;
    assert!(waited < SILENCE / 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_only_as_slow_as_the_place_keeps_its_name() {
    let place = Slow::new();
    let (mut one, mut two) = (standby(&place, &["a"]), standby(&place, &["a"]));
    let (held, _) = taking(&mut one).await;
    // Slower and slower.
    for commit_ms in [400, 700, 1_200, 2_000] {
        place.commit_ms.store(commit_ms, Ordering::Relaxed);
        waits(&mut two, Duration::from_secs(30)).await;
    }
    assert!(!held.is_lost());
}

#[tokio::test(start_paused = true)]
async fn while_the_place_is_away_nobody_is_silent() {
    let place = Slow::new();
    let (mut one, mut two) = (standby(&place, &["a"]), standby(&place, &["a"]));
    let (held, _) = taking(&mut one).await;
    for _ in 0..5 {
        waits(&mut two, Duration::from_secs(3)).await;
        place.is_away.store(1, Ordering::Relaxed);
        waits(&mut two, Duration::from_secs(20)).await;
        place.is_away.store(0, Ordering::Relaxed);
    }
    waits(&mut two, Duration::from_secs(3)).await;
    assert!(!held.is_lost());
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_its_name_learns_it_and_rests() {
    let place = Slow::new();
    let (mut one, mut two) = (standby(&place, &["a"]), standby(&place, &["a"]));
    let (held, _) = taking(&mut one).await;
    // A thread that stands still for a second, as far as its own clock can tell.
    place.commit_ms.store(10_000, Ordering::Relaxed);
    sleep(Duration::from_millis(300)).await;
    place.commit_ms.store(0, Ordering::Relaxed);
    let (other, _) = taking(&mut two).await;
    let error = timeout(Duration::from_secs(20), held.lost()).await.unwrap().unwrap_err();
    assert!(error.is_transient() && error.report().contains("failover_after"), "{error:?}");
    assert!(held.is_lost());
    drop((held, other));
    one.lost();
    let (_held, rested) = taking(&mut one).await;
    assert!(rested >= SILENCE * 5, "{rested:?}");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_does_not_say_where_names_stand_is_refused() {
    let place = Slow { probes: false, ..Slow::new() };
    let error = standby(&place, &["a"]).take().await.map(|held| held.name()).unwrap_err();
    assert!(error.is_config() && error.report().contains("leave `instances` out"), "{error:?}");
}

#[test]
fn all_names_that_cannot_be_used_are_in_one_error() {
    let job = Job::new("clicks").instances(["a", "", "a", "b c", ".."]);
    let job = job.failover_after(Duration::from_millis(199));
    let error = job.setup.validate().unwrap_err();
    assert!(error.is_config());
    for says in ["\"\"", "\"a\"", "\"b c\"", "\"..\"", "after 199ms", "at least 200ms"] {
        assert!(error.report().contains(says), "{says} in {error:?}");
    }
    let right = Job::new("clicks").instances(["a", "b.1-C_"]);
    right.setup.validate().unwrap();
}

/// A source that is always away, and how often it was asked.
struct Away(Arc<AtomicU64>);

impl Source for Away {
    type Batch = MemoryBatch<u64>;
    type Feed = FixedFeed<MemoryBatch<u64>>;

    fn topics(&self) -> Vec<String> {
        vec!["clicks".to_owned()]
    }

    async fn open(&self, context: Context) -> Result<Self::Feed> {
        assert_eq!(context.instance.as_deref(), Some("a"));
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Error::transient("open the source: it is away"))
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_opens_its_source_under_a_name_that_is_another_s() {
    let (place, asked) = (Slow::new(), Arc::<AtomicU64>::default());
    let out = place.memory.collected();
    let job = Job::new("clicks").source(Away(Arc::clone(&asked))).anchor(place.clone());
    let job = job.pipeline(move |clicks| clicks.to(out.sink()));
    let job = job.instances(["a"]).connect_timeout(Duration::from_hours(1));
    let story = async {
        sleep(Duration::from_secs(5)).await;
        assert!(asked.load(Ordering::Relaxed) > 1);
        place.commit_ms.store(10_000, Ordering::Relaxed);
        sleep(Duration::from_millis(300)).await;
        place.commit_ms.store(0, Ordering::Relaxed);
        let (held, _) = taking(&mut standby(&place, &["a"])).await;
        // By then its late beat was refused.
        sleep(Duration::from_secs(20)).await;
        let before = asked.load(Ordering::Relaxed);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(asked.load(Ordering::Relaxed), before);
        assert!(!held.is_lost());
    };
    job.run_until(story).await.unwrap();
}
