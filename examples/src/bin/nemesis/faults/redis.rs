//! Redis dies, freezes, refuses, and is promoted.

use std::time::Duration;

use super::Scene;
use crate::Fallible;
use crate::topology::Topology;

/// Runs for six seconds, during which others are refused.
const BUSY: &str = "local from = redis.call('TIME') while true do local now = redis.call('TIME') \
     if now[1] - from[1] >= 6 then return 1 end end";

/// What befalls Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfRedis {
    /// It dies and comes back.
    Killed,
    /// It does nothing.
    Frozen,
    /// It has no memory left.
    Full,
    /// It is a replica.
    ReadOnly,
    /// The pipelines' user may do less.
    RightsTaken,
    /// Somebody's script runs.
    Busy,
    /// Scripts are forgotten, again and again.
    Flushed,
    /// All connections end, again and again.
    ClientsKilled,
    /// The primary is lost.
    Promoted,
}

impl OfRedis {
    pub(super) fn fits(self, topology: Topology) -> bool {
        match self {
            // Sentinel would see to them.
            Self::Killed | Self::Frozen | Self::ReadOnly | Self::Busy => {
                topology != Topology::Sentinel
            }
            Self::Promoted => topology == Topology::Sentinel,
            Self::Full | Self::RightsTaken | Self::Flushed | Self::ClientsKilled => true,
        }
    }

    pub(super) async fn begin(self, scene: &mut Scene<'_>) -> Fallible {
        match self {
            Self::Killed => scene.world.primary_mut()?.kill().await,
            Self::Frozen => scene.world.primary()?.process.signal("STOP"),
            Self::Full => say(scene, &["CONFIG", "SET", "maxmemory", "1"]).await?,
            Self::ReadOnly => say(scene, &["REPLICAOF", "127.0.0.1", "1"]).await?,
            Self::RightsTaken => {
                scene.fleet.may_be_refused = true;
                say(scene, &["ACL", "SETUSER", "default", "-hset", "-evalsha", "-eval"]).await?;
            }
            Self::Busy => busy(scene).await?,
            Self::Flushed => {
                for _ in 0..20 {
                    say(scene, &["SCRIPT", "FLUSH"]).await?;
                    scene.fleet.wait(Duration::from_millis(150)).await?;
                }
            }
            Self::ClientsKilled => {
                for _ in 0..5 {
                    say(scene, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await?;
                    scene.fleet.wait(Duration::from_millis(500)).await?;
                }
            }
            Self::Promoted => {
                scene.world.primary_mut()?.kill().await;
                scene.world.turn_to_promoted().await?;
                // The former primary comes back, and Sentinel makes it a replica.
                if let Some(former) = scene.world.redis.last_mut() {
                    former.start().await?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn end(self, scene: &mut Scene<'_>) -> Fallible {
        match self {
            Self::Killed => scene.world.primary_mut()?.start().await?,
            Self::Frozen => scene.world.primary()?.process.signal("CONT"),
            Self::Full => say(scene, &["CONFIG", "SET", "maxmemory", "0"]).await?,
            Self::ReadOnly => say(scene, &["REPLICAOF", "NO", "ONE"]).await?,
            Self::RightsTaken => say(scene, &["ACL", "SETUSER", "default", "+@all"]).await?,
            // It is over already.
            Self::Busy | Self::Flushed | Self::ClientsKilled | Self::Promoted => {}
        }
        Ok(())
    }
}

async fn say(scene: &Scene<'_>, words: &[&str]) -> Fallible {
    scene.world.primary()?.say(words).await.map(drop)
}

async fn busy(scene: &mut Scene<'_>) -> Fallible {
    say(scene, &["CONFIG", "SET", "lua-time-limit", "100"]).await?;
    let mut connection = scene.world.primary()?.connect().await?;
    let busy = tokio::spawn(async move {
        let mut script = redis::cmd("EVAL");
        script.arg(BUSY).arg(0);
        // It is over when the script is, or its caller gives up.
        let _ = script.query_async::<i64>(&mut connection).await;
    });
    scene.fleet.wait(Duration::from_secs(6)).await?;
    busy.abort();
    Ok(())
}
