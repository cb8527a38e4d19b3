//! A dead letter fits into its topic, has its own headers first and ours last, and says what it was cut to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtbflow::epoch::{DeadLetter, Original};
use rtbflow::{BadRecord, Origin, Partition, Topic};
use rtbflow_kafka::testing::write_letter;

type Header = (String, Option<Vec<u8>>);

/// A name that a client takes: it is a text of C.
fn header((name, value): &Header) -> Header {
    (name.replace('\0', "_"), value.clone())
}

fuzz_target!(|input: (Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>, String, u16, (i32, i64))| {
    let (key, value, headers, reason, most, (number, offset)) = input;
    let headers: Vec<Header> = headers.iter().map(header).collect();
    let origin = Origin::new(Partition::new(Topic::new("clicks"), number), offset);
    let original = Original::new(key.clone(), value.clone(), headers.clone());
    let letter = DeadLetter::record(origin, original, BadRecord::new(reason));
    let most = usize::from(most);
    let Ok((written, payload)) = write_letter(&letter, "job", most) else {
        let own: usize =
            headers.iter().map(|(n, v)| n.len() + 10 + v.as_ref().map_or(0, Vec::len)).sum();
        let rest = own + key.map_or(0, |key| key.len()) + letter.reason.reason().len();
        assert!(rest + 600 > most, "{rest} of {most} bytes are refused");
        return;
    };
    assert_eq!(written.get(..headers.len()), Some(&*headers), "its own are unchanged");
    let last = |name: &str| written.iter().rfind(|(n, _)| n == name).and_then(|(_, v)| v.clone());
    let text = |name| last(name).map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(text("rtbflow-partition"), Some(number.to_string()));
    assert_eq!(text("rtbflow-offset"), Some(offset.to_string()));
    assert_eq!(text("rtbflow-error").as_deref(), Some(letter.reason.reason()));
    assert!(!letter.reason.reason().contains('\n'), "the reason is one line");
    let size = payload.as_ref().map_or(0, Vec::len) + key.as_ref().map_or(0, Vec::len);
    let all: usize = written.iter().map(|(n, v)| n.len() + v.as_ref().map_or(0, Vec::len)).sum();
    assert!(size + all <= most, "{} of {most}", size + all);
    if payload != value {
        assert_eq!(text("rtbflow-cut"), value.as_ref().map(|value| value.len().to_string()));
        assert!(value.unwrap().starts_with(&payload.unwrap()));
    }
});
