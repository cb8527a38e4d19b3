//! The scripts: their text is put together once, and runs by its digest.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use redis::{Cmd, Pipeline, RedisResult, Script, Value};
use rtbflow::{Error, Result};

use crate::redis::session::Server;

const GUARD: &str = include_str!("lua/guard.lua");
const FUNCTIONS: &str = include_str!("lua/functions.lua");
const COMMIT: &str = include_str!("lua/commit.lua");
/// What the script needs of `functions.lua` where there is no function.
const NO_FUNCTIONS: &str = "local guarded, functions = { published = {} }, {}\n";
/// How often a request is sent again because the server has just forgotten the script.
const MOST_LOADS: u32 = 3;

/// A script and its digest.
#[derive(Clone)]
pub(crate) struct Text {
    text: Arc<str>,
    digest: Arc<str>,
}

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.into(), digest: Script::new(text).get_hash().into() }
    }

    /// A command that runs the script; the caller adds the arguments.
    pub(crate) fn run(&self, keys: &[&str]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&*self.digest).arg(keys.len()).arg(keys);
        command
    }

    /// Whether it is the same script.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&*self.text);
        command
    }

    /// Sends runs of this script, made by `request`, and those again that the server had no script for,
    /// after loading it.
    pub(crate) async fn send(
        &self,
        server: &Server,
        attempted: &str,
        count: usize,
        request: impl Fn(usize) -> Cmd,
    ) -> Result<Vec<RedisResult<Value>>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::with_capacity(count);
        for number in 0..count {
            commands.add_command(request(number));
        }
        let mut answers = server.send(attempted, &mut commands).await?;
        drop(commands);
        for _ in 0..MOST_LOADS {
            let unknown = |answer: &RedisResult<Value>| {
                answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"))
            };
            let again: Vec<usize> =
                (0..count).filter(|number| answers.get(*number).is_some_and(unknown)).collect();
            if again.is_empty() {
                break;
            }
            let mut commands = Pipeline::with_capacity(again.len() + 1);
            commands.add_command(self.load());
            for number in &again {
                commands.add_command(request(*number));
            }
            let mut second = server.send(attempted, &mut commands).await?.into_iter();
            if let Some(Err(cause)) = second.next() {
                return Err(crate::redis::failure::error(
                    &format!("{attempted}: load the script"),
                    cause,
                ));
            }
            for (number, answer) in again.into_iter().zip(second) {
                if let Some(slot) = answers.get_mut(number) {
                    *slot = answer;
                }
            }
        }
        Ok(answers)
    }
}

/// The script that commits, with the pipeline's own functions in it.
///
/// Every task adds its functions as it is put together; equal ones are kept once, and a number, once
/// given, stays. So a later text can run whatever was staged for an earlier one.
pub(crate) struct Library {
    inner: Mutex<Inner>,
}

struct Inner {
    functions: Vec<(&'static str, Arc<str>)>,
    commit: Text,
}

impl Library {
    pub(crate) fn new() -> Self {
        let commit = Text::new(&with_functions(&[]));
        Self { inner: Mutex::new(Inner { functions: Vec::new(), commit }) }
    }

    /// Adds a function and returns its number.
    pub(crate) fn add(&self, name: &'static str, body: &str) -> usize {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inner.functions.iter().position(|(n, b)| *n == name && **b == *body);
        known.unwrap_or_else(|| {
            inner.functions.push((name, body.into()));
            inner.commit = Text::new(&with_functions(&inner.functions));
            inner.functions.len() - 1
        }) + 1
    }

    /// The script that commits, as of now.
    pub(crate) fn commit(&self) -> Text {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).commit.clone()
    }

    /// Loads each function by itself and then the whole, so that an error names the function.
    pub(crate) async fn load(&self, server: &Server) -> Result<()> {
        let (functions, commit) = {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            (inner.functions.clone(), inner.commit.clone())
        };
        let mut commands = Pipeline::new();
        for function in &functions {
            commands.add_command(Text::new(&functions_text(std::slice::from_ref(function))).load());
        }
        commands.add_command(commit.load());
        let answers = server.send("load the scripts", &mut commands).await?;
        let names = functions.iter().map(|(name, _)| *name).chain(["commit"]);
        for (name, answer) in names.zip(answers) {
            answer.map_err(|cause| {
                crate::redis::failure::error(
                    &format!("load the script {name:?} into Redis at {}", server.address()),
                    cause,
                )
            })?;
        }
        Ok(())
    }
}

/// The functions see nothing of the script's own, and write so that it can be taken back.
fn functions_text(functions: &[(&'static str, Arc<str>)]) -> String {
    let mut text = String::from(
        "local functions = {}\ndo\nlocal redis, server, EPOCH, guard, guarded = guarded.api, guarded.api, {}, nil, nil\n",
    );
    for (name, body) in functions {
        let _infallible = writeln!(
            text,
            "functions[#functions + 1] = function(KEYS, ARGV) -- {name}\n{body}\nend"
        );
    }
    text.push_str("end\n");
    text
}

fn with_functions(functions: &[(&'static str, Arc<str>)]) -> String {
    match functions {
        [] => [GUARD, NO_FUNCTIONS, COMMIT].concat(),
        _ => [GUARD, FUNCTIONS, &functions_text(functions), COMMIT].concat(),
    }
}

/// The elements of a script's reply.
pub(crate) fn elements(attempted: &str, reply: RedisResult<Value>) -> Result<Vec<Vec<u8>>> {
    let unreadable = || Error::permanent(format!("{attempted}: the script's reply is unreadable"));
    let reply = reply.map_err(|cause| crate::redis::failure::error(attempted, cause))?;
    let Value::Array(values) = reply else { return Err(unreadable()) };
    values
        .into_iter()
        .map(|value| redis::from_redis_value::<Vec<u8>>(value).map_err(|_| unreadable()))
        .collect()
}

/// Bytes of a reply as text; what is not UTF-8 is shown as such.
pub(crate) fn text(bytes: Option<&Vec<u8>>) -> String {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

/// The parts of the one answer to a request.
pub(crate) fn one(attempted: &str, answers: Vec<RedisResult<Value>>) -> Result<Vec<Vec<u8>>> {
    match answers.into_iter().next() {
        Some(answer) => elements(attempted, answer),
        None => Err(Error::transient(format!("{attempted}: no answer"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_kept_once_and_keeps_its_number() {
        let library = Library::new();
        let plain = library.commit().digest;
        assert_eq!(library.add("rank", "return 1"), 1);
        assert_eq!(library.add("rank", "return 2"), 2);
        assert_eq!(library.add("rank", "return 1"), 1);
        let commit = library.commit();
        assert_ne!(commit.digest, plain);
        assert!(commit.text.contains("return 2\nend") && commit.text.ends_with(COMMIT));
    }
}
