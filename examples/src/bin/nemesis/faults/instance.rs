//! Instances are killed, frozen, restarted and made more and fewer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Hold, Scene};
use crate::Fallible;
use crate::pipelines::{Kind, SESSION_MS};

/// Between two of a series.
const PAUSE: Duration = Duration::from_millis(400);
/// Long enough for a rebalance to begin, not to end.
const STORM_PAUSE: Duration = Duration::from_millis(700);
const STORMS: usize = 5;
/// Between two jumps: they look at it once a second.
const CLOCK_STANDS: Duration = Duration::from_secs(4);

/// What befalls instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfInstances {
    /// SIGKILL, all of them, one after the other.
    Killed,
    /// SIGSTOP, one of each pipeline, past its session.
    Frozen,
    /// Instances come and go faster than the group comes to rest.
    Storm,
    /// Fewer, more, and as many as before.
    Scaled,
    /// Ended in order and started again, one after the other.
    Restarted,
    /// The wall clock of all.
    ClockJumps,
}

impl OfInstances {
    pub(super) fn hold(self) -> Hold {
        match self {
            Self::Frozen => Hold::seconds(10).going_on(),
            Self::Killed | Self::Storm | Self::Scaled | Self::Restarted | Self::ClockJumps => {
                Hold::seconds(1)
            }
        }
    }

    pub(super) async fn begin(self, scene: &mut Scene<'_>) -> Fallible {
        match self {
            Self::Killed => killed(scene).await,
            Self::Frozen => frozen(scene).await,
            Self::Storm => storm(scene).await,
            Self::Scaled => scaled(scene).await,
            Self::Restarted => restarted(scene).await,
            Self::ClockJumps => clock(scene).await,
        }
    }
}

/// Two of each pipeline, one after the other, in any order.
async fn killed(scene: &mut Scene<'_>) -> Fallible {
    let mut left: Vec<Kind> = Kind::ALL.into_iter().chain(Kind::ALL).collect();
    while !left.is_empty() {
        let kind = left.swap_remove(scene.dice.index(left.len()));
        scene.fleet.kill_one(kind, scene.dice).await?;
        let pause = Duration::from_millis(scene.dice.below(800));
        scene.fleet.wait(pause).await?;
    }
    Ok(())
}

async fn frozen(scene: &mut Scene<'_>) -> Fallible {
    for kind in Kind::ALL {
        if let Some(at) = scene.fleet.one_of(kind, scene.dice) {
            scene.fleet.freeze(at);
        }
    }
    scene.fleet.wait(Duration::from_millis(SESSION_MS)).await
}

/// The wall clock of all instances jumps by an hour, both ways, and comes back.
async fn clock(scene: &mut Scene<'_>) -> Fallible {
    if scene.world.places.environment.is_empty() {
        return Err("libfaketime is not installed".into());
    }
    for offset in ["+3600", "-3600", "+0"] {
        std::fs::write(clock_file(&scene.world.folder), offset)?;
        scene.fleet.wait(CLOCK_STANDS).await?;
    }
    Ok(())
}

/// What the instances' clocks go by.
pub(crate) fn clock_file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// One more joins and one leaves again, faster than the group comes to rest.
async fn storm(scene: &mut Scene<'_>) -> Fallible {
    for _ in 0..STORMS {
        for kind in Kind::ALL {
            scene.fleet.add(kind)?;
        }
        scene.fleet.wait(STORM_PAUSE).await?;
        for kind in Kind::ALL {
            if let Some(at) = scene.fleet.one_of(kind, scene.dice) {
                scene.fleet.kill(at).await?;
            }
        }
        scene.findings.count("rebalances forced by storms", 14);
        scene.fleet.wait(STORM_PAUSE).await?;
    }
    scene.fleet.shrink(2).await;
    Ok(())
}

async fn scaled(scene: &mut Scene<'_>) -> Fallible {
    scene.fleet.shrink(1).await;
    scene.fleet.wait(5 * PAUSE).await?;
    scene.fleet.want(5);
    scene.fleet.fill()?;
    scene.fleet.wait(20 * PAUSE).await?;
    scene.fleet.shrink(2).await;
    Ok(())
}

async fn restarted(scene: &mut Scene<'_>) -> Fallible {
    for kind in Kind::ALL {
        let count = scene.fleet.of(kind).len();
        for _ in 0..count {
            // The oldest is the first; the one that comes in its place is the last.
            if let Some(at) = scene.fleet.of(kind).first().copied() {
                scene.fleet.stop(at).await?;
                scene.fleet.fill()?;
            }
            scene.fleet.wait(PAUSE).await?;
        }
    }
    Ok(())
}
