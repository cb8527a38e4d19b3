//! The report, in Markdown.

use std::fmt::Write;
use std::time::Duration;

use crate::findings::Findings;
use crate::options::NemesisOptions;
use crate::servers::World;

const MOST_SHOWN: usize = 50;

/// The versions of a topology's servers.
pub(crate) async fn versions(world: &World) -> String {
    let postgres = async {
        let admin = world.postgres.admin().await.ok()?;
        admin.query_one("show server_version", &[]).await.ok()?.try_get::<_, String>(0).ok()
    };
    let postgres = postgres.await.unwrap_or_default();
    let said = async {
        let mut info = redis::cmd("INFO");
        world.primary().ok()?.ask::<String>(info.arg("server")).await.ok()
    };
    let said = said.await.unwrap_or_default();
    let of = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let redis = match of("valkey_version:") {
        Some(version) => format!("Valkey {version}"),
        None => format!("Redis {}", of("redis_version:").unwrap_or_default()),
    };
    let kafka = std::env::var("RTBFLOW_NEMESIS_KAFKA_VERSION").unwrap_or_default();
    format!("{}: Kafka {kafka}, Postgres {postgres}, {redis}", world.topology.name())
}

/// The report of all topologies.
pub(crate) fn markdown(
    options: &NemesisOptions,
    findings: &Findings,
    versions: &[String],
    took: Duration,
) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = write(&mut text, options, findings, (versions, took));
    text
}

fn write(
    text: &mut String,
    options: &NemesisOptions,
    findings: &Findings,
    (versions, took): (&[String], Duration),
) -> std::fmt::Result {
    let violations = findings.violations();
    let names: Vec<&str> = options.topologies.iter().map(|topology| topology.name()).collect();
    writeln!(text, "# Nemesis\n")?;
    writeln!(
        text,
        "`./dev nemesis --seed {} --minutes {} --topology {} --instances {} --names {}`: **{} violations** in {:.0} s.\n",
        options.seed,
        options.minutes,
        names.join(","),
        options.instances,
        options.names,
        violations.len(),
        took.as_secs_f64()
    )?;
    let commit = std::env::var("RTBFLOW_NEMESIS_COMMIT").unwrap_or_default();
    writeln!(text, "rtbflow {} ({commit})\n", env!("CARGO_PKG_VERSION"))?;
    for version in versions {
        writeln!(text, "- {version}")?;
    }
    writeln!(text, "\n| topology | fault | runs | longest silence | whose | violations |")?;
    writeln!(text, "|---|---|---:|---:|---|---:|")?;
    for ((topology, fault), tally) in findings.tallies() {
        let runs = tally.left_out.as_ref().map_or_else(
            || tally.runs.to_string(),
            |why| format!("{} (left out: {why})", tally.runs),
        );
        let silence = tally.longest_silence.as_secs_f64();
        let (whose, count) = (&tally.silent, tally.violations);
        writeln!(text, "| {topology} | {fault} | {runs} | {silence:.1} s | {whose} | {count} |")?;
    }
    writeln!(text, "\n| what | how often |\n|---|---:|")?;
    for (what, count) in findings.counters() {
        writeln!(text, "| {what} | {count} |")?;
    }
    if !violations.is_empty() {
        writeln!(text, "\n## Violations\n")?;
        for violation in violations.iter().take(MOST_SHOWN) {
            writeln!(text, "- {violation}")?;
        }
    }
    Ok(())
}
