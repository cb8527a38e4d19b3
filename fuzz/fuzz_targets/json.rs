//! JSON is decoded as serde_json decodes it, by the short cut of plain records as well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtbflow::Timestamp;
use rtbflow::codec::{Decoder, Plain, PlainFields, View, json, json_view};
use rtbflow::source::RawRecord;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// What is bound by the record's type.
#[derive(Debug, Clone, PartialEq, Deserialize, Default)]
struct Click<'a> {
    #[serde(borrow)]
    term: std::borrow::Cow<'a, str>,
    price: i64,
    order: Option<i64>,
}

struct Clicks;

impl View for Clicks {
    type Of<'a> = Click<'a>;

    fn plain(text: &str) -> Option<Click<'_>> {
        let mut fields = PlainFields::new(text)?;
        let (mut term, mut price, mut order) = (None, None, None);
        while let Some((name, value)) = fields.next_field()? {
            let twice = match (name, value) {
                ("term", Plain::Text(text)) => term.replace(text).is_some(),
                ("price", Plain::Whole(number)) => price.replace(number).is_some(),
                ("order", Plain::Whole(number)) => order.replace(Some(number)).is_some(),
                ("order", Plain::Null) => order.replace(None).is_some(),
                ("term" | "price" | "order", _) => true,
                _ => false,
            };
            if twice {
                return None;
            }
        }
        Some(Click { term: term?.into(), price: price?, order: order.flatten() })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let record = RawRecord::new(0, Timestamp::MIN, None, Some(bytes));
    let (ours, theirs) = (json::<Value>().decode(&record), serde_json::from_slice::<Value>(bytes));
    assert_eq!(ours.ok(), theirs.ok(), "any value");
    let own = |click: Click<'_>| Ok((click.term.into_owned(), click.price, click.order));
    let ours = json_view::<Clicks, _, _>(own).decode(&record).ok();
    let theirs = serde_json::from_slice::<Click<'_>>(bytes).ok();
    let theirs = theirs.map(|click| (click.term.into_owned(), click.price, click.order));
    // What is skipped may be nested deeper than serde_json looks.
    let is_deep = json::<IgnoredAny>().decode(&record).is_err();
    assert!(ours == theirs || (ours.is_none() && is_deep), "{ours:?}, and not {theirs:?}");
});
