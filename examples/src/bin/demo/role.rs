//! A pipeline's process: this program again, started under the pipeline's name.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use futures::FutureExt;
use futures::future::{BoxFuture, select};
use rtbflow::Result;
use rtbflow_examples::options::Options;
use rtbflow_examples::pipeline::{
    BALANCE, BUDGET, COMPENSATION, DUPLICATES, MATCHING, PERFORMANCE, Pipeline, RANKING,
};
use rtbflow_examples::process::{self, Outcome, Shutdown};
use rtbflow_examples::{balance, budget, duplicate_clicks, matching, performance, ranking, refund};

use crate::untransacted;

/// How long a pipeline may take to end in order once the demonstration is gone.
const LONGEST_END: Duration = Duration::from_secs(9);
const FAILED: i32 = 1;

/// Runs the pipeline under whose name this process was started, as its own binary would; `None` if it was
/// started as the demonstration.
pub(crate) fn run() -> Option<ExitCode> {
    let program = std::env::args_os().next()?;
    let name = Path::new(&program).file_name()?.to_str()?;
    Some(match name {
        name if name == RANKING.name => play(RANKING, ranking::run),
        name if name == PERFORMANCE.name => play(PERFORMANCE, performance::run),
        name if name == MATCHING.name => play(MATCHING, matching::run),
        name if name == DUPLICATES.name => play(DUPLICATES, |options, asked| async move {
            // It is given a Postgres where Kafka has no transactions.
            if options.common.postgres().is_ok() {
                untransacted::run(options, asked).await
            } else {
                duplicate_clicks::run(options, asked).await
            }
        }),
        name if name == BALANCE.name => play(BALANCE, balance::run),
        name if name == BUDGET.name => play(BUDGET, budget::run),
        name if name == COMPENSATION.name => play(COMPENSATION, refund::run),
        _ => return None,
    })
}

fn play<P: Args, F: Future<Output = Result<Outcome>>>(
    pipeline: Pipeline,
    run: impl FnOnce(Options<P>, Shutdown) -> F,
) -> ExitCode {
    process::run(pipeline, |options, asked| {
        run(options, select(asked, abandoned()).map(drop).boxed().shared())
    })
}

/// Ready when the demonstration closes our standard input: it wants us to end, or is gone itself. An end
/// that takes too long is cut short, so that no pipeline outlives the demonstration.
fn abandoned() -> BoxFuture<'static, ()> {
    let (close, closed) = futures::channel::oneshot::channel();
    let wait = move || {
        // An error is an end as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = close.send(());
        thread::sleep(LONGEST_END);
        std::process::exit(FAILED);
    };
    if let Err(error) = thread::Builder::new().name("abandoned".to_owned()).spawn(wait) {
        tracing::error!(%error, "the end of the demonstration would not be noticed: ending");
    }
    closed.map(drop).boxed()
}
