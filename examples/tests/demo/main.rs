//! The demonstration as somebody sees it who runs it: in a pipe, in a terminal, and when it is interrupted.

#![cfg(test)]

mod showing;

use std::time::Duration;

use showing::{demo, terminal};

/// The terminal's other screen is shown, and left.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The number before these words.
fn number_before(text: &str, words: &str) -> usize {
    let before = text.split(words).next().unwrap_or_default();
    let number = before.split_whitespace().next_back().unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("no number before {words:?}:\n{text}"))
}

#[test]
fn pipelines_are_killed_again_and_again_and_the_money_is_right() {
    let mut showing = demo(&["--chaos", "--duration", "15s", "--rate", "300"]);
    let code = showing.end();
    let shown = showing.shown();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(": the money is right\n"), "{shown}");
    let kills = shown.matches("(SIGKILL)\n").count();
    let returns = shown.matches(" commits again, after ").count();
    assert!(kills >= 3, "{kills} kills:\n{shown}");
    assert_eq!(
        (number_before(shown, "  kills (SIGKILL) survived"), returns),
        (kills, kills),
        "{shown}"
    );
    for none in ["0 have no row in the ledger, 0 a wrong one", "0 are missing, 0 are wrong"] {
        assert!(shown.contains(none), "{none}:\n{shown}");
    }
    assert!(number_before(shown, " clicks sent") > 100, "{shown}");
    assert!(!shown.contains('\x1b'), "no terminal, no signs for one:\n{shown}");
}

#[test]
fn in_a_terminal_one_pipeline_is_killed_before_the_eyes_of_who_watches() {
    let mut showing = terminal(&["--duration", "15s", "--rate", "300"]);
    showing.until("KILLED");
    showing.until("back after");
    let code = showing.end();
    let shown = showing.shown();
    assert_eq!(code, Some(0), "{shown}");
    let (picture, report) = shown.split_once(LEAVE).unwrap();
    assert_eq!(picture.matches(ENTER).count(), 1, "one picture");
    assert!(!report.contains('\x1b'), "{report}");
    assert!(report.contains("1  kill (SIGKILL) survived; commits again after"), "{report}");
    assert!(report.contains(": the money is right"), "{report}");
}

#[test]
fn an_interruption_ends_in_order_and_a_second_one_at_once() {
    let mut showing = terminal(&["--duration", "10m", "--rate", "100"]);
    showing.until("balance-worker");
    // Some money has moved.
    showing.until("won by 1");
    showing.interrupt();
    let code = showing.end();
    let (_, report) = showing.shown().split_once(LEAVE).unwrap();
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains(": the money is right"), "{report}");

    let mut showing = terminal(&["--duration", "10m", "--rate", "100"]);
    showing.until("balance-worker");
    showing.interrupt();
    std::thread::sleep(Duration::from_millis(50));
    showing.interrupt();
    let code = showing.end();
    let (_, report) = showing.shown().split_once(LEAVE).unwrap();
    assert_eq!(code, Some(130), "{report}");
    assert!(!report.contains("proof"), "{report}");
}
