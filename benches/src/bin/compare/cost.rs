//! What a backlog costs: a process from its start to its end.

use crate::figures::Figures;
use crate::process::Process;
use crate::servers::Place;
use crate::{Answer, Run};

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn measure(run: &Run<'_>, place: &Place, records: u64) -> Answer<Figures> {
    let mut arguments = run.servers.arguments(place);
    arguments.push("--until-end".to_owned());
    let program = run.options.binaries(run.build).join(run.pipeline);
    let ended = Process::start(&program, &arguments)?.wait()?;
    let said = |name: &str| ended.said.get(name).and_then(serde_json::Value::as_f64);
    Ok(vec![
        ("processor time, ms", ended.cpu.as_secs_f64() * 1e3),
        ("processor time a record, ns", ended.cpu.as_secs_f64() * 1e9 / records.max(1) as f64),
        ("wall time, ms", ended.wall.as_secs_f64() * 1e3),
        ("peak memory, MB", ended.peak_rss_kib * 1_024.0 / 1e6),
        ("most threads", ended.most_threads),
        ("commits", said("commits").unwrap_or(f64::NAN)),
        ("results", said("records_out").unwrap_or(f64::NAN)),
    ])
}
