//! `process` beside a list of timers, and its wall timers in a job that is stopped and started again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use proptest::prelude::*;
use rtbflow::epoch::Memory;
use rtbflow::operators::process::{Process, Retention, Turn};
use rtbflow::source::StreamSource;
use rtbflow::testing::builders::at;
use rtbflow::testing::{TestFlow, TokioClock, laws, run};
use rtbflow::{Clock, Elements, Flow, Job, Record, Timestamp};

use crate::{disordered, in_bounds, out_of_bounds};

/// Key, time and count.
type Counted = (u8, i64, u32);

/// Counts records, puts the count out at the next full ten but one, and again for as long as it is odd.
#[derive(Debug, Clone, Copy)]
struct Tens;

fn next_ten(ms: i64) -> i64 {
    ms.div_euclid(10) * 10 + 20
}

impl Process<u8, u8> for Tens {
    type State = u32;
    type Output = Counted;

    fn on_record(&mut self, record: Record<u8>, turn: &mut Turn<'_, u8, u32, Counted>) {
        *turn.state_mut().get_or_insert(0) += 1;
        turn.set_event_timer(at(next_ten(record.timestamp.as_millis())));
    }

    fn on_event_timer(&mut self, due: Timestamp, turn: &mut Turn<'_, u8, u32, Counted>) {
        let (key, count) = (*turn.key(), turn.state().copied().unwrap_or(0));
        turn.emit((key, due.as_millis(), count));
        match turn.state_mut() {
            Some(count) if *count % 2 == 1 => {
                *count += 1;
                turn.set_event_timer(due + Duration::from_millis(10));
            }
            state => *state = None,
        }
    }
}

fn tens(flow: TestFlow<u8>, retention: Retention) -> Flow<impl Elements<Value = Counted>> {
    flow.key_by(|key| *key).process("tens", retention, Tens)
}

/// The same, where nothing is forgotten.
#[derive(Default)]
struct Model {
    counts: BTreeMap<u8, u32>,
    /// Time, number and key.
    timers: Vec<(i64, usize, u8)>,
    set: usize,
    out: Vec<Counted>,
}

impl Model {
    fn set(&mut self, key: u8, ms: i64) {
        if !self.timers.iter().any(|timer| (timer.0, timer.2) == (ms, key)) {
            self.timers.push((ms, self.set, key));
            self.set += 1;
        }
    }

    fn pass(&mut self, watermark: i64) {
        // At the end of all time what is set by a timer waits.
        let last = if watermark == i64::MAX { self.set } else { usize::MAX };
        loop {
            self.timers.sort_unstable();
            let due = |timer: &(i64, usize, u8)| timer.0 <= watermark && timer.1 < last;
            let Some(first) = self.timers.iter().position(due) else { return };
            let (ms, _, key) = self.timers.remove(first);
            let count = self.counts.entry(key).or_default();
            self.out.push((key, ms, *count));
            if *count % 2 == 1 {
                *count += 1;
                self.set(key, ms + 10);
            } else {
                *count = 0;
            }
        }
    }
}

fn model(records: &[(u8, i64)]) -> Vec<Counted> {
    let mut model = Model::default();
    let mut watermark = i64::MIN;
    for (key, ms) in records {
        model.pass(watermark);
        *model.counts.entry(*key).or_default() += 1;
        model.set(*key, next_ten(*ms));
        watermark = watermark.max(ms - crate::OUT_OF_ORDERNESS_MS);
    }
    model.pass(watermark);
    model.pass(i64::MAX);
    model.out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn event_timers_are_due_as_in_the_model(records in in_bounds()) {
        let flow = |flow| tens(flow, Retention::until_cleared());
        let found = run(disordered(records.iter().map(|(key, ms)| (*key, *ms))), flow);
        prop_assert_eq!(found, model(&records));
    }

    #[test]
    fn a_restart_at_any_step_changes_nothing(records in out_of_bounds(), kept_ms in 0..50_u64) {
        let retention = Retention::after_change(Duration::from_millis(kept_ms));
        laws::operator(disordered(records), move |flow| tens(flow, retention));
    }

    #[test]
    fn each_wall_timer_is_due_once_wherever_a_restart_comes(records in in_bounds()) {
        let sorted = |flow: TestFlow<u8>| flow.key_by(|key| *key).process("soon", Retention::until_cleared(), Soon);
        laws::operator_with(disordered(records), sorted, |due| {
            let mut due: Vec<_> = due.iter().map(|record| record.value).collect();
            due.sort_unstable();
            due
        });
    }
}

