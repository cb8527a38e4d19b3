//! What one record does to Redis: operations on keys, collected until the barrier.

use std::fmt::{Display, Write};
use std::time::Duration;

use hashbrown::HashMap;
use redis::Cmd;
use serde_json::{Value, json};

use crate::redis::batch::Work;

/// Operations on Redis, in order; see [`Redis::write`](super::Redis::write).
///
/// Increments of the same field are summed up here as long as no other operation on the same key
/// comes between, so that the place sees one of them for each epoch.
#[derive(Debug, Default)]
pub struct Operations {
    arguments: Arguments,
    list: Vec<Operation>,
    /// The last increment of each field of a key, if nothing else has touched the key since.
    increments: HashMap<String, Vec<(String, usize)>, foldhash::fast::RandomState>,
    /// The row that operations are for.
    row: usize,
    /// Whether there are any for it.
    is_used: bool,
}

#[derive(Debug)]
struct Operation {
    name: &'static str,
    first: usize,
    count: usize,
    /// The first row that it is for.
    row: usize,
    amount: Option<i64>,
    /// The amount of each row, once there are several.
    parts: Vec<(usize, i64)>,
}

impl Operations {
    /// Adds to a field of a hash, exactly and up to 64 bits; a field that is missing counts as 0.
    ///
    /// Redis refuses it if the field holds no integer or would overflow: its record becomes a dead letter.
    pub fn increment(&mut self, key: impl AsRef<str>, field: &str, by: i64) -> &mut Self {
        let key = key.as_ref();
        let known = self.increments.get(key).and_then(|fields| {
            fields.iter().find(|(name, _)| name == field).map(|(_, index)| *index)
        });
        if let Some(earlier) = known.and_then(|index| self.list.get_mut(index))
            && let Some(amount) = earlier.amount
            && let Some(sum) = amount.checked_add(by)
            && let Some(of_row) = earlier.of_row(self.row, amount).checked_add(by)
        {
            if earlier.parts.is_empty() {
                earlier.parts.push((earlier.row, amount));
            }
            match earlier.parts.last_mut() {
                Some((row, amount)) if *row == self.row => *amount = of_row,
                _ => earlier.parts.push((self.row, by)),
            }
            earlier.amount = Some(sum);
            self.is_used = true;
            return self;
        }
        let index = self.list.len();
        let fields = self.increments.entry_ref(key).or_default();
        match fields.iter_mut().find(|(name, _)| name == field) {
            Some((_, last)) => *last = index,
            None => fields.push((field.to_owned(), index)),
        }
        self.begin("increment", key);
        self.arguments.push(field);
        self.end(Some(by))
    }

    /// Sets fields of a hash.
    pub fn set(&mut self, key: impl AsRef<str>, fields: &[(&str, &dyn Display)]) -> &mut Self {
        if fields.is_empty() {
            return self;
        }
        self.touch("set", key.as_ref());
        self.fields(fields);
        self.end(None)
    }

    /// Sets fields of a hash, and its field `guard` to `version`, unless that field holds a newer
    /// version. Versions are integers, RFC 3339 times in UTC, or text of fixed width; an equal one is
    /// written again.
    pub fn set_if_newer(
        &mut self,
        key: impl AsRef<str>,
        (guard, version): (&str, impl Display),
        fields: &[(&str, &dyn Display)],
    ) -> &mut Self {
        self.touch("set_if_newer", key.as_ref());
        self.fields(&[(guard, &version)]);
        self.fields(fields);
        self.end(None)
    }

    /// Removes a field of a hash.
    pub fn remove_field(&mut self, key: impl AsRef<str>, field: &str) -> &mut Self {
        self.touch("remove_field", key.as_ref());
        self.arguments.push(field);
        self.end(None)
    }

    /// Lets a key expire this long after this epoch's commit.
    pub fn expire(&mut self, key: impl AsRef<str>, after: Duration) -> &mut Self {
        self.touch("expire", key.as_ref());
        self.arguments.display(&milliseconds(after));
        self.end(None)
    }

    /// Deletes a key of any kind.
    pub fn delete(&mut self, key: impl AsRef<str>) -> &mut Self {
        self.touch("delete", key.as_ref());
        self.end(None)
    }

    /// Puts a member into a sorted set, or moves it to another score.
    pub fn add_member(&mut self, key: impl AsRef<str>, member: &str, score: f64) -> &mut Self {
        self.touch("add_member", key.as_ref());
        self.arguments.display(&score);
        self.arguments.push(member);
        self.end(None)
    }

