//! Logs on stderr: warnings and what happens, more with `-v`, in detail with `RUST_LOG`.

use std::io::IsTerminal;

use rtbflow::{Error, Result};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts writing logs to stderr, `verbose` times more than usual unless `RUST_LOG` says otherwise.
///
/// # Errors
/// If `RUST_LOG` is not a filter, or logs are written already.
pub fn start_logs(verbose: u8) -> Result<()> {
    start(directives(verbose), std::io::stderr, std::io::stderr().is_terminal())
}

/// As [`start_logs`], a step quieter and elsewhere: for a program that shows what happens in its own way.
///
/// # Errors
/// As [`start_logs`].
pub fn start_quiet_logs<W>(verbose: u8, writer: W) -> Result<()>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    start(verbose.checked_sub(1).map_or("warn", directives), writer, false)
}

fn start<W>(usual: &str, writer: W, is_colourful: bool) -> Result<()>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(filter)
            .map_err(|error| Error::config("read RUST_LOG").because(error))?,
        Ok(_) | Err(_) => EnvFilter::new(usual),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(is_colourful)
        .try_init()
        .map_err(|error| Error::config("start the logs").because(error))
}

/// The clients of the servers stay a step quieter than the pipeline itself.
fn directives(verbose: u8) -> &'static str {
    match verbose {
        0 => "info,rdkafka=warn,librdkafka=warn,tokio_postgres=warn,rustls=warn",
        1 => "info,rtbflow=debug,rtbflow_kafka=debug,rtbflow_sinks=debug,rtbflow_examples=debug",
        _ => "debug,rtbflow=trace,rtbflow_kafka=trace,rtbflow_sinks=trace,rtbflow_examples=trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_filter() {
        for verbose in 0..4 {
            assert!(EnvFilter::try_new(directives(verbose)).is_ok());
        }
    }
}
