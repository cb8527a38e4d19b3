//! Shares on the command line: `5%` or `0.5%`.

/// The text is not a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseShareError;

impl std::fmt::Display for ParseShareError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a share is needed, from 0% to 100%, such as 5% or 0.5%")
    }
}

impl std::error::Error for ParseShareError {}

/// Reads a share, as a number from 0 to 1.
///
/// # Errors
/// If it is not a number from 0 to 100 and a percent sign.
///
/// # Examples
/// ```
/// use rtbflow_examples::options::parse_share;
///
/// assert_eq!(parse_share("50%")?, 0.5);
/// assert!(parse_share("0.5").is_err() && parse_share("101%").is_err());
/// # Ok::<(), rtbflow_examples::options::ParseShareError>(())
/// ```
pub fn parse_share(text: &str) -> Result<f64, ParseShareError> {
    let percent = text.trim().strip_suffix('%').ok_or(ParseShareError)?;
    let percent: f64 = percent.trim().parse().map_err(|_| ParseShareError)?;
    if (0.0..=100.0).contains(&percent) { Ok(percent / 100.0) } else { Err(ParseShareError) }
}
