//! What a pipeline is made of, as a graph that can be printed and compared.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::activity::Activity;
use crate::alarm::Alarm;
use crate::error::{Error, Result};
use crate::staged::Place;

/// The operators of a pipeline and how they follow one another.
///
/// `Display` is plain text, one node a line; [`mermaid`](Self::mermaid) draws it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
    names: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    kind: &'static str,
    label: String,
    /// What its measurements are labelled by.
    operator: Arc<str>,
    before: Vec<usize>,
}

impl Topology {
    /// Whether an operator that keeps state has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The graph in [Mermaid](https://mermaid.js.org/syntax/flowchart.html) syntax.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (id, node) in self.nodes.iter().enumerate() {
            let label = node.title().replace('"', "'");
            text.push_str(&format!("    n{id}[\"{label}\"]\n"));
        }
        for (id, node) in self.nodes.iter().enumerate() {
            for before in &node.before {
                text.push_str(&format!("    n{before} --> n{id}\n"));
            }
        }
        text
    }
}

impl Node {
    fn title(&self) -> String {
        if self.label.is_empty() {
            self.kind.to_owned()
        } else {
            format!("{} {}", self.kind, self.label)
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, node) in self.nodes.iter().enumerate() {
            let before: Vec<String> = node.before.iter().map(|id| format!("#{id}")).collect();
            let arrow = if before.is_empty() {
                String::new()
            } else {
                format!(" <- {}", before.join(", "))
            };
            writeln!(f, "#{id} {}{arrow}", node.title())?;
        }
        Ok(())
    }
}

/// What a node without a name is called: as [`Topology`] prints it.
pub(crate) fn unnamed(node: usize, kind: &str) -> Arc<str> {
    format!("#{node} {kind}").into()
}

/// A flow's end so far: the node that was added last, and what all flows of one pipeline share.
#[derive(Debug, Clone)]
pub(crate) struct Tip {
    shared: Arc<Shared>,
    node: usize,
    /// How much lower watermarks are here than where the pipeline begins.
    lag_ms: i64,
}

#[derive(Debug, Default)]
struct Shared {
    drawn: Mutex<Drawn>,
    waiting: Activity,
    alarm: Alarm,
}

#[derive(Debug, Default)]
struct Drawn {
    topology: Topology,
    names: BTreeSet<String>,
    places: Vec<Place>,
    faults: Vec<Error>,
}

/// A pipeline as it was drawn.
#[derive(Debug)]
pub(crate) struct Drawing {
    pub(crate) topology: Topology,
    /// What its sinks write to, each once.
    pub(crate) places: Vec<Place>,
    /// All that is wrong in it.
    pub(crate) faults: Vec<Error>,
}

impl Drawing {
    /// What the pipeline is made of, and what its sinks write to, if nothing is wrong in it.
    ///
    /// # Errors
    /// With all that is wrong.
    pub(crate) fn fits(self) -> Result<(Topology, Vec<Place>)> {
        Error::all(self.faults.into_iter().map(Err))?;
        Ok((self.topology, self.places))
    }
}

impl Tip {
    /// The beginning of a pipeline.
    pub(crate) fn source(topics: &[String]) -> Self {
        Self::rung_by(Alarm::default(), topics)
    }

    /// The beginning of a pipeline in which time passes.
    pub(crate) fn rung_by(alarm: Alarm, topics: &[String]) -> Self {
        let shared = Arc::new(Shared { alarm, ..Shared::default() });
        let root = Self { shared, node: 0, lag_ms: 0 };
        root.add("source", topics.join(", "), Vec::new())
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.shared.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, kind: &'static str, label: String, before: Vec<usize>) -> Self {
        let operator = unnamed(self.drawn().topology.nodes.len(), kind);
        self.add_operator(kind, label, operator, before)
    }

    fn add_operator(
        &self,
        kind: &'static str,
        label: String,
        operator: Arc<str>,
        before: Vec<usize>,
    ) -> Self {
        let mut drawn = self.drawn();
        drawn.topology.nodes.push(Node { kind, label, operator, before });
        let (shared, node) = (Arc::clone(&self.shared), drawn.topology.nodes.len() - 1);
        Self { shared, node, lag_ms: self.lag_ms }
    }

    /// The operator that was added last passes watermarks on lower than they come.
    pub(crate) fn held_back(self, by_ms: i64) -> Self {
        Self { lag_ms: self.lag_ms.saturating_add(by_ms), ..self }
    }

    /// How much lower watermarks are here than where the pipeline begins, in milliseconds.
    pub(crate) fn lag_ms(&self) -> i64 {
        self.lag_ms
    }

    /// An operator without state follows.
    pub(crate) fn then(&self, kind: &'static str) -> Self {
        self.add(kind, String::new(), vec![self.node])
    }

