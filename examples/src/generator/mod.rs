//! Seeded traffic of the system: the same seed gives the same records, byte for byte.
//!
//! One interleaved history. Of the ad-events about 88 % are impressions, 10 % clicks (one in five repeats
//! a click of the last seconds) and 2 % conversions; a few campaigns get most of it. Conversions of
//! clicked products follow in conversion-events, some delivered twice; campaigns change in
//! campaign-events. Event times run at an even pace and are out of order by up to four seconds.

mod dice;
mod dirt;
mod market;
mod wire;

use std::collections::VecDeque;
use std::time::Duration;

use rtbflow::Timestamp;

use crate::topics::SystemTopic;
pub use dice::Dice;
use market::{Campaign, Market};

/// What to generate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// The event time of the first record.
    pub start: Timestamp,
    /// The event time that passes from one ad-event to the next.
    pub step: Duration,
    /// How many campaigns there are, at least one.
    pub campaigns: usize,
    /// How many devices there are, at least one.
    pub devices: u64,
    /// Of how many ad-events one is followed by a record that cannot be used; `None` for clean traffic.
    pub dirt_one_in: Option<u64>,
}

impl Plan {
    /// Clean traffic of 200 campaigns and 20,000 devices.
    #[must_use]
    pub fn new(seed: u64, start: Timestamp, step: Duration) -> Self {
        Self { seed, start, step, campaigns: 200, devices: 20_000, dirt_one_in: None }
    }
}

/// A record to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Where to.
    pub topic: SystemTopic,
    /// The key.
    pub key: String,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The event time.
    pub timestamp: Timestamp,
    /// Whether it decodes; if not, it is dirt.
    pub is_usable: bool,
    /// What it costs whom, if it is a click.
    pub charge: Option<Charge>,
}

/// The price of a click, who pays it, and what was clicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Who pays.
    pub advertiser_id: String,
    /// For which campaign.
    pub campaign_id: String,
    /// Who clicked.
    pub device_id: String,
    /// On what.
    pub ad_id: String,
    /// How much, in won.
    pub amount: i64,
}

/// A campaign as the API server has it in its own table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The campaign.
    pub campaign_id: String,
    /// Who pays.
    pub advertiser_id: String,
    /// The most to be spent in a day, in won.
    pub daily_budget: i64,
    /// Whether it is shown.
    pub status: &'static str,
}

/// A click that may be repeated or followed by a conversion.
#[derive(Debug, Clone, Copy)]
struct PastClick {
    device: u64,
    campaign: usize,
    at: Timestamp,
}

/// Clicks that are remembered, to be converted later; those at the end are repeated.
const REMEMBERED_CLICKS: usize = 5_000;
const REPEATED_CLICKS: u64 = 20;
/// A repeat comes within this time of the click.
const REPEAT_WITHIN: Duration = Duration::from_secs(20);
const MOST_DISORDER_MS: u64 = 4_000;

/// Records without an end: see [the module](self).
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    dice: Dice,
    market: Market,
    clicks: VecDeque<PastClick>,
    ahead: VecDeque<Generated>,
    ads: u64,
    orders: u64,
}

