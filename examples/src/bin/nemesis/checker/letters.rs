//! Every dead letter: of which pipeline, of which record, whole, and why.

use std::collections::BTreeMap;

use rtbflow_examples::topics::SystemTopic;

use super::log::{Stored, read};
use super::{At, compare};
use crate::Fallible;
use crate::findings::Findings;
use crate::pipelines::Kind;

/// A letter without the five headers: key, value, own headers, and whether it is late.
type Letter = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>, bool);

/// All that there have to be, by pipeline and record.
#[derive(Debug, Default)]
pub(super) struct Expected(BTreeMap<(String, At), String>);

const OURS: [&str; 5] =
    ["rtbflow-pipeline", "rtbflow-topic", "rtbflow-partition", "rtbflow-offset", "rtbflow-error"];

/// A letter in a few words: what its bytes are is compared by a sum.
fn summary((key, value, headers, is_late): &Letter) -> String {
    let hash = |bytes: &[u8]| {
        bytes.iter().fold(14_695_981_039_346_656_037_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211)
        })
    };
    let of = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(hash);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name, hash(value))).collect();
    format!("late: {is_late}, key {:x?}, value {:x?}, headers {headers:x?}", of(key), of(value))
}

impl Expected {
    /// These records of a pipeline's input are spoilt, and these are late.
    pub(super) fn add(&mut self, kind: Kind, spoilt: &[Stored], late: &[Stored]) {
        let records = spoilt
            .iter()
            .map(|record| (record, false))
            .chain(late.iter().map(|record| (record, true)));
        for (record, is_late) in records {
            let letter =
                (record.key.clone(), record.value.clone(), record.headers.clone(), is_late);
            self.0.insert((kind.name().to_owned(), record.at()), summary(&letter));
        }
    }

    /// Compares; one that was sent again counts once.
    pub(super) async fn check(&self, findings: &Findings, brokers: &str) -> Fallible {
        let mut found = BTreeMap::new();
        let mut again = 0;
        for topic in SystemTopic::ALL {
            for record in read(brokers, &format!("{}.dead-letter", topic.name())).await? {
                let at = record.at();
                let Some((of, letter)) = opened(record) else {
                    findings.violation(&format!("a dead letter without its headers: {at:?}"));
                    continue;
                };
                let letter = summary(&letter);
                match found.insert(of.clone(), letter.clone()) {
                    Some(before) if before == letter => again += 1,
                    Some(_) => findings.violation(&format!("dead letters of {of:?} differ")),
                    None => {}
                }
            }
        }
        findings.count("dead letters that were sent again", again);
        compare(findings, "dead letters", &found, &self.0);
        Ok(())
    }
}

/// Takes the last five headers off the record's own.
fn opened(mut record: Stored) -> Option<((String, At), Letter)> {
    let own = record.headers.len().checked_sub(OURS.len())?;
    let ours = record.headers.split_off(own);
    let text = |name: &str| {
        let (_, value) = ours.iter().find(|(header, _)| header == name)?;
        String::from_utf8(value.clone()).ok()
    };
    let at = (
        text("rtbflow-topic")?,
        text("rtbflow-partition")?.parse().ok()?,
        text("rtbflow-offset")?.parse().ok()?,
    );
    let reason =
        text("rtbflow-error").filter(|reason| !reason.is_empty() && !reason.contains('\n'))?;
    let letter = (record.key, record.value, record.headers, reason.contains("late"));
    Some(((text("rtbflow-pipeline")?, at), letter))
}
