//! How long a click takes to its commit, at a fixed rate: clicks are sent when they are due, whatever becomes of
//! those before, and each counts from then on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::message::Message;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};
use rtbflow_examples::generator::{Generated, Generator, Plan};
use rtbflow_examples::topics::SystemTopic;
use tokio_postgres::NoTls;

use crate::backlog::Live;
use crate::figures::{Figures, now};
use crate::process::{instant, wait_until};
use crate::servers::Place;
use crate::{Answer, Run};

/// The clicks of this time at the beginning do not count.
const WARM_UP: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_micros(500);

const ROWS: &str = "select count(*) from balance_ledger";
/// The last committed offset of each partition.
const ENDS: &str = "select p, (select max(\"offset\") from balance_ledger \
                    where topic = 'ad-events' and partition = p) from generate_series(0, 7) p";

/// Where a click is: its partition, and its offset there.
type Stored = (i32, i64);

pub(crate) fn measure(run: &Run<'_>, place: &Place) -> Answer<Figures> {
    let live = Live::start(run, place, &[])?;
    // It is there when it has read a first click.
    let plan = Plan::new(13, now(), Duration::from_micros(20));
    let mut clicks = Generator::new(plan).filter(|record| record.charge.is_some());
    let sender = Sender::new(&run.servers.kafka)?;
    wait_until("the first commit", Duration::from_millis(500), || {
        live.process.running()?;
        sender.send(clicks.next(), instant())?;
        // Until then there may be no ledger.
        Ok(run.servers.number(&place.postgres, ROWS).is_ok_and(|rows| rows > 0))
    })?;
    sender.flush()?;
    let (rate, count) = (run.options.rate.max(1), run.options.records());
    let clicks: Vec<Generated> = clicks.take(usize::try_from(count)?).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let reading = {
        let (is_over, postgres) = (Arc::clone(&is_over), place.postgres.clone());
        thread::spawn(move || watch(&postgres, &is_over).map_err(|error| error.to_string()))
    };
    let begin = instant();
    for (number, click) in (0_u32..).zip(clicks) {
        let due = begin + Duration::from_secs(1) * number / rate;
        while instant() < due {
            sleep(PAUSE.min(due.saturating_duration_since(instant())));
        }
        sender.send(Some(click), due)?;
    }
    sender.flush()?;
    live.wait_until_caught_up()?;
    is_over.store(true, Ordering::Relaxed);
    let seen = reading.join().map_err(|_| "the reader has panicked")??;
    live.process.stop()?;
    let counted = begin + WARM_UP;
    let mut clicks = sender.clicks();
    clicks.retain(|_, (due, _)| *due >= counted);
    Ok(figures(&clicks, &seen))
}

fn figures(clicks: &BTreeMap<Stored, (Instant, Instant)>, seen: &Seen) -> Figures {
    let (mut from_due, mut from_acknowledged) = (Vec::new(), Vec::new());
    for (stored, (due, acknowledged)) in clicks {
        let Some(committed) = seen.of(*stored) else { continue };
        from_due.push(committed.saturating_duration_since(*due));
        from_acknowledged.push(committed.saturating_duration_since(*acknowledged));
    }
    from_due.sort_unstable();
    from_acknowledged.sort_unstable();
    let of = |times: &[Duration], per_mille: usize| {
        let at = (times.len() * per_mille / 1_000).min(times.len().saturating_sub(1));
        times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    vec![
        ("due to commit, p50, ms", of(&from_due, 500)),
        ("due to commit, p99, ms", of(&from_due, 990)),
        ("due to commit, p99.9, ms", of(&from_due, 999)),
        ("due to commit, longest, ms", of(&from_due, 1_000)),
        ("acknowledged to commit, p50, ms", of(&from_acknowledged, 500)),
        ("acknowledged to commit, p99, ms", of(&from_acknowledged, 990)),
        ("acknowledged to commit, p99.9, ms", of(&from_acknowledged, 999)),
        ("clicks", u32::try_from(from_due.len()).map_or(f64::NAN, f64::from)),
    ]
}

/// Sends clicks, and notes when each was due and when it was acknowledged.
struct Sender(ThreadedProducer<Acknowledged>);

#[derive(Debug, Clone, Default)]
struct Acknowledged(Arc<Mutex<BTreeMap<Stored, (Instant, Instant)>>>);

impl ClientContext for Acknowledged {}

impl ProducerContext<NoCustomPartitioner> for Acknowledged {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, due: Box<Instant>) {
        if let Ok(message) = result {
            let mut clicks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            clicks.insert((message.partition(), message.offset()), (*due, instant()));
        }
    }
}

impl Sender {
    fn new(servers: &str) -> Answer<Self> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "0")
            .create_with_context(Acknowledged::default())?;
        Ok(Self(producer))
    }

    fn send(&self, click: Option<Generated>, due: Instant) -> Answer<()> {
        let Generated { key, value, .. } = click.ok_or("generate a click")?;
        let value = value.ok_or("generate a click's value")?;
        let record = BaseRecord::with_opaque_to(SystemTopic::AdEvents.name(), Box::new(due));
        let record = record.key(&key).payload(&value);
        Ok(self.0.send(record).map_err(|(error, _)| error)?)
    }

    fn flush(&self) -> Answer<()> {
        Ok(self.0.flush(Duration::from_secs(30))?)
    }

    fn clicks(&self) -> BTreeMap<Stored, (Instant, Instant)> {
        self.0.context().0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// When a reader of the ledger has seen how far each partition was committed; a partition commits in order.
#[derive(Debug, Default)]
struct Seen(BTreeMap<i32, Vec<(i64, Instant)>>);

impl Seen {
    /// When the click at an offset was seen.
    fn of(&self, (partition, offset): Stored) -> Option<Instant> {
        let seen = self.0.get(&partition)?;
        let at = seen.partition_point(|(last, _)| *last < offset);
        seen.get(at).map(|(_, instant)| *instant)
    }
}

/// Looks at the ledger over and over, until it is over.
fn watch(postgres: &str, is_over: &AtomicBool) -> Answer<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(postgres, NoTls).await?;
        let connection = tokio::spawn(connection);
        let ends = client.prepare(ENDS).await?;
        let mut seen = Seen::default();
        while !is_over.load(Ordering::Relaxed) {
            for row in client.query(&ends, &[]).await? {
                let (partition, Some(end)) = (row.try_get(0)?, row.try_get::<_, Option<i64>>(1)?)
                else {
                    continue;
                };
                let ends = seen.0.entry(partition).or_default();
                if ends.last().is_none_or(|(last, _)| *last < end) {
                    ends.push((end, instant()));
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        drop(client);
        connection.await??;
        Ok(seen)
    })
}