    /// An operator without state follows this and another flow of the pipeline.
    pub(crate) fn join(&self, kind: &'static str, other: &Self) -> Self {
        if !Arc::ptr_eq(&self.shared, &other.shared) {
            self.fail(Error::config(format!(
                "{kind} two flows: they do not come from the same pipeline, and a task has one source"
            )));
            return self.then(kind);
        }
        let joined = self.add(kind, String::new(), vec![self.node, other.node]);
        Self { lag_ms: self.lag_ms.max(other.lag_ms), ..joined }
    }

    /// An operator with a name follows; the name must be new in this pipeline.
    pub(crate) fn then_named(&self, kind: &'static str, name: &str, detail: &str) -> Self {
        let mut drawn = self.drawn();
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            drawn.faults.push(Error::config(format!(
                "name an operator {name:?}: 1 to 100 bytes of text are allowed"
            )));
        }
        if !drawn.names.insert(name.to_owned()) {
            drawn.faults.push(Error::config(format!(
                "name an operator {name:?}: another one has that name, and state is kept by it"
            )));
        }
        drop(drawn);
        let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        self.add_operator(kind, format!("{name:?}{detail}"), name.into(), vec![self.node])
    }

    /// The operator that was added last is refused for each of these reasons.
    pub(crate) fn check(&self, settings: impl IntoIterator<Item = Result<()>>) {
        let wrong: Vec<Error> = settings.into_iter().filter_map(Result::err).collect();
        let mut drawn = self.drawn();
        let title = drawn.topology.nodes.get(self.node).map(Node::title).unwrap_or_default();
        let attempted = format!("set up {title}");
        drawn.faults.extend(wrong.into_iter().map(|error| error.met(&attempted)));
    }

    /// The pipeline is refused, for this reason among others.
    pub(crate) fn fail(&self, error: Error) {
        self.drawn().faults.push(error);
    }

    /// A sink follows.
    pub(crate) fn end(&self, places: Vec<Place>) -> Self {
        let kinds: BTreeSet<&str> = places.iter().map(|place| place.kind()).collect();
        let label = kinds.into_iter().collect::<Vec<_>>().join(", ");
        let mut drawn = self.drawn();
        for place in places {
            if !drawn.places.contains(&place) {
                drawn.places.push(place);
            }
        }
        drop(drawn);
        self.add("sink", label, vec![self.node])
    }

    /// What the operator that was added last is called in measurements: by its name, or as in the topology.
    pub(crate) fn operator(&self) -> Arc<str> {
        let drawn = self.drawn();
        drawn
            .topology
            .nodes
            .get(self.node)
            .map_or_else(|| "".into(), |node| Arc::clone(&node.operator))
    }

    /// What wakes operators.
    pub(crate) fn alarm(&self) -> Alarm {
        self.shared.alarm.clone()
    }

    /// What waits for a barrier.
    pub(crate) fn activity(&self) -> Activity {
        self.shared.waiting.clone()
    }

    /// The whole pipeline, and what is wrong in it; that is handed over once.
    pub(crate) fn finish(&self) -> Drawing {
        let mut drawn = self.drawn();
        let (topology, names) = (drawn.topology.clone(), drawn.names.clone());
        Drawing {
            topology: Topology { names, ..topology },
            places: drawn.places.clone(),
            faults: std::mem::take(&mut drawn.faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_text_and_mermaid() {
        let tip = Tip::source(&["ad-events".into()]);
        tip.then("filter")
            .then_named("window", "performance", "tumbling 5m")
            .end(vec![Place::new("redis")]);
        let Drawing { topology, places, faults } = tip.finish();
        assert_eq!((places.len(), faults.len()), (1, 0));
        assert_eq!(
            topology.to_string(),
            "#0 source ad-events\n#1 filter <- #0\n#2 window \"performance\" (tumbling 5m) <- #1\n#3 sink redis <- #2\n"
        );
        assert!(topology.mermaid().contains("n1 --> n2"));
    }

    #[test]
    fn branches_meet_again() {
        let split = Tip::source(&["events".into()]).then("split");
        let (left, right) = (split.then("map"), split.then("filter"));
        let (topology, _) = left.join("union", &right).finish().fits().unwrap();
        assert!(topology.to_string().ends_with("#4 union <- #2, #3\n"), "{topology}");
        assert!(topology.mermaid().contains("n3 --> n4"));
    }

    #[test]
    fn an_operator_is_measured_by_its_name_or_as_it_is_printed() {
        let source = Tip::source(&[]);
        let filter = source.then("filter");
        let sink = filter.then_named("window", "performance", "").end(Vec::new());
        assert_eq!(
            [source, filter, sink].map(|tip| tip.operator()),
            ["#0 source", "#1 filter", "#3 sink"].map(Arc::from)
        );
        let named = Tip::source(&[]).then_named("window", "performance", "tumbling 5m");
        assert_eq!(&*named.operator(), "performance");
    }

    #[test]
    fn a_name_is_used_once() {
        let tip = Tip::source(&[]);
        tip.then_named("dedup", "seen", "").then_named("window", "seen", "");
        assert!(tip.finish().fits().unwrap_err().is_config());
    }
}
