//! A file, line by line.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
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
    /// Lines that were read ahead, and are the next.
    behind: Cursor<Vec<u8>>,
    /// The number of the next line.
    pub(super) number: i64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)
            .map_err(|error| Error::config(format!("open {}", path.display())).because(error))?;
        let file = BufReader::with_capacity(READ_BYTES, file);
        Ok(Self { file, line: Vec::new(), behind: Cursor::default(), number: 0 })
    }

    /// Reads the next line. False at the end.
    pub(super) fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        self.read_on()
    }

    /// Reads on to the next end of a line.
    fn read_on(&mut self) -> io::Result<bool> {
        let read = self.behind.read_until(b'\n', &mut self.line)?;
        if read > 0 && self.line.ends_with(b"\n") {
            return Ok(true);
        }
        // Of the last of them, the end is still in the file.
        Ok(self.read_file()? || read > 0)
    }

    fn read_file(&mut self) -> io::Result<bool> {
        // One byte more than there may be, by which it is known that there are too many.
        let left = MOST_LINE_BYTES.saturating_sub(self.line.len() as u64) + 1;
        let read = self.file.by_ref().take(left).read_until(b'\n', &mut self.line)?;
        if self.line.len() as u64 > MOST_LINE_BYTES {
            let what = format!("a line of more than {MOST_LINE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(read > 0)
    }

    /// Reads the next row: an end of a line within quotes is part of it.
    ///
    /// A quote begins a field only at its start, and only another ends it that a comma or an end of the line
    /// follows. A row that goes over lines and is none, as its quote is never closed, is its first line alone: the
    /// rows behind it are read.
    #[cfg(feature = "csv")]
    pub(super) fn read_row(&mut self) -> io::Result<bool> {
        let found = self.read_line()?;
        let (first, mut scanned, mut scan) = (self.line.len(), 0, Scan::FieldStart);
        loop {
            scan = self.line.iter().skip(scanned).fold(scan, |scan, byte| scan.next(*byte));
            scanned = self.line.len();
            // Room for another line: one that is too long by itself is an error.
            let has_room = scanned as u64 <= MOST_LINE_BYTES / 2;
            if scan != Scan::Quoted || !has_room || !self.read_on()? {
                break;
            }
        }
        if matches!(scan, Scan::Quoted | Scan::Bad) {
            let mut behind = self.line.split_off(first);
            self.behind.read_to_end(&mut behind)?;
            self.behind = Cursor::new(behind);
        }
        Ok(found)
    }

    /// The first row, which is read over.
    #[cfg(feature = "csv")]
    pub(super) fn header(&mut self, path: &Path) -> Result<Vec<u8>> {
        let read = self.read_row();
        if !self.checked(read, path)? {
            return Err(Error::config(format!(
                "read CSV file {}: it is empty, and its first row has to be a header",
                path.display()
            )));
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

/// Where in a row its bytes have come to.
#[cfg(feature = "csv")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scan {
    /// A field begins, or the row has ended.
    FieldStart,
    /// Within a field without quotes.
    Plain,
    Quoted,
    /// Behind a quote that ends its field, or is the first of two.
    Quote,
    /// Behind an end of the line that may follow.
    Return,
    /// Something stands behind the quote that ends a field.
    Bad,
}

#[cfg(feature = "csv")]
impl Scan {
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Quoted, _) | (Self::Quote, b'"') | (Self::FieldStart, b'"') => Self::Quoted,
            (Self::FieldStart | Self::Plain | Self::Quote, b',')
            | (Self::FieldStart | Self::Plain | Self::Quote | Self::Return, b'\n') => {
                Self::FieldStart
            }
            (Self::Quote, b'\r') => Self::Return,
            (Self::FieldStart | Self::Plain, _) => Self::Plain,
            (Self::Quote | Self::Return | Self::Bad, _) => Self::Bad,
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines(at {})", self.number)
    }
}
