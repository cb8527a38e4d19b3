//! The demonstration while it runs, and what it has shown.

use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// The longest wait for anything that is expected to be seen, and for an end.
const SOON: Duration = Duration::from_secs(90);
const INTERRUPT: &[u8] = b"\x03";

/// A demonstration. It is killed with this value.
pub(crate) struct Showing {
    child: Child,
    pieces: Receiver<String>,
    shown: String,
}

/// One that writes into a pipe.
pub(crate) fn demo(arguments: &[&str]) -> Showing {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(arguments);
    Showing::begin(command)
}

/// One that has a terminal of eighty columns, which `script` makes.
pub(crate) fn terminal(arguments: &[&str]) -> Showing {
    let run = format!(
        "stty columns 80 rows 24; exec '{}' {}",
        env!("CARGO_BIN_EXE_demo"),
        arguments.join(" ")
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--flush", "--return", "--command", &run, "/dev/null"]);
    Showing::begin(command)
}

impl Showing {
    fn begin(mut command: Command) -> Self {
        for variable in ["RTBFLOW_REDIS", "RTBFLOW_POSTGRES", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (send, pieces) = channel();
        thread::spawn(move || {
            let (mut piece, mut cut) = ([0; 4096], Vec::new());
            while let Ok(length @ 1..) = stdout.read(&mut piece) {
                cut.extend_from_slice(&piece[..length]);
                // A letter may come in two pieces.
                let whole =
                    std::str::from_utf8(&cut).map_or_else(|error| error.valid_up_to(), str::len);
                let rest = cut.split_off(whole);
                let whole = String::from_utf8(std::mem::replace(&mut cut, rest)).unwrap();
                if send.send(whole).is_err() {
                    return;
                }
            }
        });
        Self { child, pieces, shown: String::new() }
    }

    /// All that it has shown so far, with the line feeds of a file.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Waits until this is shown.
    pub(crate) fn until(&mut self, text: &str) {
        while !self.shown.contains(text) {
            assert!(self.more(), "it has ended without {text:?}:\n{}", self.shown);
        }
    }

    /// Presses Ctrl-C in its terminal.
    pub(crate) fn interrupt(&mut self) {
        let pressed = self.child.stdin.as_mut().unwrap().write_all(INTERRUPT);
        assert!(!pressed.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe));
    }

    /// Waits for its end: the exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        while self.more() {}
        self.child.wait().unwrap().code()
    }

    /// Waits for more; whether there is any.
    fn more(&mut self) -> bool {
        match self.pieces.recv_timeout(SOON) {
            Ok(piece) => {
                self.shown += &piece.replace("\r\n", "\n");
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => {
                panic!("nothing more within {SOON:?}:\n{}", self.shown)
            }
        }
    }
}

impl Drop for Showing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
