//! What one record does to Redis: operations on keys, collected until the barrier.

use std::fmt::Display;
use std::ops::Range;
use std::time::Duration;

use hashbrown::HashMap;
use redis::Cmd;
use serde_json::{Value, json};

use crate::redis::packed::Packed;

/// Operations on Redis, in order; see [`Redis::write`](super::Redis::write).
///
/// Increments of the same field are summed up here as long as no other operation on the same key
/// comes between, so that the place sees one of them for each epoch.
#[derive(Debug, Default)]
pub struct Operations {
    arguments: Packed,
    list: Vec<Operation>,
    /// The last increment of each field of a key, if nothing else has touched the key since.
    increments: HashMap<String, Vec<(String, usize)>, foldhash::fast::RandomState>,
    /// The row that operations are for.
    row: usize,
    /// Whether there are any for it.
    is_used: bool,
}

/// One operation; an increment may be that of several rows.
#[derive(Debug)]
pub(crate) struct Operation {
    name: &'static str,
    /// Its arguments by their numbers, but for the amount.
    arguments: Range<usize>,
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
        if self.sum_up(key, field, by) {
            return self;
        }
        let index = self.list.len();
        let fields = self.increments.entry_ref(key).or_default();
        match fields.iter_mut().find(|(name, _)| name == field) {
            Some((_, last)) => *last = index,
            None => fields.push((field.to_owned(), index)),
        }
        self.push("increment", key, Some(by), |arguments| arguments.push(field))
    }

    /// Adds to an earlier increment of the same field, if there is one that takes it.
    fn sum_up(&mut self, key: &str, field: &str, by: i64) -> bool {
        let fields = self.increments.get(key).into_iter().flatten();
        let known = fields.filter(|(name, _)| name == field).map(|(_, index)| *index).next();
        let earlier = known.and_then(|index| self.list.get_mut(index));
        // What does not fit begins an operation of its own, which the place is to refuse.
        let is_added = earlier.is_some_and(|earlier| earlier.add(self.row, by).is_some());
        self.is_used |= is_added;
        is_added
    }

    /// Sets fields of a hash.
    pub fn set(&mut self, key: impl AsRef<str>, fields: &[(&str, &dyn Display)]) -> &mut Self {
        // Redis has no such command without fields, and a hash without fields is none.
        if fields.is_empty() {
            return self;
        }
        self.change("set", key.as_ref(), |arguments| push_fields(arguments, fields))
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
        self.change("set_if_newer", key.as_ref(), |arguments| {
            push_fields(arguments, &[(guard, &version)]);
            push_fields(arguments, fields);
        })
    }

    /// Removes a field of a hash.
    pub fn remove_field(&mut self, key: impl AsRef<str>, field: &str) -> &mut Self {
        self.change("remove_field", key.as_ref(), |arguments| arguments.push(field))
    }

    /// Lets a key expire this long after this epoch's commit.
    pub fn expire(&mut self, key: impl AsRef<str>, after: Duration) -> &mut Self {
        self.change("expire", key.as_ref(), |arguments| arguments.display(&milliseconds(after)))
    }

    /// Deletes a key of any kind.
    pub fn delete(&mut self, key: impl AsRef<str>) -> &mut Self {
        self.change("delete", key.as_ref(), |_| {})
    }

    /// Puts a member into a sorted set, or moves it to another score.
    pub fn add_member(&mut self, key: impl AsRef<str>, member: &str, score: f64) -> &mut Self {
        self.change("add_member", key.as_ref(), |arguments| {
            arguments.display(&score);
            arguments.push(member);
        })
    }

    /// Takes a member out of a sorted set.
    pub fn remove_member(&mut self, key: impl AsRef<str>, member: &str) -> &mut Self {
        self.change("remove_member", key.as_ref(), |arguments| arguments.push(member))
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

    /// An operation after which increments of this key may not be summed with earlier ones.
    pub(crate) fn change(
        &mut self,
        name: &'static str,
        key: &str,
        arguments: impl FnOnce(&mut Packed),
    ) -> &mut Self {
        // A later increment must not move before this one.
        self.increments.remove(key);
        self.push(name, key, None, arguments)
    }

    fn push(
        &mut self,
        name: &'static str,
        key: &str,
        amount: Option<i64>,
        arguments: impl FnOnce(&mut Packed),
    ) -> &mut Self {
        self.is_used = true;
        let first = self.arguments.len();
        self.arguments.push(key);
        arguments(&mut self.arguments);
        let (arguments, row) = (first..self.arguments.len(), self.row);
        self.list.push(Operation { name, arguments, row, amount, parts: Vec::new() });
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

    /// The operations, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Operation> {
        self.list.iter()
    }

    /// Adds one of them to the command, as it is for these rows; `None` if a sum does not fit 64 bits.
    pub(crate) fn write(
        &self,
        operation: &Operation,
        is_wanted: impl Fn(usize) -> bool,
        command: &mut Cmd,
    ) -> Option<()> {
        let Operation { name, arguments, amount, .. } = operation;
        let amount = match amount {
            Some(_) => Some(operation.sum(is_wanted)?),
            None => None,
        };
        command.arg(*name).arg(arguments.len() + usize::from(amount.is_some()));
        for argument in self.arguments.range(arguments) {
            command.arg(argument);
        }
        if let Some(amount) = amount {
            command.arg(amount);
        }
        Some(())
    }

    /// What a row does, for whoever reads a dead letter: its key, and all of it.
    pub(crate) fn describe(&self, row: usize) -> (Option<String>, Value) {
        let (mut key, mut all) = (None, Vec::new());
        for operation in self.list.iter().filter(|operation| operation.rows().any(|of| of == row)) {
            let texts = self.arguments.range(&operation.arguments);
            let texts = texts.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let texts: Vec<String> = texts.chain(operation.shown_amount(row)).collect();
            key = key.or_else(|| texts.first().cloned());
            all.push(json!({ "operation": operation.name, "arguments": texts }));
        }
        (key, json!({ "operations": all }))
    }
}

