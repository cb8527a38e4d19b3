//! The lines between the pipelines and the servers are cut, slow, half-open, or swallow answers.

use std::time::Duration;

use rtbflow::testing::Proxy;

use super::Scene;
use crate::Fallible;
use crate::servers::World;

/// `EndTxn` in its second version, as a request begins: what commits or aborts.
const END_TRANSACTION: [u8; 4] = [0, 26, 0, 1];
const SWALLOWED: u64 = 12;
const PAUSE: Duration = Duration::from_millis(400);
const SLOW: u32 = 3_000;

/// What befalls a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfLines {
    /// All connections end, and nobody gets a new one.
    Cut,
    /// Little gets through in a second.
    Slow,
    /// Nothing gets through, and nobody notices.
    HalfOpen,
    /// What ends a commit gets there, and its answer does not come back, again and again.
    Swallowed,
}

/// Where a line leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Postgres,
    Redis,
    Kafka,
}

impl To {
    fn line(self, world: &World) -> Fallible<&Proxy> {
        match self {
            Self::Postgres => Ok(&world.postgres_line),
            Self::Redis => Ok(&world.redis_line),
            Self::Kafka => {
                world.kafka_line.as_ref().ok_or_else(|| "there is no line to Kafka".into())
            }
        }
    }

    /// What ends a commit.
    fn ends(self) -> &'static [u8] {
        match self {
            Self::Postgres => b"commit\0",
            Self::Redis => b"EVALSHA",
            Self::Kafka => &END_TRANSACTION,
        }
    }
}

impl OfLines {
    pub(super) async fn begin(self, to: To, scene: &mut Scene<'_>) -> Fallible {
        let line = to.line(scene.world)?;
        match self {
            Self::Cut => line.cut(),
            Self::Slow => line.slow_down(SLOW),
            Self::HalfOpen => line.freeze(),
            Self::Swallowed => {
                let before = line.planned_cuts();
                for _ in 0..SWALLOWED {
                    line.cut_after(to.ends());
                    scene.fleet.wait(PAUSE).await?;
                }
                scene.findings.count("answers swallowed", line.planned_cuts() - before);
            }
        }
        Ok(())
    }
}

/// All lines are well again.
pub(super) fn mend(scene: &Scene<'_>) {
    let world = &*scene.world;
    let lines = [Some(&world.postgres_line), Some(&world.redis_line), world.kafka_line.as_ref()];
    for line in lines.into_iter().flatten() {
        line.mend();
        line.thaw();
        line.slow_down(0);
        // What was planned last and has not happened.
        line.cut_after_bytes(usize::MAX);
    }
}
