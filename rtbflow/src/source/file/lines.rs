//! A file, line by line.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Bytes in one line.
const MOST_LINE_BYTES: u64 = 16 << 20;

/// A file, line by line.
pub(super) struct Lines {
    file: BufReader<File>,
    pub(super) line: Vec<u8>,
    /// The number of the next line.
    pub(super) number: i64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)
            .map_err(|error| Error::config(format!("open {}", path.display())).because(error))?;
        let file = BufReader::with_capacity(READ_BYTES, file);
        Ok(Self { file, line: Vec::new(), number: 0 })
    }

    /// Reads the next line. False at the end.
    pub(super) fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        self.read_on()
    }

    /// Reads on to the next end of a line.
    fn read_on(&mut self) -> io::Result<bool> {
        let left = MOST_LINE_BYTES.saturating_sub(self.line.len() as u64) + 1;
        let read = self.file.by_ref().take(left).read_until(b'\n', &mut self.line)?;
        if self.line.len() as u64 > MOST_LINE_BYTES {
            let what = format!("a line of more than {MOST_LINE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(read > 0)
    }

    /// Reads the next row: an end of a line within quotes is part of it.
    #[cfg(feature = "csv")]
    pub(super) fn read_row(&mut self) -> io::Result<bool> {
        let mut found = self.read_line()?;
        let mut counted = 0;
        let mut quotes = 0_usize;
        while found {
            let rest = self.line.get(counted..).unwrap_or_default();
            // A quote within quotes is doubled, so the number is odd within a field.
            quotes += rest.iter().filter(|byte| **byte == b'"').count();
            counted = self.line.len();
            if quotes.is_multiple_of(2) || !self.read_on()? {
                break;
            }
            found = true;
        }
        Ok(found)
    }

    /// The first row, which is read over.
    #[cfg(feature = "csv")]
    pub(super) fn header(&mut self, path: &Path) -> Result<Vec<u8>> {
        let read = self.read_row();
        if !self.checked(read, path)? {
            return Err(Error::config(format!("read {}: it has no header", path.display())));
        }
        Ok(self.content().to_vec())
    }

    /// Counts a line that was read, and makes the library's error of another.
    pub(super) fn checked(&mut self, read: io::Result<bool>, path: &Path) -> Result<bool> {
        let found = read.map_err(|error| {
            let what = format!("read line {} of {}", self.number, path.display());
            match error.kind() == io::ErrorKind::InvalidData {
                true => Error::permanent(what).because(error),
                false => Error::transient(what).because(error),
            }
        })?;
        self.number += i64::from(found);
        Ok(found)
    }

    /// The line without its end, and the first without a byte order mark.
    pub(super) fn content(&self) -> &[u8] {
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.number == 1).unwrap_or(line)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines(at {})", self.number)
    }
}
