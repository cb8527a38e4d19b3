//! Tests: a slow second opinion on randomly spoilt records; beside it the contract's words, case by case.

mod cases;

use proptest::prelude::*;
use rtbflow::Timestamp;
use rtbflow::codec::{Decoder, View, json_view};
use rtbflow::source::RawRecord;
use serde_json::Value;

use super::*;

fn record(value: &[u8]) -> RawRecord<'_> {
    RawRecord::new(0, Timestamp::MIN, None, Some(value))
}

fn decodes<V: View>(value: &[u8]) -> bool {
    json_view::<V, _, _>(|_| Ok(())).decode(&record(value)).is_ok()
}

/// What a field must be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Time,
    Times,
    Text,
    Whole,
    Targeting,
    Names(&'static [&'static str]),
}
use Kind::*;

/// A field: its name, what it must be, whether it may be missing, and a good value.
type Field = (&'static str, Kind, bool, &'static str);

struct Topic {
    decodes: fn(&[u8]) -> bool,
    fields: &'static [Field],
}

const PLACEMENT: Kind = Names(&["HOME", "CATEGORY", "PRODUCT_DETAIL", "SEARCH"]);
const AT: &str = r#""2024-01-15T10:30:00.123Z""#;

const TOPICS: [Topic; 4] = [
    Topic {
        decodes: decodes::<Ads>,
        fields: &[
            ("event_type", Names(&["IMPRESSION", "CLICK", "CONVERSION"]), false, r#""CLICK""#),
            ("timestamp", Time, false, AT),
            ("device_id", Text, false, r#""device_1""#),
            ("session_id", Text, false, r#""session_1""#),
            ("ad_id", Text, false, r#""ad_1""#),
            ("campaign_id", Text, false, r#""campaign_100""#),
            ("advertiser_id", Text, false, r#""advertiser \"\u00e9\ud83d\ude00\"""#),
            ("product_id", Text, false, r#""product_1""#),
            ("placement", PLACEMENT, false, r#""HOME""#),
            ("bid_price", Whole, false, "1500"),
            ("actual_price", Whole, true, "1200"),
            ("search_term", Text, true, r#""노트북""#),
            ("category", Text, false, r#""전자제품/컴퓨터""#),
            ("revenue_amount", Whole, true, "0"),
            ("order_id", Text, true, r#""""#),
        ],
    },
    Topic {
        decodes: decodes::<Campaigns>,
        fields: &[
            (
                "event_type",
                Names(&[
                    "CAMPAIGN_CREATED",
                    "CAMPAIGN_UPDATED",
                    "CAMPAIGN_APPROVED",
                    "CAMPAIGN_STATUS_CHANGED",
                ]),
                false,
                r#""CAMPAIGN_UPDATED""#,
            ),
            ("timestamp", Time, false, AT),
            ("campaign_id", Text, false, r#""c""#),
            ("advertiser_id", Text, false, r#""a""#),
            ("product_id", Text, false, r#""p""#),
            ("placement", PLACEMENT, false, r#""SEARCH""#),
            ("category", Text, false, r#""식품/커피""#),
            ("bid_price", Whole, false, "9223372036854775807"),
            ("daily_budget", Whole, false, "0"),
            ("status", Names(&["PENDING", "ACTIVE", "PAUSED", "DELETED"]), false, r#""ACTIVE""#),
            (
                "approval_status",
                Names(&["PENDING", "APPROVED", "REJECTED"]),
                false,
                r#""APPROVED""#,
            ),
            ("targeting", Targeting, true, r#"{"device_types":["MOBILE"],"more":1}"#),
            ("effective_from", Time, true, AT),
            ("rtb_impact", Names(&["HIGH", "MEDIUM", "LOW"]), false, r#""LOW""#),
        ],
    },
    Topic {
        decodes: decodes::<Conversions>,
        fields: &[
            ("timestamp", Time, false, AT),
            ("device_id", Text, false, r#""d""#),
            ("session_id", Text, false, r#""s""#),
            ("order_id", Text, true, r#""o""#),
            ("product_id", Text, false, r#""p""#),
            ("revenue_amount", Whole, false, "5000"),
            (
                "conversion_type",
                Names(&["PURCHASE", "ADD_TO_CART", "SIGNUP"]),
                false,
                r#""PURCHASE""#,
            ),
            ("attribution_window", Whole, true, "24"),
            ("referrer_url", Text, true, r#""https:\/\/example.com""#),
        ],
    },
    Topic {
        decodes: decodes::<Compensations>,
        fields: &[
            ("timestamp", Time, false, AT),
            ("advertiser_id", Text, false, r#""a""#),
            ("campaign_id", Text, false, r#""c""#),
            ("ad_id", Text, false, r#""ad""#),
            ("device_id", Text, false, r#""d""#),
            ("duplicate_click_count", Whole, false, "3"),
            ("refund_amount", Whole, false, "2400"),
            ("original_click_timestamps", Times, false, r#"["2024-01-15T10:30:15Z"]"#),
            ("detection_window", Names(&["5_MINUTES"]), false, r#""5_MINUTES""#),
            (
                "reason",
                Names(&["DUPLICATE_CLICK_DETECTED"]),
                false,
                r#""DUPLICATE_CLICK_DETECTED""#,
            ),
            ("compensation_type", Names(&["BALANCE_REFUND"]), false, r#""BALANCE_REFUND""#),
        ],
    },
];

fn text_of(fields: &[(String, String)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!("{{{}}}", fields.join(","))
}

fn good(topic: &Topic) -> Vec<(String, String)> {
    let pair = |(name, _, _, value): &Field| ((*name).to_owned(), (*value).to_owned());
    topic.fields.iter().map(pair).collect()
}

/// The same without an escape: what a short cut can read.
fn plain_of(topic: &Topic) -> Vec<(String, String)> {
    let mut fields = good(topic);
    for (_, value) in &mut fields {
        if value.contains('\\') {
            r#""plain""#.clone_into(value);
        }
    }
    fields
}

/// [`Ads`] without the short cut.
struct ParsedAds;

impl View for ParsedAds {
    type Of<'a> = Object<AdView<'a>>;
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.contains('\0'))
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok())
}

fn is_list(value: &Value, of: fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(of))
}

fn fits(kind: Kind, value: &Value) -> bool {
    match kind {
        Time => is_time(value),
        Times => is_list(value, is_time),
        Text => is_text(value),
        Whole => value.as_i64().is_some_and(|number| number >= 0),
        Names(names) => value.as_str().is_some_and(|name| names.contains(&name)),
        Targeting => value.as_object().is_some_and(|targeting| {
            ["device_types", "age_groups"].iter().all(|name| match targeting.get(*name) {
                None | Some(Value::Null) => true,
                Some(list) => is_list(list, is_text),
            })
        }),
    }
}

/// What the contract says of a record of these fields, in no hurry.
fn second_opinion(topic: &Topic, fields: &[(String, String)]) -> bool {
    let find = |name: &str| -> Vec<Option<Value>> {
        let named = fields.iter().filter(|(other, _)| other == name);
        named.map(|(_, text)| serde_json::from_str(text).ok()).collect()
    };
    let each = topic.fields.iter().all(|(name, kind, optional, _)| match &*find(name) {
        [] | [Some(Value::Null)] => *optional,
        [Some(value)] => fits(*kind, value),
        _ => false,
    });
    let price = || matches!(&*find("actual_price"), [Some(Value::Number(_))]);
    each && (find("event_type") != [Some(Value::from("CLICK"))] || price())
}

/// Values, most of which do not belong where they are put.
const VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "1",
    "-1",
    "12.0",
    "1e3",
    "1E0",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1e400",
    r#""""#,
    r#""12""#,
    r#""한글 \u0041""#,
    r#""a\u0000b""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    "[]",
    r#"["x"]"#,
    r#"["CLICK"]"#,
    "{}",
    r#"{"CLICK":null}"#,
    r#"{"device_types":["MOBILE",null]}"#,
    r#"{"device_types":null,"age_groups":[]}"#,
    r#"{"age_groups":"20-29"}"#,
    r#"[["MOBILE"],["20-29"]]"#,
    r#""CLICK""#,
    r#""click""#,
    r#""CL\u0049CK""#,
    r#""IMPRESSION""#,
    r#""HOME""#,
    r#""ACTIVE""#,
    r#""PENDING""#,
    r#""2024-01-15T10:30:00Z""#,
    r#""2024-01-15T10:30:00.1239999+09:00""#,
    r#""2024-01-15 10:30:00Z""#,
    r#""2024-01-15T10:30:00""#,
    r#""2024-01-15T24:00:00Z""#,
    r#""2024-01-15T10:30:60Z""#,
    r#"["2024-01-15T10:30:00Z",1]"#,
];

#[derive(Debug, Clone)]
enum Spoil {
    Replace(prop::sample::Index, &'static str),
    Remove(prop::sample::Index),
    Twice(prop::sample::Index, &'static str),
    Unknown(&'static str),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let index = any::<prop::sample::Index>;
    let value = || prop::sample::select(VALUES);
    prop_oneof![
        4 => (index(), value()).prop_map(|(at, value)| Spoil::Replace(at, value)),
        1 => index().prop_map(Spoil::Remove),
        1 => (index(), value()).prop_map(|(at, value)| Spoil::Twice(at, value)),
        2 => value().prop_map(Spoil::Unknown),
        2 => (index(), index()).prop_map(|(a, b)| Spoil::Swap(a, b)),
    ]
}

fn apply(spoil: &Spoil, fields: &mut Vec<(String, String)>) {
    let count = fields.len();
    match spoil {
        Spoil::Replace(at, value) => fields[at.index(count)].1 = (*value).to_owned(),
        Spoil::Remove(at) => drop(fields.remove(at.index(count))),
        Spoil::Twice(at, value) => {
            let name = fields[at.index(count)].0.clone();
            fields.push((name, (*value).to_owned()));
        }
        Spoil::Unknown(value) => fields.push(("unknown".to_owned(), (*value).to_owned())),
        Spoil::Swap(a, b) => fields.swap(a.index(count), b.index(count)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn agrees_with_the_second_opinion(
        topic in 0..TOPICS.len(),
        plain in any::<bool>(),
        spoils in prop::collection::vec(spoil(), 0..4),
    ) {
        let topic = &TOPICS[topic];
        let mut fields = if plain { plain_of(topic) } else { good(topic) };
        for spoil in &spoils {
            apply(spoil, &mut fields);
        }
        let text = text_of(&fields);
        prop_assert_eq!(
            (topic.decodes)(text.as_bytes()),
            second_opinion(topic, &fields),
            "{}", text
        );
    }

    #[test]
    fn the_short_cut_agrees_with_the_parser(
        spoils in prop::collection::vec(spoil(), 0..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut fields = plain_of(&TOPICS[0]);
        for spoil in &spoils {
            apply(spoil, &mut fields);
        }
        let mut text = text_of(&fields);
        if let Some(cut) = cut {
            text = text.chars().take(cut.index(text.len())).collect();
        }
        let parsed = json_view::<ParsedAds, _, _>(|Object(ad)| Ok(format!("{ad:?}")));
        if let Some(Object(ad)) = Ads::plain(&text) {
            prop_assert_eq!(Some(format!("{ad:?}")), parsed.decode(&record(text.as_bytes())).ok());
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..400) {
        for topic in &TOPICS {
            let whole = text_of(&good(topic)).into_bytes();
            let cut = cut.min(whole.len());
            (topic.decodes)(&bytes);
            let spoilt = [&whole[..cut], &bytes[..], &whole[cut..]].concat();
            (topic.decodes)(&spoilt);
        }
    }
}
