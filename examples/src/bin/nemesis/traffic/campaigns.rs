//! The campaigns: what they bid, where they stand, and what they may spend.

use rtbflow_examples::generator::Dice;
use rtbflow_examples::topics::SystemTopic;
use serde_json::json;

use super::records::{Outgoing, at_text};

const COUNT: usize = 60;
const ADVERTISERS: usize = 20;
const PLACEMENTS: &[&str] = &["HOME", "CATEGORY", "PRODUCT_DETAIL", "SEARCH"];
const CATEGORIES: &[&str] = &["전자제품/컴퓨터", "패션/여성의류", "식품/커피", "도서"];
const IMPACTS: &[&str] = &["HIGH", "MEDIUM", "LOW"];
const YEAR_US: i64 = 365 * 24 * 3_600 * 1_000_000;

/// A campaign as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Campaign {
    pub(super) number: usize,
    pub(super) placement: &'static str,
    pub(super) category: &'static str,
    pub(super) bid_price: i64,
    status: &'static str,
    approval: &'static str,
    /// Whether it becomes live in a hundred years only.
    is_far: bool,
}

/// What the API server's table says of a campaign.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub(crate) campaign: String,
    pub(crate) advertiser: String,
    pub(crate) daily: Option<i64>,
    pub(crate) status: &'static str,
}

impl Campaign {
    pub(super) fn id(&self) -> String {
        format!("campaign_{}", self.number)
    }

    pub(super) fn advertiser(&self) -> String {
        format!("advertiser_{}", self.number % ADVERTISERS)
    }

    pub(super) fn product(&self) -> String {
        format!("product_{}", self.number % 23)
    }

    pub(super) fn record(&self, impact: &str, at_us: i64) -> Outgoing {
        let mut fields = json!({
            "event_type": "CAMPAIGN_UPDATED",
            "timestamp": at_text(at_us),
            "campaign_id": self.id(),
            "advertiser_id": self.advertiser(),
            "product_id": self.product(),
            "placement": self.placement,
            "category": self.category,
            "bid_price": self.bid_price,
            "daily_budget": 100_000,
            "status": self.status,
            "approval_status": self.approval,
            "targeting": null,
            "rtb_impact": impact,
        });
        if let (true, Some(fields)) = (self.number.is_multiple_of(3), fields.as_object_mut()) {
            let from = if self.is_far { at_us + 100 * YEAR_US } else { at_us - 60_000_000 };
            fields.insert("effective_from".to_owned(), at_text(from).into());
        }
        let key = format!("{}|{}", self.placement, self.category);
        Outgoing::new(SystemTopic::CampaignEvents, &key, &fields)
    }
}

/// All campaigns.
#[derive(Debug)]
pub(super) struct Market {
    campaigns: Vec<Campaign>,
    first: Campaign,
}

impl Market {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let mut campaign = |number| Campaign {
            number,
            placement: dice.pick(PLACEMENTS),
            category: dice.pick(CATEGORIES),
            bid_price: 100 + dice.below_i64(2_900),
            status: "ACTIVE",
            approval: "APPROVED",
            is_far: false,
        };
        let campaigns: Vec<_> = (0..COUNT).map(&mut campaign).collect();
        Self { first: campaign(0), campaigns }
    }

    /// Every campaign once.
    pub(super) fn snapshots(&self, at_us: i64) -> Vec<Outgoing> {
        self.campaigns.iter().map(|campaign| campaign.record("HIGH", at_us)).collect()
    }

    /// What the API server's table says.
    pub(super) fn budgets(&self, dice: &mut Dice) -> Vec<Budget> {
        let budget = |campaign: &Campaign| Budget {
            campaign: campaign.id(),
            advertiser: campaign.advertiser(),
            daily: dice.pick(&[
                Some(10_000),
                Some(40_000),
                Some(150_000),
                Some(1_000_000),
                Some(0),
                None,
            ]),
            status: dice.pick(&["ACTIVE", "ACTIVE", "ACTIVE", "PENDING"]),
        };
        // One of them is not in the table at all.
        self.campaigns.iter().skip(1).map(budget).collect()
    }

    /// One for an ad-event: a few get most of it.
    pub(super) fn pick(&self, dice: &mut Dice) -> &Campaign {
        let draws = 1 + dice.below(6);
        let least = (0..draws).map(|_| dice.index(COUNT)).min().unwrap_or(0);
        self.campaigns.get(least).unwrap_or(&self.first)
    }

    /// Changes one; sometimes what is reported of it is older than what was reported before.
    pub(super) fn change(&mut self, dice: &mut Dice, at_us: i64) -> Option<Outgoing> {
        let at = dice.index(COUNT);
        let campaign = self.campaigns.get_mut(at)?;
        match dice.below(4) {
            0 => campaign.approval = dice.pick(&["APPROVED", "APPROVED", "REJECTED", "PENDING"]),
            1 => campaign.status = dice.pick(&["ACTIVE", "ACTIVE", "ACTIVE", "PAUSED", "DELETED"]),
            2 => {
                campaign.placement = dice.pick(PLACEMENTS);
                campaign.category = dice.pick(CATEGORIES);
                campaign.is_far = dice.one_in(4);
            }
            _ => campaign.bid_price = 100 + dice.below_i64(2_900),
        }
        let back = if dice.one_in(5) { dice.below_i64(3_600_000_000) } else { 0 };
        Some(campaign.record(dice.pick(IMPACTS), at_us - back))
    }

    /// A live campaign for each group, whose report has all of the group scored anew.
    pub(super) fn rescored(&self, at_us: i64) -> Vec<Outgoing> {
        let groups = PLACEMENTS
            .iter()
            .flat_map(|placement| CATEGORIES.iter().map(move |category| (*placement, *category)));
        let last =
            |(number, (placement, category)): (usize, (&'static str, &'static str))| Campaign {
                number: 3 * COUNT + 3 * number + 1,
                placement,
                category,
                status: "ACTIVE",
                approval: "APPROVED",
                is_far: false,
                ..self.first
            };
        groups.enumerate().map(last).map(|campaign| campaign.record("HIGH", at_us)).collect()
    }
}
