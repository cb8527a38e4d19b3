//! Redis dies, freezes, refuses, and is promoted.

use std::time::Duration;

use super::{Fault, Scene};
use crate::Fallible;

/// Runs for six seconds, during which others are refused.
const BUSY: &str = "local from = redis.call('TIME') while true do local now = redis.call('TIME') \
     if now[1] - from[1] >= 6 then return 1 end end";

pub(super) async fn begin(fault: Fault, scene: &mut Scene<'_>) -> Fallible {
    match fault {
        Fault::RedisKilled => scene.world.primary_mut()?.kill().await,
        Fault::RedisFrozen => scene.world.primary()?.process.signal("STOP"),
        Fault::RedisFull => {
            scene.world.primary()?.say(&["CONFIG", "SET", "maxmemory", "1"]).await?;
        }
        Fault::RedisReadOnly => {
            scene.world.primary()?.say(&["REPLICAOF", "127.0.0.1", "1"]).await?;
        }
        Fault::RedisRights => {
            scene.fleet.may_be_refused = true;
            let words = ["ACL", "SETUSER", "default", "-hset", "-evalsha", "-eval"];
            scene.world.primary()?.say(&words).await?;
        }
        Fault::RedisBusy => {
            scene.world.primary()?.say(&["CONFIG", "SET", "lua-time-limit", "100"]).await?;
            let mut connection = scene.world.primary()?.connect().await?;
            let busy = tokio::spawn(async move {
                let mut script = redis::cmd("EVAL");
                script.arg(BUSY).arg(0);
                // It is over when the script is, or its caller gives up.
                let _ = script.query_async::<i64>(&mut connection).await;
            });
            scene.fleet.wait(Duration::from_secs(6)).await?;
            busy.abort();
        }
        Fault::ScriptsFlushed => {
            for _ in 0..20 {
                scene.world.primary()?.say(&["SCRIPT", "FLUSH"]).await?;
                scene.fleet.wait(Duration::from_millis(150)).await?;
            }
        }
        Fault::RedisClientsKilled => {
            for _ in 0..5 {
                scene
                    .world
                    .primary()?
                    .say(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
                    .await?;
                scene.fleet.wait(Duration::from_millis(500)).await?;
            }
        }
        _ => {
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

pub(super) async fn end(fault: Fault, scene: &mut Scene<'_>) -> Fallible {
    let primary = scene.world.primary_mut()?;
    match fault {
        Fault::RedisKilled => return primary.start().await,
        Fault::RedisFrozen => primary.process.signal("CONT"),
        Fault::RedisFull => drop(primary.say(&["CONFIG", "SET", "maxmemory", "0"]).await?),
        Fault::RedisReadOnly => drop(primary.say(&["REPLICAOF", "NO", "ONE"]).await?),
        _ => drop(primary.say(&["ACL", "SETUSER", "default", "+@all"]).await?),
    }
    Ok(())
}
