//! Joins two topics: each order with the payment that came within an hour, or with none.

use std::time::Duration;

use rtbflow::epoch::Memory;
use rtbflow::operators::interval_join::{Bound, IntervalJoin};
use rtbflow::operators::window::Late;
use rtbflow::source::{MemorySource, Source};
use rtbflow::{Either, Elements, Flow, Job, Result, Timestamp};

/// An order's number, and its minute.
type Order = (u32, i64);
/// The order that is paid, the amount, and the minute.
type Payment = (u32, i64, i64);

/// Orders and what was paid for them.
fn paid(
    events: Flow<impl Elements<Value = Either<Order, Payment>>>,
) -> Flow<impl Elements<Value = (Order, Option<Payment>)>> {
    let hour = Duration::from_hours(1);
    let within_an_hour = IntervalJoin::between(Bound::same(), Bound::after(hour))
        .left_outer()
        .late(Late::DeadLetter);
    events.key_by_either(|order| order.0, |payment| payment.0).interval_join("paid", within_an_hour)
}

#[tokio::main]
async fn main() -> Result<()> {
    let minute = |minute: i64| Timestamp::from_millis(minute * 60_000);
    let orders = MemorySource::new("orders", vec![vec![(1, 0), (2, 10), (3, 20)]])
        .event_time(move |order: &Order| minute(order.1), Duration::ZERO);
    let payments = MemorySource::new("payments", vec![vec![(1, 500, 30), (3, 900, 90)]])
        .event_time(move |payment: &Payment| minute(payment.2), Duration::ZERO);
    let place = Memory::new();
    let found = place.collected::<(Order, Option<Payment>)>();

    Job::new("paid-orders")
        .source(orders.with(payments))
        .anchor(place.clone())
        .pipeline({
            let found = found.clone();
            move |events| paid(events).to(found.sink())
        })
        .until_end(true)
        .run()
        .await?;

    let amount = |(order, payment): &(Order, Option<Payment>)| (order.0, payment.map(|of| of.1));
    // Order 3 was paid after more than an hour, order 2 not at all.
    let found: Vec<_> = found.values().iter().map(amount).collect();
    assert_eq!(found, [(1, Some(500)), (2, None), (3, None)]);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> rtbflow::Result<()> {
        super::main()
    }
}
