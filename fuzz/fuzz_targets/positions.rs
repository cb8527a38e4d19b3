//! A position that is read, of a changelog or of Redis, is written as one that is read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtbflow::epoch::TopicId;
use rtbflow_kafka::testing::reread_positions;
use rtbflow_sinks::redis::testing::{reread_position, seal, unseal};

/// With the checksum that fits, so that what is behind it is tried.
fn framed(version: u16, entries: &[u8]) -> Vec<u8> {
    let version = version.to_be_bytes();
    let mut checksum = crc32fast::Hasher::new();
    if version[0] & 0x80 != 0 {
        checksum.update(&version);
    }
    checksum.update(entries);
    [&version, &checksum.finalize().to_be_bytes()[..], entries].concat()
}

fuzz_target!(|input: (u8, Vec<u8>, String)| {
    let (version, bytes, text) = input;
    let version = u16::from(version) % 4 | if version > 127 { 0x8000 } else { 0 };
    for bytes in [framed(version, &bytes), bytes] {
        if let Ok((shown, written)) = reread_positions(&bytes) {
            assert_eq!(reread_positions(&written).unwrap(), (shown, written));
        }
    }
    if let Some((shown, written)) = reread_position(&text) {
        assert_eq!(reread_position(&written), Some((shown, written.clone())));
    }
    let sealed = seal("clicks/0", &text);
    assert_eq!(unseal("clicks/0", &sealed), Some(&*text));
    for at in 1..sealed.len() {
        assert!(
            sealed.get(..at).is_none_or(|cut| unseal("clicks/0", cut).is_none()),
            "cut at {at}"
        );
    }
    if let Ok(id) = text.parse::<TopicId>() {
        assert_eq!(id.to_string().parse::<TopicId>().unwrap(), id);
    }
});
