//! What a connector keeps to itself: its sinks reach no server, its errors are the library's, its `unsafe` is in one
//! folder, and what Kafka keeps for a group is not read.

use std::path::Path;

use syn::visit::Visit;

use super::code::{Code, File};
use super::{crate_of, libraries};

/// Where the connections of the places are.
const CONNECTIONS: &[&str] =
    &["postgres/session.rs", "redis/session.rs", "anchor/transaction.rs", "client/kafka.rs"];
/// The crates whose errors are not shown, and what their errors are called.
const FOREIGN: &[&str] = &["tokio_postgres", "redis", "rdkafka", "rdkafka_sys", "rustls"];
const FOREIGN_ERRORS: &[&str] =
    &["RedisError", "RedisResult", "KafkaError", "KafkaResult", "RDKafkaErrorCode"];
/// Where native calls are.
const NATIVE: &str = "client/native";

fn shipped(file: &File) -> &str {
    file.text.split("#[cfg(test)]").next().unwrap_or_default()
}

fn connectors(code: &Code) -> impl Iterator<Item = (usize, &File)> {
    code.files.iter().enumerate().filter(|(_, file)| file.crate_name != "rtbflow")
}

/// Sinks that know a connection: they could write before the place's one step.
fn reaching(code: &Code) -> Vec<String> {
    let mut found = Vec::new();
    for (index, file) in connectors(code) {
        let is_sink = shipped(file)
            .lines()
            .any(|line| line.trim_start().starts_with("impl") && line.contains(" Sink<"));
        for used in code.uses(index) {
            let used = &code.files[used];
            let is_connection = CONNECTIONS.iter().any(|path| used.path == Path::new(path));
            if is_sink && is_connection {
                found.push(format!("{} knows {}", file.name(), used.name()));
            }
        }
    }
    found
}

/// Public functions whose answer has an error of another crate.
struct Answers<'a> {
    file: &'a File,
    found: Vec<String>,
}

impl Answers<'_> {
    fn look(&mut self, visibility: &syn::Visibility, signature: &syn::Signature) {
        if !matches!(visibility, syn::Visibility::Public(_)) {
            return;
        }
        let mut names = Names::default();
        names.visit_return_type(&signature.output);
        let is_foreign = |path: &Vec<String>| {
            let path = self.file.meant(path);
            let is_error = path.last().is_some_and(|name| name == "Error" || name == "Result");
            let is_of_another = path.first().is_some_and(|name| FOREIGN.contains(&name.as_str()));
            let is_named = path.last().is_some_and(|name| FOREIGN_ERRORS.contains(&name.as_str()));
            is_error && is_of_another || is_named
        };
        if names.0.iter().any(is_foreign) {
            self.found.push(format!("{}: {}", self.file.name(), signature.ident));
        }
    }
}

impl<'ast> Visit<'ast> for Answers<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.look(&item.vis, &item.sig);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.look(&item.vis, &item.sig);
    }
}

/// The paths of a type.
#[derive(Default)]
struct Names(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Names {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }
}

fn foreign_errors(code: &Code) -> Vec<String> {
    let mut found = Vec::new();
    for (_, file) in connectors(code) {
        let mut answers = Answers { file, found: Vec::new() };
        answers.visit_file(&syn::parse_file(&file.text).unwrap());
        found.append(&mut answers.found);
    }
    found
}

/// Files outside of the folder of native calls that may be `unsafe`.
fn unsafe_elsewhere(code: &Code) -> Vec<String> {
    let may = |file: &&File| {
        ["expect(unsafe_code", "allow(unsafe_code"].iter().any(|lint| file.text.contains(lint))
    };
    let elsewhere = |file: &&File| {
        file.crate_name != "rtbflow_kafka" || !file.path.starts_with(Path::new(NATIVE))
    };
    code.files.iter().filter(may).filter(elsewhere).map(File::name).collect()
}

/// Files that read what Kafka keeps for a group.
fn readers_of_the_group(code: &Code) -> Vec<String> {
    let reads = |file: &&File| shipped(file).contains("committed_offsets(");
    connectors(code).map(|(_, file)| file).filter(reads).map(File::name).collect()
}

#[test]
fn no_sink_knows_a_connection() {
    assert_eq!(reaching(libraries()), [""; 0]);
}

#[test]
fn no_signature_has_a_foreign_error() {
    assert_eq!(foreign_errors(libraries()), [""; 0]);
}

#[test]
fn unsafe_is_in_one_folder() {
    assert_eq!(unsafe_elsewhere(libraries()), [""; 0]);
}

#[test]
fn nobody_reads_the_offsets_of_a_group() {
    assert_eq!(readers_of_the_group(libraries()), [""; 0]);
}

#[test]
fn a_connector_that_breaks_these_rules_is_noticed() {
    let sink = "use crate::postgres::session::Session;
        impl<T> Sink<T> for Insert<T> {}";
    let session = "#[allow(unsafe_code)]
        use tokio_postgres::Error;
        impl Session {
            pub fn ask(&self) -> Result<u64, Error> { self.0.committed_offsets(list) }
            pub fn find(&self) -> redis::RedisResult<u64> { self.1 }
            pub fn count(&self) -> rtbflow::Result<u64> { self.2 }
            fn hidden(&self) -> Result<u64, Error> { self.3 }
        }";
    let files = [
        ("lib.rs", ""),
        ("postgres/mod.rs", ""),
        ("postgres/sinks/insert.rs", sink),
        ("postgres/session.rs", session),
    ];
    let code = Code::of(crate_of("rtbflow_sinks", &files));
    assert_eq!(
        reaching(&code),
        ["rtbflow_sinks/postgres/sinks/insert.rs knows rtbflow_sinks/postgres/session.rs"]
    );
    let session = "rtbflow_sinks/postgres/session.rs";
    assert_eq!(foreign_errors(&code), [format!("{session}: ask"), format!("{session}: find")]);
    assert_eq!(readers_of_the_group(&code), [session]);
    assert_eq!(unsafe_elsewhere(&code), [session]);
}