    /// Takes a member out of a sorted set.
    pub fn remove_member(&mut self, key: impl AsRef<str>, member: &str) -> &mut Self {
        self.touch("remove_member", key.as_ref());
        self.arguments.push(member);
        self.end(None)
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Begins an operation after which increments of this key may not be summed with earlier ones.
    pub(crate) fn touch(&mut self, name: &'static str, key: &str) {
        self.increments.remove(key);
        self.begin(name, key);
    }

    /// Adds an argument to the operation that was begun.
    pub(crate) fn argument(&mut self, argument: impl AsRef<[u8]>) {
        self.arguments.push(argument);
    }

    /// Ends the operation that was begun.
    pub(crate) fn end(&mut self, amount: Option<i64>) -> &mut Self {
        if let Some(operation) = self.list.last_mut() {
            operation.count = self.arguments.len() - operation.first;
            operation.amount = amount;
        }
        self
    }

    /// Begins the operations for a row.
    pub(crate) fn begin_row(&mut self, row: usize) {
        (self.row, self.is_used) = (row, false);
    }

    /// Whether there are operations for the row that was begun.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }

    fn begin(&mut self, name: &'static str, key: &str) {
        self.is_used = true;
        let (first, row) = (self.arguments.len(), self.row);
        self.list.push(Operation { name, first, count: 0, row, amount: None, parts: Vec::new() });
        self.arguments.push(key);
    }

    fn fields(&mut self, fields: &[(&str, &dyn Display)]) {
        for (name, value) in fields {
            self.arguments.push(name);
            self.arguments.display(value);
        }
    }
}

impl Work for Operations {
    fn operations(&self) -> usize {
        self.list.len()
    }

    fn parts(&self, operation: usize) -> usize {
        self.list.get(operation).map_or(1, |operation| operation.parts.len().max(1))
    }

    fn row(&self, operation: usize, part: usize) -> usize {
        let Some(operation) = self.list.get(operation) else { return 0 };
        operation.parts.get(part).map_or(operation.row, |(row, _)| *row)
    }

    fn fits(&self, operation: usize, is_part: &dyn Fn(usize) -> bool) -> bool {
        self.list.get(operation).is_some_and(|operation| operation.sum(is_part).is_some())
    }

    fn write(&self, operation: usize, is_part: &dyn Fn(usize) -> bool, command: &mut Cmd) {
        let Some(operation) = self.list.get(operation) else { return };
        let amount = operation.amount.map(|_| operation.sum(is_part).unwrap_or(0));
        command.arg(operation.name).arg(operation.count + usize::from(amount.is_some()));
        for index in operation.first..operation.first + operation.count {
            command.arg(self.arguments.get(index));
        }
        if let Some(amount) = amount {
            command.arg(amount);
        }
    }

    fn describe(&self, row: usize) -> (Option<String>, Value) {
        let text = |index| String::from_utf8_lossy(self.arguments.get(index)).into_owned();
        let (mut key, mut all) = (None, Vec::new());
        for operation in &self.list {
            let mut parts = operation.parts.iter().filter(|(of, _)| *of == row);
            let part = parts.next().map(|(_, amount)| *amount);
            if part.is_none() && (operation.row != row || !operation.parts.is_empty()) {
                continue;
            }
            let amount = part.or(operation.amount).map(|amount| amount.to_string());
            let texts = (operation.first..operation.first + operation.count).map(text);
            let texts: Vec<String> = texts.chain(amount).collect();
            key = key.or_else(|| texts.first().cloned());
            all.push(json!({ "operation": operation.name, "arguments": texts }));
        }
        (key, json!({ "operations": all }))
    }
}

impl Operation {
    /// What it adds for this row so far, of the amount that it adds for all.
    fn of_row(&self, row: usize, amount: i64) -> i64 {
        match self.parts.last() {
            Some((last, of_row)) if *last == row => *of_row,
            None if self.row == row => amount,
            Some(_) | None => 0,
        }
    }

