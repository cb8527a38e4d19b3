//! The proof of the money: what was sent against what stands in the books, record by record.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rtbflow::Timestamp;

use crate::traffic::{Click, Records, Stored};
use crate::view::grouped;

/// Repeats are looked for in windows of this size.
const WINDOW: Duration = Duration::from_mins(5);
/// The disorder that the pipelines allow for, unless an option says otherwise.
const OUT_OF_ORDERNESS: Duration = Duration::from_secs(5);

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) advertiser_id: String,
    pub(crate) amount: i64,
}

/// What was clicked by whom, and the end of the window.
pub(crate) type Repeated = (String, String, Timestamp);

/// A campaign, and when its window begins.
pub(crate) type CampaignWindow = (String, Timestamp);
/// The clicks of windows, and what they cost.
pub(crate) type Windows = HashMap<CampaignWindow, (i64, i64)>;

/// The books as they stand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// Charges, by where their click is stored.
    pub(crate) charges: BTreeMap<Stored, Row>,
    /// Refunds, by what was repeated.
    pub(crate) refunds: Vec<(Repeated, Row)>,
    /// The sum of all balances.
    pub(crate) balances: i64,
    /// The sum of the ledger.
    pub(crate) ledger: i64,
    /// Advertisers whose balance is not the sum of their ledger.
    pub(crate) unequal: usize,
    /// What the budgets' counters add up to.
    pub(crate) spent: i64,
    /// What was counted in windows that are over.
    pub(crate) windows: Windows,
}

/// The money, added up from both ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Clicks that were sent and stored, and the sum of their prices.
    clicks: usize,
    prices: i64,
    /// Clicks without a row in the ledger, and rows with another price or advertiser than the click.
    missing: usize,
    wrong: usize,
    /// Rows for records that were not sent by us.
    unknown: usize,
    /// Refunds, and their sum.
    refunds: usize,
    refunded: i64,
    /// Repeats in windows that are over without a refund; refunds that no repeats stand for.
    missing_refunds: usize,
    wrong_refunds: usize,
    balances: i64,
    ledger: i64,
    unequal: usize,
    spent: i64,
    /// Windows that are over, and those whose clicks or cost were counted otherwise.
    windows: usize,
    wrong_windows: usize,
}

impl Proof {
    /// Compares what was sent with the books.
    pub(crate) fn of(sent: &Records, books: &Books) -> Self {
        let mut proof = Self {
            clicks: sent.clicks.len(),
            prices: sent.clicks.values().map(|click| click.charge.amount).sum(),
            refunds: books.refunds.len(),
            refunded: books.refunds.iter().map(|(_, row)| row.amount).sum(),
            balances: books.balances,
            ledger: books.ledger,
            unequal: books.unequal,
            spent: books.spent,
            ..Self::default()
        };
        for (at, click) in &sent.clicks {
            let Click { charge, .. } = click;
            match books.charges.get(at) {
                None => proof.missing += 1,
                Some(row) => {
                    let agrees =
                        row.advertiser_id == charge.advertiser_id && row.amount == -charge.amount;
                    proof.wrong += usize::from(!agrees);
                }
            }
        }
        proof.unknown = books.charges.keys().filter(|at| !sent.clicks.contains_key(at)).count();
        proof.compare_refunds(sent, books);
        let windows = windows(sent);
        proof.windows = windows.len();
        let differs = |(window, counted): &(&CampaignWindow, &(i64, i64))| {
            books.windows.get(*window) != Some(*counted)
        };
        proof.wrong_windows = windows.iter().filter(differs).count();
        proof
    }

    fn compare_refunds(&mut self, sent: &Records, books: &Books) {
        let mut due = repeats(sent);
        for (repeated, row) in &books.refunds {
            match due.remove(repeated) {
                Some(expected) => self.wrong_refunds += usize::from(expected.row != *row),
                None => self.wrong_refunds += 1,
            }
        }
        self.missing_refunds = due.values().filter(|expected| expected.is_over).count();
    }

    /// Whether every won is where it belongs.
    pub(crate) fn holds(&self) -> bool {
        let ours = self.unknown == 0;
        self.missing == 0
            && self.wrong == 0
            && self.missing_refunds == 0
            && (self.wrong_refunds == 0 || !ours)
            && self.unequal == 0
            && self.balances == self.ledger
            && (!ours || self.balances == self.refunded - self.prices && self.spent == self.prices)
            && (!ours || self.wrong_windows == 0)
    }

    /// What was found, for the terminal; and what was survived until then.
    pub(crate) fn text(&self, survived: &str) -> String {
        let verdict = if self.holds() { "the money is right" } else { "THE MONEY IS WRONG" };
        let others = match self.unknown {
            0 => String::new(),
            others => format!("  {others} rows are for records that somebody else sent\n"),
        };
        format!(
            "\nproof, record by record\n  \
             {:>16}  {} clicks sent; {} have no row in the ledger, {} a wrong one\n  \
             {:>16}  {} refunds of repeated clicks; {} are missing, {} are wrong\n  \
             {:>16}  all balances; the ledger adds up to {}; {} advertisers differ\n  \
             {:>16}  spent, as the budgets count it\n  \
             {:>16}  windows of campaigns are over; {} count other clicks or costs\n  \
             {survived}{others}  \
             opening 0 {:+} charged {:+} refunded = {}: {verdict}\n",
            grouped(-self.prices),
            self.clicks,
            self.missing,
            self.wrong,
            grouped(self.refunded),
            self.refunds,
            self.missing_refunds,
            self.wrong_refunds,
            grouped(self.balances),
            grouped(self.ledger),
            self.unequal,
            grouped(self.spent),
            self.windows,
            self.wrong_windows,
            -self.prices,
            self.refunded,
            self.balances,
        )
    }
}

