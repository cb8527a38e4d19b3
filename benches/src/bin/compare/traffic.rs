//! What the topics are filled with: seeded, so that all turns of all comparisons have the same.

use std::time::Duration;

use rtbflow::Timestamp;
use rtbflow_examples::generator::{Budget, Generated, Generator, Plan};
use rtbflow_examples::topics::SystemTopic;
use serde_json::json;

use crate::options::Measure;

/// The event time of the first record: 2024-01-15T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_705_276_800_000);
/// The group of all snapshots.
const GROUP: &str = "HOME|books";

/// What to fill the topics with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Traffic {
    /// Nothing.
    None,
    /// This many ad-events over a time, and what goes with them.
    Mixed { plan: Plan, ads: u64 },
    /// This many clicks.
    Clicks { plan: Plan, clicks: u64 },
    /// This many snapshots of one group; each has all its campaigns scored anew.
    Snapshots { count: u64 },
}

fn plan(seed: u64, span: Duration, ads: u64) -> Plan {
    let step = span.as_nanos() / u128::from(ads.max(1));
    let step = Duration::from_nanos(u64::try_from(step).unwrap_or(u64::MAX));
    Plan::new(seed, START, step)
}

impl Traffic {
    pub(crate) fn of(measure: Measure, pipeline: &str, records: u64) -> Self {
        match measure {
            Measure::Idle | Measure::Latency => Self::None,
            Measure::Snapshots => Self::Snapshots { count: records },
            // About one ad-event in ten is a click; all of them are of one day, so none is forgotten.
            Measure::Clicks => {
                let plan = plan(12, Duration::from_hours(20), records * 10);
                Self::Clicks { plan: Plan { devices: 200_000, ..plan }, clicks: records }
            }
            Measure::Cost | Measure::Backlog if pipeline == "conversion-matching" => {
                let plan = plan(12, Duration::from_hours(30), records);
                Self::Mixed { plan: Plan { devices: 200_000, ..plan }, ads: records }
            }
            Measure::Cost | Measure::Backlog => {
                Self::Mixed { plan: plan(11, Duration::from_hours(2), records), ads: records }
            }
        }
    }

    /// The campaigns as their owner has them: the same for every seed in number and name.
    pub(crate) fn budgets() -> Vec<Budget> {
        Generator::new(Plan::new(11, START, Duration::from_millis(1))).budgets()
    }

    /// The records, in the order in which they are sent.
    pub(crate) fn records(&self) -> Box<dyn Iterator<Item = Generated>> {
        match *self {
            Self::None => Box::new(std::iter::empty()),
            Self::Mixed { plan, ads } => {
                let mut generator = Generator::new(plan);
                Box::new(std::iter::from_fn(move || {
                    if generator.ads() < ads { generator.next() } else { None }
                }))
            }
            Self::Clicks { plan, clicks } => {
                let clicks = usize::try_from(clicks).unwrap_or(usize::MAX);
                let of_clicks = |record: &Generated| record.charge.is_some();
                Box::new(Generator::new(plan).filter(of_clicks).take(clicks))
            }
            Self::Snapshots { count } => Box::new((0..count).map(snapshot)),
        }
    }
}

/// One snapshot of many campaigns of the same group.
fn snapshot(number: u64) -> Generated {
    let timestamp = START + Duration::from_millis(number);
    let campaign = number % 1_000;
    let value = json!({
        "event_type": "CAMPAIGN_UPDATED",
        "timestamp": timestamp,
        "campaign_id": format!("campaign_{campaign}"),
        "advertiser_id": format!("advertiser_{}", campaign % 40),
        "product_id": format!("product_{}", campaign % 97),
        "placement": "HOME",
        "category": "books",
        "bid_price": 100 + number % 2_900,
        "daily_budget": 100_000,
        "status": "ACTIVE",
        "approval_status": "APPROVED",
        "rtb_impact": "HIGH",
    });
    Generated {
        topic: SystemTopic::CampaignEvents,
        key: GROUP.to_owned(),
        value: serde_json::to_vec(&value).ok(),
        timestamp,
        is_usable: true,
        charge: None,
    }
}
