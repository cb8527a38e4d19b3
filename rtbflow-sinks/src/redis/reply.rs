//! What scripts and commands answer, read strictly: an answer of another form than expected is an error.

use redis::{RedisResult, Value};
use rtbflow::{Error, Result};

use crate::redis::failure;

/// The elements of a script's reply.
pub(crate) fn elements(attempted: &str, reply: RedisResult<Value>) -> Result<Vec<Vec<u8>>> {
    let reply = reply.map_err(|cause| failure::error(attempted, cause))?;
    let Value::Array(values) = reply else { return Err(unreadable(attempted)) };
    // By hand: the client makes bytes of numbers and of arrays as well.
    let bytes = |value| {
        let Value::BulkString(bytes) = value else { return Err(unreadable(attempted)) };
        Ok(bytes)
    };
    values.into_iter().map(bytes).collect()
}

/// The elements of a reply in groups of this many.
pub(crate) fn groups<'a, const N: usize>(
    attempted: &str,
    elements: &'a [Vec<u8>],
) -> Result<&'a [[Vec<u8>; N]]> {
    let (groups, rest) = elements.as_chunks();
    if rest.is_empty() { Ok(groups) } else { Err(unreadable(attempted)) }
}

/// The number that a command answers.
pub(crate) fn count(attempted: &str, answer: RedisResult<Value>) -> Result<u64> {
    let answer = answer.map_err(|cause| failure::error(attempted, cause))?;
    redis::from_redis_value(answer).map_err(|cause| unreadable(attempted).because(cause))
}

/// The error of an answer that has another form than is expected.
#[cold]
pub(crate) fn unreadable(attempted: &str) -> Error {
    Error::permanent(format!(
        "{attempted}: the answer is unreadable; is it Redis that answers, and nothing in between changes it?"
    ))
}

/// Bytes of a reply as text, for what is compared with words and for messages. What is not UTF-8 is shown as such.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_form_is_an_error_and_not_an_empty_one() {
        let text = |text: &str| Value::BulkString(text.into());
        let whole = elements("ask", Ok(Value::Array(vec![text("a"), text("b")]))).unwrap();
        assert_eq!(groups::<2>("ask", &whole).unwrap(), [[b"a".to_vec(), b"b".to_vec()]]);
        assert!(groups::<3>("ask", &whole).is_err());
        assert_eq!(count("ask", Ok(Value::Int(3))).unwrap(), 3);
        for other in [Value::Nil, text("a"), Value::Array(vec![Value::Array(vec![])])] {
            assert!(
                elements("ask", Ok(other.clone())).is_err() && count("ask", Ok(other)).is_err()
            );
        }
    }
}