fn push_fields(arguments: &mut Packed, fields: &[(&str, &dyn Display)]) {
    for (name, value) in fields {
        arguments.push(name);
        arguments.display(value);
    }
}

impl Operation {
    /// Adds what a row adds; `None`, and nothing has changed, if that does not fit 64 bits.
    fn add(&mut self, row: usize, by: i64) -> Option<()> {
        let amount = self.amount?;
        let sum = amount.checked_add(by)?;
        let of_row = self.of_row(row, amount).checked_add(by)?;
        // From the second row on: most operations are of one, and need no list.
        if self.parts.is_empty() {
            self.parts.push((self.row, amount));
        }
        match self.parts.last_mut() {
            Some((last, part)) if *last == row => *part = of_row,
            _ => self.parts.push((row, by)),
        }
        self.amount = Some(sum);
        Some(())
    }

    /// What it adds for this row so far, of the amount that it adds for all.
    fn of_row(&self, row: usize, amount: i64) -> i64 {
        match self.parts.last() {
            Some((last, of_row)) if *last == row => *of_row,
            None if self.row == row => amount,
            Some(_) | None => 0,
        }
    }

    /// The rows that it is for.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> {
        let alone = self.parts.is_empty().then_some(self.row);
        alone.into_iter().chain(self.parts.iter().map(|(row, _)| *row))
    }

    /// What it adds for these rows: 0 if it adds nothing, and `None` if that does not fit 64 bits.
    pub(crate) fn sum(&self, is_wanted: impl Fn(usize) -> bool) -> Option<i64> {
        if self.parts.is_empty() {
            return Some(self.amount.unwrap_or(0));
        }
        let parts = self.parts.iter().filter(|(row, _)| is_wanted(*row));
        i64::try_from(parts.map(|(_, amount)| i128::from(*amount)).sum::<i128>()).ok()
    }

    /// What it adds for a row, if it adds anything.
    fn shown_amount(&self, row: usize) -> Option<String> {
        let part = self.parts.iter().find(|(of, _)| *of == row).map(|(_, amount)| *amount);
        part.or(self.amount).map(|amount| amount.to_string())
    }
}

/// A time to live as Redis takes it: it refuses one that ends beyond the 64 bits of its clock.
pub(crate) fn milliseconds(after: Duration) -> u128 {
    after.as_millis().clamp(1, 1 << 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what is sent of all rows.
    fn check(operations: &Operations, expected: &str) {
        let mut command = Cmd::new();
        for operation in operations.iter() {
            operations.write(operation, |_| true, &mut command).unwrap();
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
        operations.write(&operations.list[0], |row| row == 1, &mut command).unwrap();
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
        let operation = &operations.list[0];
        assert_eq!(operation.rows().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(operation.sum(|row| row != 1), None, "without the second it is too much");
        let mut command = Cmd::new();
        operations.write(operation, |row| row == 1, &mut command).unwrap();
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
