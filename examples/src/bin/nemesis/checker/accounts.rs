//! What the accounts of all instances come to.

use super::Classes;
use crate::findings::Findings;
use crate::fleet::Accounts;
use crate::pipelines::Kind;

/// Compares. Where the place `forgets` (a replica that was behind has taken over), what was committed is read and
/// committed once more, and the sum may be more. One that was killed has left no account, and one whose partitions went to another with a commit that
/// was not answered may not know what became of it: with these the sum may be less, and never more.
pub(super) fn check(
    findings: &Findings,
    (kind, forgets): (Kind, bool),
    accounts: &Accounts,
    expected: &Classes,
) {
    let wanted = [
        expected.decoded,
        expected.filtered,
        expected.late,
        expected.duplicates,
        expected.dead_lettered,
        expected.skipped,
    ];
    let mut found = accounts.sum.classes();
    let mut wanted = wanted.to_vec();
    if kind == Kind::Ranking {
        // Which of two snapshots is late depends on which partition was read first.
        let [decoded, _, late, ..] = &mut found;
        (decoded.1, late.1) = (decoded.1 + late.1, 0);
    }
    let is_whole = accounts.missing == 0 && accounts.revoked == 0;
    findings.count("accounts compared", 1);
    for ((class, found), wanted) in found.iter().zip(wanted.drain(..)) {
        if *found > wanted && !forgets || is_whole && *found < wanted {
            findings.violation(&format!(
                "{}: the accounts have {found} {class}, expected {wanted} ({} instances left none)",
                kind.name(),
                accounts.missing
            ));
        }
    }
}
