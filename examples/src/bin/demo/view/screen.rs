//! The terminal's other screen, on which the picture is drawn: what was there before comes back, whatever
//! way the program ends.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::logs;

/// The other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const TO_THE_TOP: &str = "\x1b[H";
const CLEAR_TO_THE_END_OF_THE_ROW: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Leaves the screen when the program panics, before it says so.
pub(crate) fn leave_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        leave();
        usual(panic);
    }));
}

/// Shows what was there before, if the screen is taken: for every way out.
pub(crate) fn leave() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        write(LEAVE);
        logs::release();
    }
}

/// The other screen, until this is dropped.
#[derive(Debug)]
pub(super) struct Screen(());

impl Screen {
    pub(super) fn take() -> Self {
        IS_TAKEN.store(true, Ordering::SeqCst);
        logs::keep();
        write(ENTER);
        Self(())
    }

    /// Draws the rows over those before. Not so if somebody has left the screen meanwhile.
    pub(super) fn draw(&self, rows: &[String]) {
        if IS_TAKEN.load(Ordering::SeqCst) {
            write(&drawing(rows));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Nothing is cleared before it is drawn over: so it does not flicker.
fn drawing(rows: &[String]) -> String {
    let mut text = String::from(TO_THE_TOP);
    for (number, row) in rows.iter().enumerate() {
        // Behind the last row nothing: a line feed there would move all of them up.
        let end = if number == 0 { "" } else { "\r\n" };
        text.extend([end, row, CLEAR_TO_THE_END_OF_THE_ROW]);
    }
    text + CLEAR_BELOW
}

/// A terminal that is gone is no reason to stop.
pub(super) fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_drawn_over_the_one_before() {
        let rows = ["one".to_owned(), "two".to_owned()];
        assert_eq!(drawing(&rows), "\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J");
    }
}
