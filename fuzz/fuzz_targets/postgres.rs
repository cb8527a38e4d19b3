//! A value of Postgres's is sent back as it came, or is refused; times are read to the millisecond.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtbflow_sinks::postgres::Date;
use rtbflow_sinks::postgres::testing::{count_elements, reread_column};

const TIMESTAMPTZ: usize = 9;
/// Numbers of 32 and of 16 bits are read as those of 64, and so are the smaller floats.
const WIDENED: [usize; 3] = [4, 5, 8];
const BOOL: usize = 6;

fuzz_target!(|input: (u8, Vec<u8>, String)| {
    let (number, raw, text) = input;
    let number = usize::from(number) % 11;
    if let Some((shown, written)) = reread_column(number, &raw) {
        match number {
            TIMESTAMPTZ => {
                let micros = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().unwrap());
                let lost = micros(&raw).checked_sub(micros(&written)).unwrap();
                assert!((0..1000).contains(&lost), "{shown}: {lost} microseconds");
            }
            BOOL => assert_eq!(written, [u8::from(raw[0] != 0)]),
            number if WIDENED.contains(&number) => assert_eq!(written.len(), 8),
            _ => assert_eq!(written, raw, "{shown}"),
        }
    }
    let (count, bytes) = count_elements(&raw);
    assert!(bytes <= raw.len() && 4 * count <= bytes);
    if let Ok(date) = text.parse::<Date>() {
        assert_eq!(date.to_string().parse::<Date>().unwrap(), date);
    }
});
