//! The scripts: their text is put together once, and runs by its digest.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use redis::{Cmd, Pipeline, RedisResult, Script, Value};
use rtbflow::{Error, Result};

use crate::redis::failure;
use crate::redis::session::Server;

const CHECKSUM: &str = include_str!("lua/checksum.lua");
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

    /// Sends runs of this script, a command for each made by `request`, and those again that the server had no script
    /// for, after loading it. The answers are in the order of the runs.
    pub(crate) async fn send<R>(
        &self,
        server: &Server,
        attempted: &str,
        runs: &[R],
        request: impl Fn(&R) -> Result<Cmd>,
    ) -> Result<Vec<RedisResult<Value>>> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::with_capacity(runs.len());
        for run in runs {
            commands.add_command(request(run)?);
        }
        let answers = server.send(attempted, &mut commands).await?;
        // An epoch is large, and is not kept for the case that it has to be sent again.
        drop(commands);
        let mut answers: Vec<_> = runs.iter().zip(answers).collect();
        for _ in 0..MOST_LOADS {
            if !self.send_again(server, attempted, &mut answers, &request).await? {
                break;
            }
        }
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Sends those runs again that the server had no script for. Whether there were any.
    async fn send_again<R>(
        &self,
        server: &Server,
        attempted: &str,
        answers: &mut [(&R, RedisResult<Value>)],
        request: &impl Fn(&R) -> Result<Cmd>,
    ) -> Result<bool> {
        let is_unknown = |answer: &RedisResult<Value>| {
            answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"))
        };
        let mut commands = Pipeline::new();
        commands.add_command(self.load());
        let mut unknown = Vec::new();
        for (run, answer) in answers.iter_mut().filter(|(_, answer)| is_unknown(answer)) {
            commands.add_command(request(run)?);
            unknown.push(answer);
        }
        if unknown.is_empty() {
            return Ok(false);
        }
        let mut second = server.send(attempted, &mut commands).await?.into_iter();
        // The first one is that to the loading.
        if let Some(Err(cause)) = second.next() {
            let attempted =
                format!("{attempted}: load the script into Redis at {}", server.address());
            return Err(failure::error(&attempted, cause));
        }
        for (slot, answer) in unknown.into_iter().zip(second) {
            *slot = answer;
        }
        Ok(true)
    }

    /// Sends one run of this script.
    pub(crate) async fn send_one(
        &self,
        server: &Server,
        attempted: &str,
        request: impl Fn() -> Cmd,
    ) -> Result<RedisResult<Value>> {
        let answer = self.send(server, attempted, &[()], |()| Ok(request())).await?.pop();
        answer.ok_or_else(|| Error::broken("the one answer to a script is missing"))
    }
}

/// The script that commits, with the pipeline's own functions in it.
///
/// Every task adds its functions as it is put together; equal ones are kept once, and a number, once
/// given, stays. So a later text can run whatever was staged for an earlier one.
pub(crate) struct Library {
    inner: Mutex<LibraryText>,
}

struct LibraryText {
    functions: Vec<(&'static str, Arc<str>)>,
    commit: Text,
}

impl Library {
    pub(crate) fn new() -> Self {
        let commit = Text::new(&with_functions(&[]));
        Self { inner: Mutex::new(LibraryText { functions: Vec::new(), commit }) }
    }

    /// Adds a function and returns its number.
    pub(crate) fn add(&self, name: &'static str, body: &str) -> usize {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // The body as well: two sinks may have one name, and a change of the text is another function.
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
        // In the whole an error names a line that nobody has written.
        let mut commands = Pipeline::new();
        for function in &functions {
            commands.add_command(Text::new(&functions_text(std::slice::from_ref(function))).load());
        }
        commands.add_command(commit.load());
        let answers = server.send("load the scripts", &mut commands).await?;
        let names = functions.iter().map(|(name, _)| *name).chain(["commit"]);
        for (name, answer) in names.zip(answers) {
            let attempted = format!("load the script {name:?} into Redis at {}", server.address());
            answer.map_err(|cause| failure::error(&attempted, cause))?;
        }
        Ok(())
    }
}

/// The functions see nothing of the script's own, and write so that it can be taken back.
fn functions_text(functions: &[(&'static str, Arc<str>)]) -> String {
    // What guards the script is hidden from them: by it they could write what is not taken back.
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
        // Most jobs have none, and a script that is shorter costs less to load.
        [] => [CHECKSUM, GUARD, NO_FUNCTIONS, COMMIT].concat(),
        _ => [CHECKSUM, GUARD, FUNCTIONS, &functions_text(functions), COMMIT].concat(),
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
