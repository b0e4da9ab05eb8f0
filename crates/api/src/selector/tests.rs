use super::*;

fn labels(text: &str) -> Map {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    Map(pairs.map(|(key, value)| (key.into(), value.into())).collect())
}

#[test]
fn matches_as_kubectl_does() {
    for (selector, object, matches) in [
        ("", "a=b", true),
        ("a=b", "a=b,c=d", true),
        ("a==b", "a=c", false),
        ("a=", "a=", true),
        ("a!=b", "c=d", true),
        ("a!=b", "a=b", false),
        ("a in (x, y)", "a=y", true),
        ("a in (x,y)", "", false),
        ("a notin (x,y)", "", true),
        ("a notin (x,y)", "a=x", false),
        ("a", "a=1", true),
        ("!a", "a=1", false),
        (" a = b , ! c ", "a=b", true),
        ("n>5", "n=6", true),
        ("n<5", "n=x", false),
        ("in", "in=1", true),
        ("kubernetes.io/service-name=web", "kubernetes.io/service-name=web", true),
    ] {
        let parsed = Selector::parse(selector).expect(selector);
        assert_eq!(parsed.matches(&labels(object)), matches, "{selector:?} on {object:?}");
        assert_eq!(Selector::parse(&parsed.to_string()), Ok(parsed), "{selector:?} read back");
    }
}

#[test]
fn what_is_no_selector_is_refused() {
    for text in ["=a", "a b", "a in", "a in (x", "a,", "a=b c", "n>x", "a=%", "!", "a in (x))"] {
        assert!(Selector::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_label_selector_of_an_object_means_the_same() {
    let json = r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"NotIn","values":["x","y"]},{"key":"d","operator":"Exists"}]}"#;
    let selector: LabelSelector = serde_json::from_str(json).expect("JSON");
    assert_eq!(Selector::try_from(&selector).expect("a selector").to_string(), "a=b,c notin (x,y),d");
    let unknown: LabelSelector = serde_json::from_str(r#"{"matchExpressions":[{"key":"c","operator":"Near"}]}"#).expect("JSON");
    assert!(Selector::try_from(&unknown).is_err());
}
