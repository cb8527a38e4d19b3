//! The lines between the pipelines and the servers are cut, slow, half-open, or swallow answers.

use std::time::Duration;

use super::{Fault, Scene};
use crate::Fallible;

/// `EndTxn` in its second version, as a request begins: what commits or aborts.
const END_TRANSACTION: [u8; 4] = [0, 26, 0, 1];
const SWALLOWED: u64 = 12;
const PAUSE: Duration = Duration::from_millis(400);
const SLOW: u32 = 3_000;

pub(super) async fn begin(fault: Fault, scene: &mut Scene<'_>) -> Fallible {
    let world = &*scene.world;
    let line = match fault {
        Fault::KafkaCut | Fault::KafkaHalfOpen | Fault::EndSwallowed => {
            world.kafka_line.as_ref().ok_or("there is no line to Kafka")?
        }
        Fault::RedisCut | Fault::RedisSlow | Fault::RedisHalfOpen | Fault::EvalSwallowed => {
            &world.redis_line
        }
        _ => &world.postgres_line,
    };
    match fault {
        Fault::PostgresCut | Fault::RedisCut | Fault::KafkaCut => line.cut(),
        Fault::PostgresSlow | Fault::RedisSlow => line.slow_down(SLOW),
        Fault::PostgresHalfOpen | Fault::RedisHalfOpen | Fault::KafkaHalfOpen => line.freeze(),
        _ => {
            let request: &[u8] = match fault {
                Fault::CommitSwallowed => b"commit\0",
                Fault::EvalSwallowed => b"EVALSHA",
                _ => &END_TRANSACTION,
            };
            let before = line.planned_cuts();
            for _ in 0..SWALLOWED {
                line.cut_after(request);
                scene.fleet.wait(PAUSE).await?;
            }
            scene.findings.count("answers swallowed", line.planned_cuts() - before);
        }
    }
    Ok(())
}

/// All lines are well again.
#[expect(clippy::unnecessary_wraps, reason = "as the end of any other fault")]
pub(super) fn mend(scene: &mut Scene<'_>) -> Fallible {
    let world = &*scene.world;
    let lines = [Some(&world.postgres_line), Some(&world.redis_line), world.kafka_line.as_ref()];
    for line in lines.into_iter().flatten() {
        line.mend();
        line.thaw();
        line.slow_down(0);
        // What was planned last and has not happened.
        line.cut_after_bytes(usize::MAX);
    }
    Ok(())
}
