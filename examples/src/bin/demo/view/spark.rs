//! A small line of numbers over time.

/// From nothing to full.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last numbers, one cell each, the newest at the right. The line is full at the largest of them, or at
/// `least`, so that small things look small.
pub(super) fn sparkline(numbers: &[u64], cells: usize, least: u64) -> String {
    let shown = numbers.get(numbers.len().saturating_sub(cells)..).unwrap_or_default();
    let full = shown.iter().copied().max().unwrap_or(0).max(least).max(1);
    let highest = u64::try_from(LEVELS.len() - 1).unwrap_or(0);
    let level = |number: &u64| {
        // Anything that is not nothing is seen.
        let level = number.saturating_mul(highest).div_ceil(full);
        let level = usize::try_from(level).unwrap_or(usize::MAX);
        LEVELS.get(level).copied().unwrap_or('█')
    };
    std::iter::repeat_n(' ', cells - shown.len()).chain(shown.iter().map(level)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_at_the_right_and_the_largest_is_full() {
        assert_eq!(sparkline(&[0, 35, 70], 5, 1), "  ▁▅█");
        assert_eq!(sparkline(&[700, 0, 35, 70], 3, 1), "▁▅█", "what has left does not count");
        assert_eq!(sparkline(&[1, 2], 4, 100), "  ▂▂", "small things look small");
        assert_eq!(sparkline(&[], 3, 0), "   ");
        assert_eq!(sparkline(&[u64::MAX], 1, 0).chars().count(), 1);
    }
}