/// When the window of a click begins.
fn window_of(click: &Click) -> Timestamp {
    let size = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(click.timestamp.as_millis().div_euclid(size) * size)
}

/// What was clicked and charged, by campaign and window: those that no partition still adds to.
pub(crate) fn windows(sent: &Records) -> Windows {
    let earliest = sent.event_times.values().min().copied();
    let mut windows = Windows::new();
    for click in sent.clicks.values() {
        let start = window_of(click);
        if earliest.is_some_and(|earliest| start + WINDOW + OUT_OF_ORDERNESS <= earliest) {
            let window = windows.entry((click.charge.campaign_id.clone(), start)).or_default();
            *window = (window.0 + 1, window.1 + click.charge.amount);
        }
    }
    windows
}

/// What repeats of a click must have led to.
#[derive(Debug)]
struct Expected {
    row: Row,
    /// Whether the window must have been closed by what was sent behind it.
    is_over: bool,
}

/// The repeats among the clicks, by window: all but the first are to be refunded.
fn repeats(sent: &Records) -> HashMap<Repeated, Expected> {
    let mut windows: BTreeMap<Repeated, Vec<(Timestamp, Stored, &Click)>> = BTreeMap::new();
    for (at, click) in &sent.clicks {
        let end = window_of(click) + WINDOW;
        let key = (click.charge.device_id.clone(), click.charge.ad_id.clone(), end);
        windows.entry(key).or_default().push((click.timestamp, *at, click));
    }
    let expected = |(repeated, mut clicks): (Repeated, Vec<(Timestamp, Stored, &Click)>)| {
        clicks.sort_by_key(|(timestamp, at, _)| (*timestamp, *at));
        let (_, (partition, _), first) = clicks.first()?;
        let amount = clicks.iter().skip(1).map(|(_, _, click)| click.charge.amount).sum();
        let latest = sent.event_times.get(partition)?;
        let is_over = repeated.2 + OUT_OF_ORDERNESS <= *latest;
        let row = Row { advertiser_id: first.charge.advertiser_id.clone(), amount };
        (clicks.len() > 1).then_some((repeated, Expected { row, is_over }))
    };
    windows.into_iter().filter_map(expected).collect()
}

#[cfg(test)]
mod tests {
    use rtbflow_examples::generator::Charge;

    use super::*;

    fn click(ms: i64, amount: i64) -> Click {
        let charge = Charge {
            advertiser_id: "advertiser_1".to_owned(),
            campaign_id: "campaign_1".to_owned(),
            device_id: "device_1".to_owned(),
            ad_id: "ad_1".to_owned(),
            amount,
        };
        Click { charge, timestamp: Timestamp::from_millis(ms) }
    }

    fn row(amount: i64) -> Row {
        Row { advertiser_id: "advertiser_1".to_owned(), amount }
    }

    /// Two clicks in one window that is over, and one in the next.
    fn sent() -> Records {
        let clicks =
            [((0, 0), click(1_000, 10)), ((0, 1), click(2_000, 20)), ((0, 2), click(400_000, 5))];
        let event_times = HashMap::from([(0, Timestamp::from_millis(400_000))]);
        Records { clicks: clicks.into(), event_times, ..Records::default() }
    }

    fn books() -> Books {
        let repeated = ("device_1".to_owned(), "ad_1".to_owned(), Timestamp::from_millis(300_000));
        Books {
            charges: [((0, 0), row(-10)), ((0, 1), row(-20)), ((0, 2), row(-5))].into(),
            refunds: vec![(repeated, row(20))],
            balances: -15,
            ledger: -15,
            unequal: 0,
            spent: 35,
            windows: [(("campaign_1".to_owned(), Timestamp::from_millis(0)), (2, 30))].into(),
        }
    }

    #[test]
    fn the_money_is_right() {
        let proof = Proof::of(&sent(), &books());
        assert!(proof.holds(), "{proof:?}");
        let text = proof.text("9 kills\n");
        assert!(text.contains("opening 0 -35 charged +20 refunded = -15: the money is right"));
        assert!(text.contains("\n  9 kills\n"), "{text}");
        assert!(text.contains("1  windows of campaigns are over; 0 count other"), "{text}");
    }

    #[test]
    fn each_kind_of_error_is_seen() {
        let change = |change: fn(&mut Books)| {
            let mut books = books();
            change(&mut books);
            Proof::of(&sent(), &books)
        };
        let errors: [fn(&mut Books); 10] = [
            |books| drop(books.charges.remove(&(0, 1))),
            |books| drop(books.charges.insert((0, 1), row(-21))),
            |books| books.refunds.clear(),
            |books| books.refunds.push(books.refunds[0].clone()),
            |books| books.refunds[0].1.amount = 10,
            |books| books.unequal = 1,
            |books| (books.balances, books.ledger) = (-14, -14),
            |books| books.spent = 34,
            |books| books.windows.clear(),
            |books| books.windows.values_mut().for_each(|(clicks, _)| *clicks += 1),
        ];
        for error in errors {
            let proof = change(error);
            assert!(!proof.holds() && proof.text("").contains("WRONG"), "{proof:?}");
        }
    }
}