impl Generator {
    /// Begins with one snapshot of each campaign.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut dice = Dice::new(plan.seed);
        let market = Market::new(&mut dice, plan.campaigns.max(1));
        let snapshots = market.campaigns().iter();
        let ahead = snapshots
            .map(|campaign| wire::campaign(campaign, "CAMPAIGN_CREATED", plan.start))
            .collect();
        Self { plan, dice, market, clicks: VecDeque::new(), ahead, ads: 0, orders: 0 }
    }

    /// All campaigns as they stand.
    #[must_use]
    pub fn budgets(&self) -> Vec<Budget> {
        let budget = |campaign: &Campaign| Budget {
            campaign_id: campaign.id(),
            advertiser_id: campaign.advertiser_id(),
            daily_budget: campaign.daily_budget,
            status: campaign.status,
        };
        self.market.campaigns().iter().map(budget).collect()
    }

    /// How many ad-events were generated, dirt not counted.
    #[must_use]
    pub fn ads(&self) -> u64 {
        self.ads
    }

    /// Generates one ad-event, and what goes with it.
    fn step(&mut self) {
        let ad = u32::try_from(self.ads).unwrap_or(u32::MAX);
        let now = self.plan.start + self.plan.step.saturating_mul(ad);
        self.ads += 1;
        let delay_ms = if self.dice.one_in(3) { self.dice.below(MOST_DISORDER_MS) } else { 0 };
        let at = (now - Duration::from_millis(delay_ms)).max(self.plan.start);
        let ad = match self.dice.below(100) {
            0..2 => self.repeat(at).unwrap_or_else(|| self.impression(at)),
            2..10 => self.click(at),
            10..12 => self.conversion(at),
            _ => self.impression(at),
        };
        self.ahead.push_back(ad);
        if self.dice.one_in(100) {
            self.outside_conversion(at);
        }
        if self.dice.one_in(300) {
            self.change_campaign(now);
        }
        if self.plan.dirt_one_in.is_some_and(|many| self.dice.one_in(many.max(1))) {
            let key = wire::device(self.dice.below(self.plan.devices.max(1)));
            self.ahead.push_back(dirt::record(&mut self.dice, key, now));
        }
    }

    fn device(&mut self) -> u64 {
        self.dice.below(self.plan.devices.max(1))
    }

    fn impression(&mut self, at: Timestamp) -> Generated {
        let (device, campaign) = (self.device(), self.market.pick(&mut self.dice));
        wire::Ad { device, campaign: self.market.campaign(campaign), at }.impression()
    }

    fn click(&mut self, at: Timestamp) -> Generated {
        let (device, campaign) = (self.device(), self.market.pick(&mut self.dice));
        self.clicked(PastClick { device, campaign, at })
    }

    /// A click of the last seconds once more, if there was one.
    fn repeat(&mut self, at: Timestamp) -> Option<Generated> {
        let back = usize::try_from(self.dice.below(REPEATED_CLICKS)).unwrap_or(0);
        let first = *self.clicks.iter().rev().nth(back).or(self.clicks.back())?;
        let recent = at.since(first.at) <= REPEAT_WITHIN;
        recent.then(|| self.clicked(PastClick { at, ..first }))
    }

    fn clicked(&mut self, click: PastClick) -> Generated {
        if self.clicks.len() == REMEMBERED_CLICKS {
            self.clicks.pop_front();
        }
        self.clicks.push_back(click);
        let term = self.dice.one_in(3).then(|| self.dice.pick(wire::SEARCH_TERMS));
        let campaign = self.market.campaign(click.campaign);
        wire::Ad { device: click.device, campaign, at: click.at }.click(term)
    }

    fn conversion(&mut self, at: Timestamp) -> Generated {
        let (device, campaign) = (self.device(), self.market.pick(&mut self.dice));
        let revenue = 1_000 + self.dice.below_i64(89_000);
        let order = format!("order_a{}", self.ads);
        wire::Ad { device, campaign: self.market.campaign(campaign), at }
            .conversion(revenue, &order)
    }

    /// A conversion as an outside system reports it, mostly of a product that was clicked.
    fn outside_conversion(&mut self, at: Timestamp) {
        let count = u64::try_from(self.clicks.len()).unwrap_or(0);
        let nth = usize::try_from(self.dice.below(count.max(1))).unwrap_or(0);
        let clicked = self.clicks.get(nth).filter(|_| !self.dice.one_in(5)).copied();
        let (device, campaign) = match clicked {
            Some(click) => (click.device, click.campaign),
            None => (self.device(), self.market.pick(&mut self.dice)),
        };
        self.orders += 1;
        let order = (!self.dice.one_in(10)).then_some(self.orders);
        let campaign: &Campaign = self.market.campaign(campaign);
        let record = wire::outside_conversion(&mut self.dice, device, campaign, order, at);
        if self.dice.one_in(20) {
            self.ahead.push_back(record.clone());
        }
        self.ahead.push_back(record);
    }

    fn change_campaign(&mut self, at: Timestamp) {
        let (index, event_type) = self.market.change(&mut self.dice);
        self.ahead.push_back(wire::campaign(self.market.campaign(index), event_type, at));
    }
}

impl Iterator for Generator {
    type Item = Generated;

    /// The next record; there always is one.
    fn next(&mut self) -> Option<Generated> {
        while self.ahead.is_empty() {
            self.step();
        }
        self.ahead.pop_front()
    }
}

#[cfg(test)]
mod tests;
