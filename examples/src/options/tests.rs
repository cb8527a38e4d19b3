//! Tests of the command line.

use super::*;

fn read(arguments: &[&str]) -> Result<Options<NoMore>, Refusal> {
    let arguments = std::iter::once("worker").chain(arguments.iter().copied());
    Options::read("worker", "Works.", "worker-group", arguments.map(OsString::from))
}

#[test]
fn defaults_are_those_of_the_contract() {
    let common = read(&["--kafka", "k:1"]).unwrap().common;
    assert_eq!(common.group, "worker-group");
    assert_eq!(common.commit_interval, Duration::from_millis(100));
    assert_eq!(common.out_of_orderness, Duration::from_secs(5));
    assert_eq!(common.idle_timeout, Duration::from_secs(10));
    assert_eq!(common.max_ahead, Duration::from_secs(3600));
    assert_eq!(common.connect_timeout, Duration::from_secs(30));
    assert_eq!(common.dead_letter, DeadLetterChoice::Topic);
    assert!(!common.until_end && !common.print_topology && !common.create_topics);
    assert_eq!((common.verbose, common.metrics), (0, None));
    assert_eq!(common.kafka().unwrap(), "k:1");
}

#[test]
fn every_option_is_read() {
    let common = read(&[
        "--kafka=a:1,b:2",
        "--group",
        "g",
        "--create-topics",
        "--create-tables",
        "--dead-letter",
        "fail",
        "--kafka-option",
        "security.protocol=ssl",
        "--kafka-option",
        "sasl.password=a=b",
        "--metrics",
        "127.0.0.1:9464",
        "--until-end",
        "--max-late",
        "5%",
        "--max-bad=0%",
        "-v",
        "--connect-timeout",
        "1m30s",
    ])
    .unwrap()
    .common;
    assert_eq!((&*common.group, common.dead_letter), ("g", DeadLetterChoice::Fail));
    let options = common.kafka_options().unwrap();
    assert_eq!(options, [("security.protocol", "ssl"), ("sasl.password", "a=b")]);
    assert_eq!((common.verbose, common.connect_timeout), (1, Duration::from_secs(90)));
    assert!(common.metrics.is_some() && common.until_end);
    assert_eq!((common.max_late, common.max_bad), (Some(0.05), Some(0.0)));
}

#[test]
fn help_lists_every_option_and_is_no_error() {
    let help = read(&["--help"]).unwrap_err();
    assert!(!help.is_error());
    let help = help.to_string();
    for option in "--kafka --redis --postgres --redis-ca --postgres-ca --group --create-topics --create-tables --commit-interval \
                   --out-of-orderness --idle-timeout --max-ahead --dead-letter --max-late --max-bad --kafka-option --metrics \
                   --until-end --print-topology --begin-anew --instance --instances --failover-after --confirm --keep-results --accept-loss reset --connect-timeout --verbose RTBFLOW_KAFKA RTBFLOW_REDIS \
                   RTBFLOW_POSTGRES worker-group"
        .split_whitespace()
    {
        assert!(help.contains(option), "{option} in {help}");
    }
}

#[test]
fn a_wrong_option_is_named_and_a_secret_is_not() {
    for (arguments, says) in [
        (&["--no-such-option"][..], "no-such-option"),
        (&["--commit-interval", "soon"], "commit-interval"),
        (&["--commit-interval", "0ms"], "commit-interval"),
        (&["--dead-letter", "drop"], "dead-letter"),
        (&["--metrics", "here"], "metrics"),
        (&["--max-late", "5"], "max-late"),
        (&["--max-bad", "-1%"], "max-bad"),
        (&["--max-bad", "NaN%"], "max-bad"),
        (&["--kafka-option", "sasl.password S3cret"], "--kafka-option number 1"),
        (&["--kafka-option", "=S3cret"], "--kafka-option number 1"),
        (&["--postgress=postgres://u:S3cret@h/x"], "postgress"),
        (&["postgres://u:S3cret@h/x"], "COMMAND"),
        // As it is shown there would be no such character.
        (&["postgres://u:S3\u{1b}[1mcret@h/x"], "control character"),
        (&["--until-end=postgres://u:S3cret@h/x"], "until-end"),
    ] {
        let refusal = read(arguments).unwrap_err();
        assert!(refusal.is_error());
        let text = refusal.to_string();
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("S3cret"), "{text}");
    }
}

#[test]
fn a_missing_server_is_a_configuration_error_that_says_what_to_give() {
    let mut common = read(&[]).unwrap().common;
    common.redis = None;
    let error = common.redis().unwrap_err();
    assert!(error.is_config());
    assert!(error.report().contains("--redis") && error.report().contains("RTBFLOW_REDIS"));
}

#[test]
fn authorities_of_certificates_are_given_to_the_places() {
    let common = read(&[
        "--redis=rediss://u:S3cret@h/1",
        "--redis-ca=/no/such/redis.pem",
        "--postgres=postgres://u:S3cret@h/x",
        "--postgres-ca=/no/such/postgres.pem",
    ])
    .unwrap()
    .common;
    let redis = common.to_redis().unwrap().build().unwrap_err();
    assert!(redis.is_config() && redis.to_string().contains("/no/such/redis.pem"), "{redis:?}");
    let postgres = common.to_postgres().unwrap().build().unwrap_err();
    let named = postgres.to_string().contains("/no/such/postgres.pem");
    assert!(postgres.is_config() && named, "{postgres:?}");
}

#[test]
fn debug_shows_no_secret() {
    let options = read(&[
        "--redis",
        "redis://:S3cret@h",
        "--postgres",
        "postgres://u:S3cret@h/x",
        "--kafka-option",
        "sasl.password=S3cret",
    ])
    .unwrap();
    assert!(!format!("{options:?}").contains("S3cret"));
    assert_eq!(options.common.redis().unwrap(), "redis://:S3cret@h");
}

#[test]
fn a_reset_may_stand_anywhere_and_what_belongs_to_it_stands_with_it_only() {
    for arguments in
        [&["reset", "--group", "g", "--confirm"][..], &["--group", "g", "reset", "--confirm"]]
    {
        let common = read(arguments).unwrap().common;
        assert_eq!((common.command, common.confirm), (Some(Command::Reset), true));
    }
    assert_eq!(read(&["--instance", "a"]).unwrap().common.instance.as_deref(), Some("a"));
    let named = read(&["--instances", "a,b"]).unwrap().common;
    assert_eq!(named.instances, ["a", "b"]);
    assert_eq!(named.failover_after, Duration::from_millis(600));
    assert!(read(&["--instances", "a,b", "--instance", "a"]).unwrap_err().is_error());
    for arguments in [&["--confirm"][..], &["--keep-results"], &["--accept-loss"], &["rest"]] {
        assert!(read(arguments).unwrap_err().is_error(), "{arguments:?}");
    }
    for (option, flag) in OWN_FLAGS {
        let refused = read(&["--kafka-option", &format!("{option}=a")]).unwrap_err();
        assert!(refused.is_error() && refused.to_string().contains(flag), "{refused}");
    }
}
