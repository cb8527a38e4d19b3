//! A row of the picture: pieces of text, each in its colour, no wider than the terminal.

/// How a piece looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    /// The names of panels.
    Heading,
    /// What explains the rest.
    Faint,
    /// Lines over time.
    Line,
    /// What was killed.
    Bad,
    /// What is back.
    Good,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Heading => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Line => "\x1b[36m",
            Self::Bad => "\x1b[1;31m",
            Self::Good => "\x1b[32m",
        }
    }
}

const USUAL: &str = "\x1b[0m";

/// A row under construction.
#[derive(Debug, Clone, Default)]
pub(super) struct Row(Vec<(Style, String)>);

impl Row {
    /// Adds a piece.
    pub(super) fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    /// Adds a piece that looks like nothing special.
    pub(super) fn plain(self, text: impl Into<String>) -> Self {
        self.with(Style::Plain, text)
    }

    /// The row with its colours, cut to the width. Every letter of a picture is one cell wide.
    pub(super) fn drawn(&self, width: usize) -> String {
        let mut left = width;
        let mut drawn = String::new();
        for (style, text) in &self.0 {
            let piece: String = text.chars().take(left).collect();
            left -= piece.chars().count();
            let code = style.code();
            let end = if code.is_empty() { "" } else { USUAL };
            if !piece.is_empty() {
                drawn.extend([code, &piece, end]);
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_cut_where_the_terminal_ends() {
        let row = Row::default().plain("one ").with(Style::Bad, "▁▂▃").plain(" three");
        assert_eq!(row.drawn(80), "one \x1b[1;31m▁▂▃\x1b[0m three");
        assert_eq!(row.drawn(6), "one \x1b[1;31m▁▂\x1b[0m");
        assert_eq!(row.drawn(4), "one ");
        assert_eq!(row.drawn(0), "");
    }
}
