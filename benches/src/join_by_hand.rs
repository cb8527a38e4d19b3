//! A join as somebody writes it without the library: a loop that does the same to the same records.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::Ad;

const OUT_OF_ORDERNESS_MS: i64 = 5000;

/// For each record of another kind than 0 the newest one of kind 0 of the same campaign that is at most this
/// much older, once the watermark has passed it; records that are late are dropped.
pub fn last_touch_by_hand(ads: &[Ad], window_ms: i64, mut each: impl FnMut((Ad, Option<Ad>), i64)) {
    let mut touches: HashMap<u32, VecDeque<Ad>, RandomState> = HashMap::default();
    let mut waiting: BTreeMap<(i64, usize), Ad> = BTreeMap::new();
    let (mut watermark, mut swept) = (i64::MIN, i64::MIN);
    let mut decide = |ad: Ad, touches: &HashMap<u32, VecDeque<Ad>, RandomState>| {
        let at = ad.at.as_millis();
        let of_campaign = touches.get(&ad.campaign).into_iter().flatten().rev();
        let newest = of_campaign.copied().find(|touch| touch.at <= ad.at);
        each((ad, newest.filter(|touch| touch.at.as_millis() >= at - window_ms)), at);
    };
    for (number, ad) in ads.iter().enumerate() {
        while let Some(first) = waiting.first_entry().filter(|first| first.key().0 < watermark) {
            decide(first.remove(), &touches);
        }
        let at = ad.at.as_millis();
        if at < watermark {
            continue;
        }
        if ad.kind == 0 {
            let touches = touches.entry(ad.campaign).or_default();
            let newer = touches.iter().rev().take_while(|touch| touch.at > ad.at).count();
            touches.insert(touches.len() - newer, *ad);
            while touches.front().is_some_and(|touch| touch.at.as_millis() + window_ms < watermark)
            {
                touches.pop_front();
            }
        } else {
            waiting.insert((at, number), *ad);
        }
        watermark = watermark.max(at - OUT_OF_ORDERNESS_MS);
        // Campaigns that are not seen any more.
        if watermark > swept + window_ms / 4 {
            swept = watermark;
            touches.retain(|_, touches| {
                touches.retain(|touch| touch.at.as_millis() + window_ms >= watermark);
                !touches.is_empty()
            });
        }
    }
    while let Some((_, ad)) = waiting.pop_first() {
        decide(ad, &touches);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rtbflow::Either;
    use rtbflow::operators::interval_join::{Bound, IntervalJoin};
    use rtbflow::operators::window::Late;

    use super::*;
    use crate::{Replay, ads, drain};

    #[test]
    fn both_do_the_same() {
        let ads: Arc<[Ad]> = ads(20_000, 100).into();
        let written =
            |(ad, touch): (Ad, Option<Ad>)| (ad.at, ad.campaign, ad.price, touch.map(|ad| ad.at));
        let (mut by_hand, mut joined) = (Vec::new(), Vec::new());
        last_touch_by_hand(&ads, 2_000, |pair, _| by_hand.push(written(pair)));
        let window = Bound::before(Duration::from_secs(2));
        let join = IntervalJoin::between(window, Bound::same()).left_outer().last_touch();
        let flow = Replay::flow(&ads)
            .map(|ad| if ad.kind == 0 { Either::Right(ad) } else { Either::Left(ad) })
            .key_by_either(|ad: &Ad| ad.campaign, |ad: &Ad| ad.campaign)
            .interval_join("attribution", join.late(Late::Drop));
        drain(flow, |record| joined.push(written(record.value)));
        by_hand.sort_unstable();
        joined.sort_unstable();
        assert!(by_hand.len() > 2_000 && by_hand.iter().any(|pair| pair.3.is_none()));
        assert_eq!(by_hand, joined);
    }
}
