//! The keys and arguments of a call of Lua.

use std::fmt;

use redis::Cmd;

use crate::redis::library::Text;

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

    /// A command that runs a script for this call.
    pub(crate) fn run(&self, lua: &Text) -> Cmd {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        let mut command = lua.run(&keys);
        command.arg(&self.arguments);
        command
    }
}
