//! What the rounds have measured: kept raw, and printed as ratios with their spread.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;

use rtbflow::Timestamp;

use crate::Answer;
use crate::options::Options;

/// Which of the two builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    Before,
    After,
}

impl Build {
    pub(crate) const BOTH: [Self; 2] = [Self::Before, Self::After];
}

/// What one turn has measured: names with units, and values. All turns of a pipeline have the same names.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// All turns of a pipeline: those of one round stand at the same place.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    before: Vec<Figures>,
    after: Vec<Figures>,
}

impl Comparison {
    pub(crate) fn add(&mut self, build: Build, figures: Figures) {
        match build {
            Build::Before => self.before.push(figures),
            Build::After => self.after.push(figures),
        }
    }

    /// A line for each figure: medians, and the ratio within a round.
    pub(crate) fn table(&self, before: &str, after: &str) -> String {
        let mut table = format!(
            "{:<34}{before:>18}{after:>18}   ratio (lowest to highest)",
            "median of rounds"
        );
        let names = self.before.first().into_iter().flatten().map(|(name, _)| *name);
        for (at, name) in names.enumerate() {
            let values = |turns: &[Figures]| -> Vec<f64> {
                turns.iter().filter_map(|turn| turn.get(at)).map(|(_, value)| *value).collect()
            };
            let (before, after) = (values(&self.before), values(&self.after));
            let ratios = after.iter().zip(&before).map(|(after, before)| after / before);
            let ratios: Vec<f64> = sorted(ratios.filter(|ratio| ratio.is_finite()).collect());
            let spread = match (ratios.first(), ratios.last()) {
                (Some(lowest), Some(highest)) => {
                    format!("{:.2} ({lowest:.2} to {highest:.2})", median(ratios.clone()))
                }
                _ => String::new(),
            };
            // Writing into a string cannot fail.
            let _ = write!(
                table,
                "\n{name:<34}{:>18.1}{:>18.1}   {spread}",
                median(before),
                median(after)
            );
        }
        table
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The one in the middle; of two the mean.
fn median(values: Vec<f64>) -> f64 {
    let (values, half) = (sorted(values.clone()), values.len() / 2);
    let upper = values.get(half).copied().unwrap_or(f64::NAN);
    match values.len() % 2 {
        0 => values.get(half.wrapping_sub(1)).map_or(upper, |lower| f64::midpoint(*lower, upper)),
        _ => upper,
    }
}

/// The file with every figure of every turn: values between tabs.
#[derive(Debug)]
pub(crate) struct Raw(File);

impl Raw {
    /// Begins with when, how and what.
    pub(crate) fn create(options: &Options) -> Answer<Self> {
        let mut file = File::create(&options.raw)?;
        let arguments: Vec<String> = std::env::args().collect();
        writeln!(file, "# date\t{}", now())?;
        writeln!(file, "# command\t{}", arguments.join(" "))?;
        writeln!(file, "# before\t{}", options.before_name)?;
        writeln!(file, "# after\t{}", options.after_name)?;
        writeln!(file, "pipeline\tround\tbuild\tfigure\tvalue")?;
        Ok(Self(file))
    }

    pub(crate) fn write(
        &mut self,
        pipeline: &str,
        round: usize,
        build: Build,
        figures: &Figures,
    ) -> Answer<()> {
        for (name, value) in figures {
            writeln!(self.0, "{pipeline}\t{round}\t{build:?}\t{name}\t{value}")?;
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = since.ok().and_then(|since| i64::try_from(since.as_millis()).ok());
    Timestamp::from_millis(ms.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_a_round() {
        let mut comparison = Comparison::default();
        for (before, after) in [(100.0, 50.0), (200.0, 120.0), (1_000.0, 400.0)] {
            comparison.add(Build::Before, vec![("cpu, ms", before)]);
            comparison.add(Build::After, vec![("cpu, ms", after)]);
        }
        let table = comparison.table("a", "b");
        let line: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["cpu,", "ms", "200.0", "120.0", "0.50", "(0.40", "to", "0.60)"]);
    }

    #[test]
    fn of_two_the_mean_is_the_median() {
        assert_eq!(median(vec![3.0, 1.0]), 2.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
