//! Lines of words, in which keys and values that are bytes are kept.

/// A word: the bytes as they are, or in hexadecimal digits behind `0x` where a line cannot have them.
fn word(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text)
            if !bytes.is_empty()
                && !text.starts_with("0x")
                && bytes.iter().all(u8::is_ascii_graphic) =>
        {
            text.to_owned()
        }
        _ => bytes.iter().fold("0x".to_owned(), |word, byte| format!("{word}{byte:02x}")),
    }
}

/// A line of these words.
pub(crate) fn line<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> String {
    let words: Vec<_> = words.into_iter().map(|bytes| word(bytes.as_ref())).collect();
    words.join(" ") + "\n"
}

/// The words of a text's lines, without its remarks.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Vec<Vec<u8>>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').map(bytes).collect())
}

fn bytes(word: &str) -> Vec<u8> {
    let Some(digits) = word.strip_prefix("0x") else { return word.as_bytes().to_vec() };
    let at = (0..digits.len()).step_by(2);
    at.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
