//! Options and connection strings: what is taken means what it says, and no error and no `Debug` shows a password.
#![no_main]

use std::ffi::OsString;

use libfuzzer_sys::fuzz_target;
use rtbflow::Error;
use rtbflow_examples::options::{NoMore, Options, parse_duration, parse_share};
use rtbflow_kafka::Kafka;
use rtbflow_sinks::postgres::{Postgres, testing};
use rtbflow_sinks::redis::Redis;

const CANARY: &str = "canary-7f3a";

fn hides(shown: &str) {
    assert!(!shown.contains(CANARY), "{shown}");
}

fn hidden<T: std::fmt::Debug>(built: Result<T, Error>) {
    match built {
        Ok(built) => hides(&format!("{built:?}")),
        Err(error) => hides(&format!("{error:?} {error} {}", error.report())),
    }
}

fn urls(before: &str, behind: &str) {
    for url in [format!("{before}:{CANARY}@{behind}"), format!("user:{CANARY}{behind}")] {
        let postgres = format!("postgres://{url}");
        hidden(Postgres::connect_to(postgres.as_str()).build());
        hidden(testing::address(&postgres));
        hidden(Redis::connect_to(format!("redis://{url}")).build());
        hidden(Redis::connect_to(format!("rediss://{url}")).build());
    }
}

fn command_line(text: &str) {
    let given = format!("--kafka-option=sasl.password={CANARY}{text}");
    let arguments = [
        vec!["job".to_owned(), given.clone(), text.to_owned()],
        vec!["job".to_owned(), format!("--kafka-option={CANARY}"), given],
        vec!["job".to_owned(), format!("--redis=redis://:{CANARY}@{text}"), format!("--{text}")],
    ];
    for arguments in arguments {
        let arguments = arguments.into_iter().map(OsString::from);
        match Options::<NoMore>::read("job", "A job.", "group", arguments) {
            Ok(options) => hides(&format!("{options:?}")),
            Err(refusal) => hides(&format!("{refusal:?}")),
        }
    }
}

fuzz_target!(|input: (String, String, Vec<String>)| {
    let (first, second, options) = input;
    // The fuzzer has learned the password by heart: what it gives away itself is no fault.
    if [&first, &second].into_iter().chain(&options).any(|text| text.contains(CANARY)) {
        return;
    }
    if !first.contains(['@', '/', '?', '#']) {
        urls(&first, &second);
    }
    if let Ok(duration) = parse_duration(&first) {
        assert_eq!(parse_duration(&format!("{}ms", duration.as_millis())), Ok(duration));
    }
    if let Ok(share) = parse_share(&second) {
        assert!((0.0..=1.0).contains(&share));
    }
    let mut kafka = Kafka::new(second.as_str()).option("sasl.password", CANARY);
    for option in &options {
        kafka = kafka.option(option.as_str(), second.as_str());
    }
    hides(&format!("{kafka:?}"));
    command_line(&first);
    let (word, _) = testing::statement(&first);
    assert!(first.contains(word) && word.bytes().all(|byte| byte.is_ascii_alphabetic()));
    hides(&testing::version(&first));
});
