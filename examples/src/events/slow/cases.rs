//! The contract's words, case by case.

use super::*;

/// The good record of the ad topic with one field replaced.
fn ad_with(name: &str, value: &str) -> Vec<u8> {
    let mut fields = good(&TOPICS[0]);
    match fields.iter_mut().find(|(other, _)| other == name) {
        Some((_, old)) => value.clone_into(old),
        None => fields.push((name.to_owned(), value.to_owned())),
    }
    text_of(&fields).into_bytes()
}

#[test]
fn every_good_record_decodes() {
    for topic in &TOPICS {
        let mut fields = good(topic);
        assert!((topic.decodes)(text_of(&fields).as_bytes()), "{}", text_of(&fields));
        let is_optional = |name: &str| topic.fields.iter().any(|field| field.0 == name && field.2);
        fields.retain(|(name, _)| name == "actual_price" || !is_optional(name));
        assert!((topic.decodes)(text_of(&fields).as_bytes()), "{}", text_of(&fields));
    }
}

#[test]
fn a_plain_record_takes_the_short_cut() {
    let mut fields = plain_of(&TOPICS[0]);
    assert!(Ads::plain(&text_of(&fields)).is_some());
    fields.retain(|(name, _)| name != "search_term" && name != "order_id");
    fields.reverse();
    fields.push(("unknown".to_owned(), "7".to_owned()));
    assert!(Ads::plain(&text_of(&fields).replace(':', " : ")).is_none(), "a time with blanks");
    assert!(Ads::plain(&text_of(&fields).replace("\":", "\" :  ")).is_some());
    assert!(Ads::plain(&text_of(&good(&TOPICS[0]))).is_none(), "an escape is for the parser");
}

#[test]
fn a_needed_field_may_be_neither_missing_nor_null_nor_doubled() {
    for topic in &TOPICS {
        for (name, _, optional, value) in topic.fields {
            let with = |change: &dyn Fn(&mut Vec<(String, String)>)| {
                let mut fields = good(topic);
                change(&mut fields);
                (topic.decodes)(text_of(&fields).as_bytes())
            };
            let free = *optional && *name != "actual_price";
            assert_eq!(with(&|fields| fields.retain(|f| f.0 != *name)), free, "{name} missing");
            let null = |fields: &mut Vec<(String, String)>| {
                for field in fields.iter_mut().filter(|field| field.0 == *name) {
                    field.1 = "null".to_owned();
                }
            };
            assert_eq!(with(&null), free, "{name} null");
            let twice = |fields: &mut Vec<(String, String)>| {
                fields.push(((*name).to_owned(), (*value).to_owned()));
            };
            assert!(!with(&twice), "{name} twice");
        }
    }
}

#[test]
fn whole_numbers() {
    let price = |text: &str| {
        let event = ad_clicks().decode(&record(&ad_with("actual_price", text))).ok()?;
        event.click.map(|click| click.actual_price)
    };
    assert_eq!(price("0"), Some(0));
    assert_eq!(price("-0"), Some(0));
    assert_eq!(price(" 9223372036854775807 "), Some(i64::MAX));
    for bad in ["9223372036854775808", "-1", "12.0", "-0.0", "1e3", "\"12\"", "true", "[1]", "01"] {
        assert_eq!(price(bad), None, "{bad}");
    }
}

#[test]
fn an_impression_needs_no_price_and_a_wrong_one_does_not_decode() {
    for (event_type, price, good) in [
        ("IMPRESSION", "null", true),
        ("CONVERSION", "99", true),
        ("IMPRESSION", "-1", false),
        ("CLICK", "null", false),
    ] {
        let mut fields = good_ad();
        fields[0].1 = format!("\"{event_type}\"");
        fields[10].1 = price.to_owned();
        assert_eq!(decodes::<Ads>(text_of(&fields).as_bytes()), good, "{event_type} {price}");
    }
}

fn good_ad() -> Vec<(String, String)> {
    good(&TOPICS[0])
}

#[test]
fn texts() {
    for (text, good) in [
        (r#""\u0041\"한""#, true),
        (r#""\ud83d\ude00""#, true),
        (r#""\u0000""#, false),
        (r#""\ud800""#, false),
        ("\"a\u{1}\"", false),
        ("7", false),
    ] {
        assert_eq!(decodes::<Ads>(&ad_with("search_term", text)), good, "{text}");
    }
}

#[test]
fn fields_that_nobody_knows_hold_anything() {
    for value in [r#""\u0000\ud800""#, "1e400", "[1.5,null,{\"a\":{}}]", "-1"] {
        assert!(decodes::<Ads>(&ad_with("unknown", value)), "{value}");
    }
    assert!(decodes::<Ads>(&ad_with(r"\ud800", "1")), "a name that is no text");
    let escaped = text_of(&good_ad()).replace("campaign_id", r"\u0063ampaign_id");
    assert!(decodes::<Ads>(escaped.as_bytes()), "a name of ours, written with an escape");
    assert!(!decodes::<Ads>(&ad_with(r"\u0063ampaign_id", "\"c\"")), "the same name twice");
}

#[test]
fn only_objects_are_objects_and_only_strings_are_names() {
    let array: Vec<String> = good_ad().into_iter().map(|(_, value)| value).collect();
    assert!(!decodes::<Ads>(format!("[{}]", array.join(",")).as_bytes()));
    assert!(!decodes::<Ads>(&ad_with("event_type", r#"{"CLICK":null}"#)));
    for bad in ["", "null", "\"x\"", "7", "{}", "[", "not json", "\u{feff}{}"] {
        assert!(!decodes::<Ads>(bad.as_bytes()), "{bad}");
    }
    assert!(!decodes::<Ads>(b"\xff\xfe\x00"));
}

#[test]
fn nesting_beyond_128_levels_does_not_decode() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(decodes::<Ads>(&ad_with("unknown", &nested(127))));
    assert!(!decodes::<Ads>(&ad_with("unknown", &nested(128))));
    assert!(!decodes::<Ads>(nested(5_000).as_bytes()));
}

#[test]
fn an_empty_order_is_none() {
    let order = |text: &str| {
        let view = json_view::<Ads, _, _>(|Object(ad)| Ok(ad.order().map(str::to_owned)));
        view.decode(&record(&ad_with("order_id", text))).unwrap()
    };
    assert_eq!(order(r#""""#), None);
    assert_eq!(order("null"), None);
    assert_eq!(order(r#""o""#).as_deref(), Some("o"));
}

#[test]
fn a_click_is_projected_to_what_it_costs_whom() {
    let bytes = ad_with("timestamp", r#""2024-01-15T19:30:00.1239+09:00""#);
    let event = ad_clicks().decode(&record(&bytes)).unwrap();
    let click = event.click.unwrap();
    assert_eq!(event.timestamp.to_string(), "2024-01-15T10:30:00.123Z");
    assert_eq!((&*click.advertiser_id, click.actual_price), ("advertiser \"é😀\"", 1200));
    let metric = ad_metrics().decode(&record(&bytes)).unwrap();
    assert_eq!((&*metric.campaign_id, metric.happened), ("campaign_100", Happened::Click(1200)));
    let bytes = ad_with("event_type", r#""CONVERSION""#);
    assert_eq!(ad_clicks().decode(&record(&bytes)).unwrap().click, None);
    assert_eq!(ad_metrics().decode(&record(&bytes)).unwrap().happened, Happened::Conversion(0));
}
