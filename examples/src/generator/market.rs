//! The campaigns: who pays, for what, where, and how often each is seen.

use super::dice::Dice;

const PLACEMENTS: &[&str] = &["HOME", "CATEGORY", "PRODUCT_DETAIL", "SEARCH"];
const CATEGORIES: &[&str] =
    &["전자제품/컴퓨터", "전자제품/휴대폰", "패션/여성의류", "식품/커피", "도서", "스포츠/러닝"];
const IMPACTS: &[&str] = &["HIGH", "MEDIUM", "LOW"];
const ADVERTISERS: usize = 40;
const PRODUCTS: usize = 97;

/// A campaign as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Campaign {
    pub(super) number: usize,
    pub(super) placement: &'static str,
    pub(super) category: &'static str,
    pub(super) bid_price: i64,
    pub(super) daily_budget: i64,
    pub(super) status: &'static str,
    pub(super) approval_status: &'static str,
    pub(super) impact: &'static str,
    pub(super) is_targeted: bool,
}

impl Campaign {
    fn new(dice: &mut Dice, number: usize) -> Self {
        Self {
            number,
            placement: dice.pick(PLACEMENTS),
            category: dice.pick(CATEGORIES),
            bid_price: 100 + dice.below_i64(2_900),
            daily_budget: dice.pick(&[100_000, 500_000, 5_000_000]),
            status: "ACTIVE",
            approval_status: "APPROVED",
            impact: dice.pick(IMPACTS),
            is_targeted: dice.one_in(3),
        }
    }

    pub(super) fn id(&self) -> String {
        format!("campaign_{}", self.number)
    }

    pub(super) fn advertiser_id(&self) -> String {
        format!("advertiser_{}", self.number % ADVERTISERS)
    }

    pub(super) fn product_id(&self) -> String {
        format!("product_{}", self.number % PRODUCTS)
    }

    /// What a click costs: four fifths of the bid, in whole won.
    pub(super) fn price(&self) -> i64 {
        self.bid_price * 4 / 5
    }
}

/// All campaigns, at least one.
#[derive(Debug)]
pub(super) struct Market {
    first: Campaign,
    campaigns: Vec<Campaign>,
}

impl Market {
    pub(super) fn new(dice: &mut Dice, count: usize) -> Self {
        let campaigns: Vec<_> = (0..count).map(|number| Campaign::new(dice, number)).collect();
        let first = campaigns.first().cloned().unwrap_or_else(|| Campaign::new(dice, 0));
        Self { first, campaigns }
    }

    pub(super) fn campaigns(&self) -> &[Campaign] {
        &self.campaigns
    }

    pub(super) fn campaign(&self, index: usize) -> &Campaign {
        self.campaigns.get(index).unwrap_or(&self.first)
    }

    fn count(&self) -> u64 {
        u64::try_from(self.campaigns.len()).unwrap_or(1).max(1)
    }

    /// A campaign for one ad-event. The smallest of several draws has a heavy head: of 200 campaigns, the
    /// first ten get about a third of the traffic and the last ten nearly nothing.
    pub(super) fn pick(&self, dice: &mut Dice) -> usize {
        let draws = 1 + dice.below(12);
        let least = (0..draws).map(|_| dice.below(self.count())).min();
        least.and_then(|index| usize::try_from(index).ok()).unwrap_or(0)
    }

    /// Changes a campaign as its owner or a reviewer would; its index, and the type of the event.
    pub(super) fn change(&mut self, dice: &mut Dice) -> (usize, &'static str) {
        let index = usize::try_from(dice.below(self.count())).unwrap_or(0);
        let Some(campaign) = self.campaigns.get_mut(index) else {
            return (index, "CAMPAIGN_UPDATED");
        };
        campaign.impact = dice.pick(IMPACTS);
        let event_type = match dice.below(3) {
            0 => {
                campaign.approval_status =
                    dice.pick(&["APPROVED", "APPROVED", "REJECTED", "PENDING"]);
                "CAMPAIGN_APPROVED"
            }
            1 => {
                campaign.status = dice.pick(&["ACTIVE", "ACTIVE", "PAUSED", "DELETED"]);
                "CAMPAIGN_STATUS_CHANGED"
            }
            _ => {
                campaign.bid_price = 100 + dice.below_i64(2_900);
                if dice.one_in(3) {
                    campaign.placement = dice.pick(PLACEMENTS);
                    campaign.category = dice.pick(CATEGORIES);
                }
                "CAMPAIGN_UPDATED"
            }
        };
        (index, event_type)
    }
}
