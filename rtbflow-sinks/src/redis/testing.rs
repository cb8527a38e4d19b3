//! What is read of Redis's answers, for tests on any bytes: nothing of it is an interface.

use redis::Value;
use rtbflow::state::Chunk;
use rtbflow::{Error, Partition, Result, Topic};

use crate::redis::checksum::{sealed, unsealed};
use crate::redis::commit::{found, read_refused};
use crate::redis::inspect::inspect;
use crate::redis::positions::{parse_position, position_text};
use crate::redis::reply::{count, elements, groups};
use crate::redis::restore::read_page;

/// The position that a text says, and the text that is written of it.
#[must_use]
pub fn reread_position(text: &str) -> Option<(String, String)> {
    let position = parse_position(text)?;
    Some((format!("{position:?}"), position_text(&position)))
}

/// A text with the checksum of what stands for a partition.
#[must_use]
pub fn seal(partition: &str, text: &str) -> String {
    sealed(partition, text)
}

/// What stands for a partition, if it is whole.
#[must_use]
pub fn unseal<'a>(partition: &str, held: &'a str) -> Option<&'a str> {
    unsealed(partition, held)
}

fn answer(bytes: &[u8]) -> Result<Value> {
    let parsed = redis::parse_redis_value(bytes);
    parsed.map_err(|error| Error::permanent("read an answer").because(error.to_string()))
}

/// The chunks of a page of state, and where the next one begins.
///
/// # Errors
/// If it is no answer, or not that of a page.
pub fn page(bytes: &[u8]) -> Result<(Vec<Chunk>, Option<String>)> {
    let page = read_page("read a page", "index", elements("read a page", Ok(answer(bytes)?))?)?;
    Ok((page.chunks, page.next))
}

/// Reads an answer as each of the others that there are; which of them it can be.
///
/// # Errors
/// If it is no answer at all.
pub fn answers(bytes: &[u8]) -> Result<Vec<&'static str>> {
    let (value, mut read) = (answer(bytes)?, Vec::new());
    if count("count", Ok(value.clone())).is_ok() {
        read.push("number");
    }
    if let Ok(elements) = elements("read", Ok(value)) {
        read.push("elements");
        if read_refused("commit", &elements).is_ok() {
            read.push("refusals");
        }
        if elements.iter().any(|element| found("commit", element).is_ok()) {
            read.push("counts");
        }
        let pairs = groups::<2>("look", &elements).unwrap_or_default();
        read.extend(pairs.iter().map(|[name, _]| name).find_map(|name| partition(name)));
    }
    Ok(read)
}

fn partition(name: &[u8]) -> Option<&'static str> {
    let (topic, number) = std::str::from_utf8(name).ok()?.rsplit_once('/')?;
    let partition = Partition::new(Topic::new(topic), number.parse().ok()?);
    Some(if partition.to_string().as_bytes() == name { "partitions" } else { "numbers" })
}

/// What a server's own description warns of.
///
/// # Errors
/// If it cannot be used.
pub fn warnings(info: &str) -> Result<usize> {
    Ok(inspect(info)?.len())
}
