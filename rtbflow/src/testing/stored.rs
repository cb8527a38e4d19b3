//! Compares a topology with one that was stored: a change of it is seen before it is released.

use std::fs;
use std::path::Path;

use crate::topology::Topology;

/// The variable that stores topologies anew instead of comparing them.
const STORE: &str = "RTBFLOW_STORE_TOPOLOGY";

/// Expects that a pipeline is made of the same as when its topology was stored in a file, which belongs
/// into the repository. State is kept by the operators' names: a job that is released with other names
/// refuses to go on.
///
/// With `RTBFLOW_STORE_TOPOLOGY=1` it stores the topology instead.
///
/// # Panics
/// If they differ, or if the file cannot be read, or stored.
///
/// # Examples
/// ```
/// use rtbflow::Job;
/// use rtbflow::epoch::Memory;
/// use rtbflow::source::MemorySource;
/// use rtbflow::testing::topology_is_stored;
///
/// let place = Memory::new();
/// let job = Job::new("doubles")
///     .source(MemorySource::new("numbers", vec![vec![1]]))
///     .anchor(place.clone())
///     .pipeline(move |numbers| numbers.map(|n| n * 2).to(place.collected().sink()));
/// # let folder = std::env::temp_dir();
/// # let path = folder.join(format!("rtbflow-topology-{}", std::process::id()));
/// # std::fs::write(&path, "#0 source numbers\n#1 map <- #0\n#2 sink memory <- #1\n").unwrap();
/// topology_is_stored(&job.topology()?, &path);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), rtbflow::Error>(())
/// ```
#[track_caller]
#[expect(clippy::panic, reason = "the test kit fails as assertions do")]
pub fn topology_is_stored(topology: &Topology, path: impl AsRef<Path>) {
    let (found, path) = (topology.to_string(), path.as_ref());
    let shown = path.display();
    if std::env::var_os(STORE).is_some_and(|store| store == "1") {
        if let Err(error) = fs::write(path, &found) {
            panic!("store the topology in {shown}: {error}");
        }
        return;
    }
    match fs::read_to_string(path) {
        // A repository may have brought other ends of lines.
        Ok(stored) if stored.lines().eq(found.lines()) => {}
        Ok(stored) => panic!(
            "the topology is\n{found}and was stored in {shown} as\n{stored}{STORE}=1 stores it anew; an \
             operator that lost its name loses its state"
        ),
        Err(error) => panic!("read {shown}: {error}; {STORE}=1 stores this topology:\n{found}"),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;
    use crate::topology::Tip;

    #[test]
    fn another_topology_is_reported_with_the_stored_one() {
        let topology = Tip::source(&["ads".into()]).then("filter").finish().topology;
        let path = std::env::temp_dir().join(format!("rtbflow-{:016x}", rand::random::<u64>()));
        let compare = || {
            let answer = catch_unwind(|| topology_is_stored(&topology, &path));
            answer.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
        };
        assert!(compare().unwrap_err().contains("stores this topology:\n#0 source ads\n"));
        fs::write(&path, "#0 source ads\r\n#1 filter <- #0\r\n").unwrap();
        assert_eq!(compare(), Ok(()));
        fs::write(&path, "#0 source ads\n").unwrap();
        assert!(compare().unwrap_err().contains("and was stored in"));
        fs::remove_file(path).unwrap();
    }
}
