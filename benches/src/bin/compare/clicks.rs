//! What open clicks take, in memory and in the place, and how soon a killed process goes on with them.

use std::time::Duration;

use rtbflow_examples::generator::Generated;
use rtbflow_examples::topics::SystemTopic;
use serde_json::json;

use crate::backlog::Live;
use crate::figures::Figures;
use crate::process::{instant, wait_until};
use crate::servers::Place;
use crate::traffic::START;
use crate::{Answer, Run};

/// A name with which a killed instance gets its partitions back at once.
const INSTANCE: [&str; 2] = ["--instance", "one"];
const STATE_BYTES: &str = "select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from pg_class where relname = 'rtbflow_state'";
const ROWS: &str = "select count(*) from conversion_results";

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn measure(run: &Run<'_>, place: &Place, clicks: u64) -> Answer<Figures> {
    let a_click = |bytes: f64| bytes / clicks.max(1) as f64;
    let loading = Live::start(run, place, &[])?;
    loading.wait_until_caught_up()?;
    let loaded = loading.process.running()?;
    loading.process.stop()?;
    let stored = run.servers.number(&place.postgres, STATE_BYTES)? as f64;
    // Builds that know no names of instances are taken for dead when their session is over.
    let named: &[&str] = if knows_instances(run)? { &INSTANCE } else { &[] };
    let restarted = Live::start(run, place, named)?;
    restarted.wait_until_caught_up()?;
    let sample = restarted.process.running()?;
    restarted.process.kill()?;
    let since = instant();
    let rows = run.servers.number(&place.postgres, ROWS)?;
    run.servers.send(std::iter::once(conversion(place)))?;
    let again = Live::start(run, place, named)?;
    wait_until("the first new row", Duration::from_millis(20), || {
        Ok(run.servers.number(&place.postgres, ROWS)? > rows)
    })?;
    let first_row = since.elapsed();
    again.process.stop()?;
    Ok(vec![
        ("memory a click, bytes", a_click(loaded.rss_kib * 1_024.0)),
        ("the same at its peak, bytes", a_click(loaded.peak_rss_kib * 1_024.0)),
        ("memory a click, restarted, bytes", a_click(sample.rss_kib * 1_024.0)),
        ("in Postgres a click, bytes", a_click(stored)),
        ("kill to the first new row, ms", first_row.as_secs_f64() * 1e3),
    ])
}

fn knows_instances(run: &Run<'_>) -> Answer<bool> {
    let program = run.options.binaries(run.build).join(run.pipeline);
    let help = std::process::Command::new(program).arg("--help").output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains(INSTANCE[0]))
}

/// A conversion that is older than the newest click, so that it is decided as soon as it is read.
fn conversion(place: &Place) -> Generated {
    let (device, timestamp) = ("device_7", START + Duration::from_hours(1));
    let value = json!({
        "timestamp": timestamp,
        "device_id": device,
        "session_id": "session_7",
        "order_id": place.group,
        "product_id": "product_7",
        "revenue_amount": 1_000,
        "conversion_type": "PURCHASE",
        "referrer_url": "https://shop.example/product_7",
    });
    Generated {
        topic: SystemTopic::ConversionEvents,
        key: device.to_owned(),
        value: serde_json::to_vec(&value).ok(),
        timestamp,
        is_usable: true,
        charge: None,
    }
}
