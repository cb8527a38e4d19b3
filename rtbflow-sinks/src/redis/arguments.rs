//! The keys and arguments of a call of Lua.

use std::fmt;

/// The keys and arguments of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Call {
    pub(crate) keys: Vec<String>,
    pub(crate) arguments: Vec<String>,
}

impl Call {
    /// Adds a key: `KEYS[1]`, `KEYS[2]` … in the function.
    pub fn key(&mut self, key: impl Into<String>) -> &mut Self {
        self.keys.push(key.into());
        self
    }

    /// Adds an argument: `ARGV[1]`, `ARGV[2]` … in the function, always as text.
    pub fn argument(&mut self, argument: impl fmt::Display) -> &mut Self {
        self.arguments.push(argument.to_string());
        self
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    pub(crate) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().map(String::as_str)
    }
}