    /// The amount of these parts; `None` if it does not fit 64 bits.
    fn sum(&self, is_part: &dyn Fn(usize) -> bool) -> Option<i64> {
        if self.parts.is_empty() {
            return Some(self.amount.unwrap_or(0));
        }
        let parts = self.parts.iter().enumerate().filter(|(part, _)| is_part(*part));
        i64::try_from(parts.map(|(_, (_, amount))| i128::from(*amount)).sum::<i128>()).ok()
    }
}

/// A time to live as Redis takes it: it refuses one that ends beyond the 64 bits of its clock.
pub(crate) fn milliseconds(after: Duration) -> u128 {
    after.as_millis().clamp(1, 1 << 50)
}

/// Arguments of a script, end to end in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Arguments {
    pub(crate) fn push(&mut self, argument: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(argument.as_ref());
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn display(&mut self, argument: &(impl Display + ?Sized)) {
        let _infallible = write!(TextOf(&mut self.bytes), "{argument}");
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).and_then(|before| self.ends.get(before)).unwrap_or(&0);
        let end = self.ends.get(index).unwrap_or(begin);
        self.bytes.get(*begin..*end).unwrap_or_default()
    }
}

/// Writes text into bytes.
struct TextOf<'a>(&'a mut Vec<u8>);

impl Write for TextOf<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what is sent of all rows.
    fn check(operations: &Operations, expected: &str) {
        let mut command = Cmd::new();
        for number in 0..operations.operations() {
            operations.write(number, &|_| true, &mut command);
        }
        let texts = command.args_iter().filter_map(|argument| match argument {
            redis::Arg::Simple(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            redis::Arg::Cursor | _ => None,
        });
        assert_eq!(texts.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn increments_are_summed_until_something_else_touches_the_key() {
        let mut operations = Operations::default();
        operations.increment("a", "x", 1).increment("b", "x", 10).increment("a", "x", 2);
        operations.increment("a", "y", 5).delete("a").increment("a", "x", 4);
        check(
            &operations,
            "increment 3 a x 3 increment 3 b x 10 increment 3 a y 5 delete 1 a increment 3 a x 4",
        );
    }

    #[test]
    fn what_does_not_fit_64_bits_is_left_to_the_place() {
        let mut operations = Operations::default();
        operations.increment("a", "x", i64::MAX).increment("a", "x", 1).increment("a", "x", 1);
        check(&operations, "increment 3 a x 9223372036854775807 increment 3 a x 2");
    }

    #[test]
    fn what_one_row_adds_does_not_overflow_though_the_sum_over_all_rows_fits() {
        let mut operations = Operations::default();
        for (row, amount) in [(0, -i64::MAX), (1, i64::MAX), (1, 7)] {
            operations.begin_row(row);
            operations.increment("a", "x", amount);
        }
        check(&operations, "increment 3 a x 0 increment 3 a x 7");
        let mut command = Cmd::new();
        operations.write(0, &|part| part == 1, &mut command);
        let command = command.get_packed_command();
        assert!(String::from_utf8_lossy(&command).contains("\r\n9223372036854775807\r\n"));
    }

    #[test]
    fn a_sum_is_taken_apart_by_rows() {
        let mut operations = Operations::default();
        for (row, amount) in [(0, i64::MAX - 5), (1, -5), (1, -1), (2, 8)] {
            operations.begin_row(row);
            operations.increment("a", "x", amount);
            assert!(operations.is_used());
        }
        check(&operations, "increment 3 a x 9223372036854775804");
        assert_eq!((operations.parts(0), operations.row(0, 2)), (3, 2));
        assert!(!operations.fits(0, &|part| part != 1), "without the second it is too much");
        let mut command = Cmd::new();
        operations.write(0, &|part| part == 1, &mut command);
        assert!(String::from_utf8_lossy(&command.get_packed_command()).contains("\r\n-6\r\n"));
        let (key, described) = operations.describe(2);
        assert_eq!(key.as_deref(), Some("a"));
        let expected = json!([{ "operation": "increment", "arguments": ["a", "x", "8"] }]);
        assert_eq!(described["operations"], expected);
    }

    #[test]
    fn values_are_written_as_they_display() {
        let mut operations = Operations::default();
        operations.set("k", &[("n", &7), ("text", &"한 \n")]).set("nothing", &[]);
        operations.set_if_newer("k", ("v", 8), &[]).expire("k", Duration::from_secs(2));
        operations.add_member("z", "m", 0.5).remove_member("z", "m").remove_field("k", "n");
        check(
            &operations,
            "set 5 k n 7 text 한 \n set_if_newer 3 k v 8 expire 2 k 2000 \
             add_member 3 z 0.5 m remove_member 2 z m remove_field 2 k n",
        );
    }
}
