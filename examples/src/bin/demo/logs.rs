//! What the demonstration and its pipelines log: on stderr, but not across the picture.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// The lines that are kept while the picture is shown; of more, the last.
const MOST_KEPT: usize = 40;

/// What waits until the picture is gone; `None` while there is none.
static KEPT: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Keeps what is logged from now on, if it would be seen where the picture is.
pub(crate) fn keep() {
    if io::stderr().is_terminal() {
        *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }
}

/// Writes what was kept, and from now on all at once.
pub(crate) fn release() {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).take();
    for line in kept.into_iter().flatten() {
        write(&line);
    }
}

/// Writes a line that ends with a line feed. If stderr is closed, nobody wants to read it.
pub(crate) fn write(line: &str) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    match kept.as_mut() {
        Some(kept) => {
            kept.push(line.to_owned());
            if kept.len() > MOST_KEPT {
                kept.remove(0);
            }
        }
        None => drop(io::stderr().lock().write_all(line.as_bytes())),
    }
}

/// Where the demonstration's own logs go: each call is a whole line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
