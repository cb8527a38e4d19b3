//! What happened, and in which order it was reported.
//!
//! Four sources: one reports within seconds, one within minutes, one within two hours, and one has its records in
//! files of an hour each, which are loaded when the hour is over. Eleven times more happens at noon than at night, and
//! now and then nothing for days. Half of the records stand at whole seconds, and some have microseconds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rtbflow_examples::generator::Dice;
use rtbflow_examples::topics::SystemTopic;

use super::campaigns::{Budget, Market};
use super::poison;
use super::records::{Ad, Outgoing, Sale, refund};

/// 2024-01-15T00:00:00Z.
const BEGIN_US: i64 = 1_705_276_800_000_000;
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// How much happens in each hour of the day, and all together.
const HOURS: [i64; 24] =
    [1, 1, 1, 1, 1, 2, 3, 5, 7, 9, 10, 11, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1];
const OF_A_DAY: i64 = 119;
const DEVICES: u64 = 3_000;
/// One device has one in twenty of all records.
const HOT: u64 = 7;

/// A record on its way: when it arrives, and behind which others.
type OnItsWay = Reverse<(i64, u64, Held)>;

/// Ordered by nothing: what is compared before is never equal.
#[derive(Debug)]
struct Held(Outgoing);

impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Held {}
impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Held {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// Records without an end; the same seed gives the same.
#[derive(Debug)]
pub(crate) struct History {
    dice: Dice,
    market: Market,
    now_us: i64,
    /// Microseconds that pass between two records in an hour in which the least happens.
    step: i64,
    records_a_day: u64,
    under_way: BinaryHeap<OnItsWay>,
    due: VecDeque<Outgoing>,
    next: u64,
    orders: u64,
}

impl History {
    /// A history in which a day has about this many records.
    pub(crate) fn new(seed: u64, records_a_day: u64) -> Self {
        let mut dice = Dice::new(seed);
        let market = Market::new(&mut dice);
        let due = market.snapshots(BEGIN_US).into();
        let (under_way, next, orders) = Default::default();
        let step = HOUR * OF_A_DAY / i64::try_from(records_a_day).unwrap_or(1).max(1);
        Self { dice, market, now_us: BEGIN_US, step, records_a_day, under_way, due, next, orders }
    }

    /// What the API server's table says of the campaigns.
    pub(crate) fn budgets(&mut self) -> Vec<Budget> {
        self.market.budgets(&mut self.dice)
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> Outgoing {
        loop {
            if let Some(record) = self.due.pop_front() {
                return record;
            }
            self.step();
        }
    }

    /// All that is still under way: nothing happens any more.
    pub(crate) fn rest(&mut self) -> Vec<Outgoing> {
        self.arrive(i64::MAX);
        self.due.drain(..).collect()
    }

    /// What has every group of the ranking scored anew.
    pub(crate) fn rescored(&self) -> Vec<Outgoing> {
        self.market.rescored(self.now_us + HOUR)
    }

    fn arrive(&mut self, until: i64) {
        while self.under_way.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
            if let Some(Reverse((_, _, Held(record)))) = self.under_way.pop() {
                self.due.push_back(record);
            }
        }
    }

    fn step(&mut self) {
        let hour = usize::try_from(self.now_us.div_euclid(HOUR).rem_euclid(24)).unwrap_or(0);
        let weight = HOURS.get(hour).copied().unwrap_or(1);
        self.now_us += 1 + self.dice.below_i64((2 * self.step / weight).max(1));
        if self.dice.one_in(self.records_a_day) {
            // Whatever was late is here before nothing happens for days.
            self.arrive(i64::MAX);
            self.now_us += 2 * DAY + self.dice.below_i64(DAY);
        }
        self.arrive(self.now_us);
        self.happens();
    }

    /// A time as a clock writes it: of a whole second, of a millisecond or of a microsecond.
    fn written(&mut self, at_us: i64) -> i64 {
        match self.dice.below(10) {
            0..5 => at_us - at_us.rem_euclid(SECOND),
            5..8 => at_us - at_us.rem_euclid(1_000),
            _ => at_us,
        }
    }

    /// Sends something that happened at this time on its way, by one of the sources.
    fn report(&mut self, record: Outgoing, at_us: i64) {
        let arrives = match self.dice.below(20) {
            0..14 => at_us + self.dice.below_i64(4 * SECOND),
            14..17 => at_us + 2 * MINUTE + self.dice.below_i64(3 * MINUTE),
            17..19 => at_us + HOUR + self.dice.below_i64(HOUR),
            _ => at_us - at_us.rem_euclid(HOUR) + HOUR + MINUTE,
        };
        self.next += 1;
        self.under_way.push(Reverse((arrives, self.next, Held(record))));
    }

    fn happens(&mut self) {
        let at_us = self.written(self.now_us);
        let device = if self.dice.one_in(20) { HOT } else { self.dice.below(DEVICES) };
        let campaign = self.market.pick(&mut self.dice).clone();
        let of = Ad { device, ad: self.dice.below(3), campaign: &campaign, at_us };
        match self.dice.below(100) {
            0..14 => self.clicks(&of),
            14..17 => {
                let record = of.conversion(self.dice.below_i64(90_000));
                self.report(record, at_us);
            }
            _ => self.report(of.impression(), at_us),
        }
        if self.dice.one_in(250) {
            // A device that was without a network for days.
            let at_us = at_us - DAY - self.dice.below_i64(2 * DAY);
            self.due.push_back(Ad { at_us, ..of.clone() }.impression());
        }
        if self.dice.one_in(120) {
            let changed = self.market.change(&mut self.dice, at_us);
            self.due.extend(changed);
        }
        if self.dice.one_in(80) {
            self.refunds(at_us);
        }
        if self.dice.one_in(100) {
            self.poison(&of);
        }
    }

    /// A click, its repeats, and the sales that follow.
    fn clicks(&mut self, of: &Ad<'_>) {
        let price = of.campaign.bid_price * 4 / 5;
        self.report(of.click(price), of.at_us);
        if self.dice.one_in(3) {
            for _ in 0..=self.dice.below(3) {
                let again = of.at_us + self.dice.below_i64(4 * MINUTE);
                let at_us = self.written(again);
                let repeat = Ad { at_us, ..of.clone() };
                self.report(repeat.click(price), at_us);
            }
        }
        if self.dice.one_in(4) {
            self.orders += 1;
            let after = if self.dice.one_in(2) { HOUR } else { 30 * HOUR };
            let later = of.at_us + self.dice.below_i64(after);
            let at_us = self.written(later);
            let sale = Sale {
                device: of.device,
                product: of.campaign.product(),
                order: (!self.dice.one_in(10)).then_some(self.orders),
                revenue: 1_000 + self.dice.below_i64(89_000),
                kind: self.dice.pick(&["PURCHASE", "PURCHASE", "ADD_TO_CART", "SIGNUP"]),
                window_hours: self.dice.pick(&[
                    None,
                    Some(0),
                    Some(1),
                    Some(6),
                    Some(24),
                    Some(48),
                ]),
                at_us,
            };
            // It is reported when it is made.
            self.next += 1;
            let at = at_us.max(self.now_us);
            self.under_way.push(Reverse((at, self.next, Held(sale.record()))));
            if self.dice.one_in(12) {
                self.next += 1;
                self.under_way.push(Reverse((at, self.next, Held(sale.record()))));
            }
        }
    }

    /// A refund that others ask for, sometimes more than once.
    fn refunds(&mut self, at_us: i64) {
        self.orders += 1;
        let record = refund(self.orders, 1 + self.dice.below_i64(5_000), at_us);
        if self.dice.one_in(4) {
            self.due.push_back(record.clone());
        }
        self.due.push_back(record);
    }

    fn poison(&mut self, of: &Ad<'_>) {
        let topic = match self.dice.below(6) {
            0 => SystemTopic::ConversionEvents,
            1 => SystemTopic::CampaignEvents,
            2 => SystemTopic::CompensationEvents,
            _ => SystemTopic::AdEvents,
        };
        let (key, good) = (format!("device_{}", of.device), of.impression());
        let record = if self.dice.one_in(8) {
            // A tombstone: nothing to be used, and nothing wrong.
            Outgoing { topic, key, value: None, is_poison: false }
        } else {
            poison::record(&mut self.dice, topic, &key, &good)
        };
        self.due.push_back(record);
    }
}
