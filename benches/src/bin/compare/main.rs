//! Compares the pipelines of two builds: whole processes, in turn, on the same topics and into fresh places.
//!
//! `./dev compare REV` builds both, starts the servers and runs this. What a round measures is in the file of
//! its name: [`cost`], [`idle`], [`backlog`], [`clicks`], [`latency`].

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod backlog;
mod clicks;
mod cost;
mod figures;
mod idle;
mod latency;
mod options;
mod process;
mod servers;
mod traffic;

use std::error::Error;

use clap::Parser;

use figures::{Build, Comparison, Figures, Raw};
use options::{Measure, Options};
use servers::Servers;
use traffic::Traffic;

type Answer<T> = Result<T, Box<dyn Error>>;

fn main() -> Answer<()> {
    let options = Options::parse();
    let servers = Servers::new(&options)?;
    let mut raw = Raw::create(&options)?;
    let records = options.records();
    for pipeline in options.pipelines() {
        let traffic = Traffic::of(options.measure, &pipeline, records);
        let sent = servers.load(&traffic)?;
        let mut comparison = Comparison::default();
        for round in 0..options.rounds {
            // A B, then B A: what gets slower while it all runs does so for both.
            let turn = if round % 2 == 0 { Build::BOTH } else { [Build::After, Build::Before] };
            for build in turn {
                let run = Run { servers: &servers, options: &options, pipeline: &pipeline, build };
                let figures = run.measure(sent)?;
                raw.write(&pipeline, round, build, &figures)?;
                comparison.add(build, figures);
            }
        }
        println!("\n{pipeline}: {sent} records, {} rounds", options.rounds);
        println!("{}", comparison.table(&options.before_name, &options.after_name));
    }
    println!("\nraw figures: {}", options.raw.display());
    Ok(())
}

/// One build's turn at a pipeline.
struct Run<'a> {
    servers: &'a Servers,
    options: &'a Options,
    pipeline: &'a str,
    build: Build,
}

impl Run<'_> {
    fn measure(&self, records: u64) -> Answer<Figures> {
        let place = self.servers.fresh_place()?;
        match self.options.measure {
            Measure::Cost | Measure::Snapshots => cost::measure(self, &place, records),
            Measure::Idle => idle::measure(self, &place),
            Measure::Backlog => backlog::measure(self, &place),
            Measure::Clicks => clicks::measure(self, &place, records),
            Measure::Latency => latency::measure(self, &place),
        }
    }
}
