//! Seeded records: small values, as a decoder projects them out of ad-events.

use rtbflow::operators::window::Aggregate;
use rtbflow::{Record, Timestamp};
use serde::{Deserialize, Serialize};

/// What a decoder keeps of an ad-event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ad {
    /// 0 impression, 1 click, 2 conversion.
    pub kind: u8,
    /// The campaign.
    pub campaign: u32,
    /// The advertiser.
    pub advertiser: u32,
    /// The price of a click.
    pub price: i64,
    /// When it happened.
    pub at: Timestamp,
}

/// What a click costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Who pays.
    pub advertiser: u32,
    /// How much.
    pub amount: i64,
}

/// A small generator of numbers, the same for the same seed
/// ([splitmix64](https://prng.di.unimi.it/splitmix64.c)).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// This many ad-events over this many campaigns; event time rises by a millisecond per record, with up to
/// four seconds of disorder.
#[must_use]
pub fn ads(count: u32, campaigns: u32) -> Vec<Ad> {
    let mut numbers = Numbers(7);
    (0..i64::from(count))
        .map(|n| {
            let campaign = u32::try_from(numbers.below(u64::from(campaigns))).unwrap_or(0);
            let disorder = if numbers.below(10) < 3 { numbers.below(4000) } else { 0 };
            let kind = match numbers.below(100) {
                0..88 => 0,
                88..98 => 1,
                _ => 2,
            };
            Ad {
                kind,
                campaign,
                advertiser: campaign % 40,
                price: 100 + i64::try_from(numbers.below(3000)).unwrap_or(0),
                at: Timestamp::from_millis(n - i64::try_from(disorder).unwrap_or(0)),
            }
        })
        .collect()
}

/// Counts and sums of a campaign in a window.
#[derive(Debug, Clone, Copy, Default)]
pub struct Performance;

/// What [`Performance`] counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Impressions, clicks and conversions.
    pub counts: [u64; 3],
    /// What the clicks cost.
    pub cost: i64,
}

impl Totals {
    /// Adds an ad-event.
    pub fn add(&mut self, ad: &Ad) {
        if let Some(count) = self.counts.get_mut(usize::from(ad.kind)) {
            *count += 1;
        }
        if ad.kind == 1 {
            self.cost += ad.price;
        }
    }
}

impl Aggregate<Ad> for Performance {
    type State = Totals;
    type Output = Totals;

    #[inline]
    fn empty(&self) -> Totals {
        Totals::default()
    }

    #[inline]
    fn add(&self, state: &mut Totals, record: &Record<Ad>) {
        state.add(&record.value);
    }

    #[inline]
    fn output(&self, state: &Totals) -> Totals {
        *state
    }
}

/// What an [`AdEvent`] tells of.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are those of the record")]
pub enum AdEventType {
    Impression,
    Click,
    Conversion,
}

/// An ad-event as a team decodes it first: every field, in strings of its own.
#[derive(Debug, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the record; they have no other names")]
pub struct AdEvent {
    pub event_type: AdEventType,
    pub timestamp: Timestamp,
    pub device_id: String,
    pub session_id: String,
    pub ad_id: String,
    pub campaign_id: String,
    pub advertiser_id: String,
    pub product_id: String,
    pub placement: String,
    pub bid_price: i64,
    pub actual_price: Option<i64>,
    pub search_term: Option<String>,
    pub category: String,
    pub revenue_amount: Option<i64>,
    pub order_id: Option<String>,
}
