//! Redis's answers are read strictly: a page of state comes back as it was, and any other answer is an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtbflow::state::BucketChange;
use rtbflow_sinks::redis::testing::{answers, page, warnings};

/// Elements as a server sends them.
fn reply(elements: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", elements.len()).into_bytes();
    for element in elements {
        bytes.extend(format!("${}\r\n", element.len()).into_bytes());
        bytes.extend_from_slice(element);
        bytes.extend(b"\r\n");
    }
    bytes
}

fn check_page(next: &(String, u32), chunks: &[(i64, String, Vec<u8>)]) {
    let names: Vec<String> =
        chunks.iter().map(|(bucket, op, _)| format!("{bucket}:{op}")).collect();
    let skip = next.1.to_string();
    let mut elements = vec![next.0.as_bytes(), skip.as_bytes()];
    for (name, (_, _, bytes)) in names.iter().zip(chunks) {
        elements.extend([name.as_bytes(), &**bytes]);
    }
    let (read, more) = page(&reply(&elements)).unwrap();
    assert_eq!(more, (!next.0.is_empty()).then(|| format!("{skip}@{}", next.0)));
    assert_eq!(read.len(), chunks.len());
    for (read, (bucket, operator, bytes)) in read.iter().zip(chunks) {
        assert_eq!((read.bucket, &*read.operator), (*bucket, &**operator));
        assert_eq!(read.change, BucketChange::Append(bytes.clone().into()));
    }
    elements.push(b"1:half");
    assert!(page(&reply(&elements)).is_err(), "a chunk without its bytes");
}

fuzz_target!(|input: (
    (String, u32),
    Vec<(i64, String, Vec<u8>)>,
    Vec<Vec<u8>>,
    Vec<u8>,
    String
)| {
    let (next, chunks, elements, raw, info) = input;
    check_page(&next, &chunks);
    let elements: Vec<&[u8]> = elements.iter().map(|element| &**element).collect();
    let listed = reply(&elements);
    assert!(answers(&listed).unwrap().contains(&"elements"));
    for bytes in [listed, raw] {
        let _ = answers(&bytes);
        if let Ok((chunks, _)) = page(&bytes) {
            let sum: usize = chunks.iter().map(rtbflow::state::Chunk::len).sum();
            assert!(sum <= bytes.len(), "nothing is made of nothing");
        }
    }
    if let Ok(warnings) = warnings(&info) {
        assert!(warnings <= 2);
    }
});