/// Puts each record out at the next barrier.
#[derive(Debug, Clone, Copy)]
struct Soon;

impl Process<u8, u8> for Soon {
    type State = u32;
    type Output = u8;

    fn on_record(&mut self, _: Record<u8>, turn: &mut Turn<'_, u8, u32, u8>) {
        *turn.state_mut().get_or_insert(0) += 1;
        turn.set_wall_timer(Timestamp::MIN);
    }

    fn on_wall_timer(&mut self, _: Timestamp, turn: &mut Turn<'_, u8, u32, u8>) {
        let (key, count) = (*turn.key(), turn.state().copied().unwrap_or(0));
        (0..count).for_each(|_| turn.emit(key));
        turn.clear();
    }
}

/// A campaign: its name, and from when on it is effective.
type Campaign = (char, Timestamp);

/// Puts a campaign out when it becomes effective.
#[derive(Debug, Clone, Copy)]
struct Effective;

impl Process<char, Campaign> for Effective {
    type State = ();
    type Output = char;

    fn on_record(&mut self, record: Record<Campaign>, turn: &mut Turn<'_, char, (), char>) {
        turn.set_wall_timer(record.value.1);
    }

    fn on_wall_timer(&mut self, _: Timestamp, turn: &mut Turn<'_, char, (), char>) {
        let campaign = *turn.key();
        turn.emit(campaign);
    }
}

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn a_campaign_becomes_effective_by_itself_also_after_a_restart() {
    let clock = TokioClock::new(START);
    let place = Memory::new();
    let live = place.collected::<char>();
    let job = |campaigns: Vec<Campaign>| {
        // After them the topic is quiet.
        let campaigns = stream::iter(campaigns).chain(stream::pending());
        let (place, live) = (place.clone(), live.clone());
        Job::new("ranking")
            .source(StreamSource::new("campaigns", campaigns))
            .anchor(place.clone())
            .clock(clock)
            // Nothing but the timer brings a barrier about in time.
            .commit_interval(Duration::from_hours(24))
            .pipeline(move |campaigns| {
                campaigns
                    .key_by(|campaign: &Campaign| campaign.0)
                    .process("effective", MINUTE, Effective)
                    .to(live.sink())
            })
    };
    let seen_at = |minutes: u32| {
        let (until, live) = (START + MINUTE * minutes + Duration::from_millis(100), live.clone());
        async move {
            tokio::time::sleep(until.since(clock.now())).await;
            live.values()
        }
    };
    let campaigns = vec![('n', START), ('l', START + MINUTE * 30), ('s', START + MINUTE * 10)];
    let (seen, before) = futures::channel::oneshot::channel();
    let stop = async {
        let (at_once, soon) = (seen_at(0).await, seen_at(10).await);
        let _ = seen.send((at_once, soon));
    };
    job(campaigns).run_until(stop).await.unwrap();
    assert_eq!(before.await.unwrap(), (vec!['n'], vec!['n', 's']));

    let (seen, after) = futures::channel::oneshot::channel();
    let stop = async {
        let (before, later) = (seen_at(29).await, seen_at(30).await);
        let _ = seen.send((before, later));
    };
    job(Vec::new()).run_until(stop).await.unwrap();
    assert_eq!(after.await.unwrap(), (vec!['n', 's'], vec!['n', 's', 'l']));
}
