use serde_json::{Value, json};

use super::*;
use crate::schema::Gvk;

fn core(kind: &str) -> Gvk {
    Gvk::new("", "v1", kind)
}

/// What is indexed of an object of some core kind.
fn indexed(kind: &str, object: &Value) -> Index {
    Selectable::of(&core(kind)).index(object)
}

fn labelled(labels: &Value) -> Index {
    indexed("ConfigMap", &json!({"metadata": {"name": "n", "labels": labels}}))
}

#[test]
fn label_requirements_hold_as_kubernetes_says() {
    let object = labelled(&json!({"app": "web", "n": "5", "empty": ""}));
    for (text, holds) in [
        ("", true),
        ("app", true),
        ("!app", false),
        ("!nope", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web", true),
        ("app!=web", false),
        ("nope!=x", true),
        ("app in (a, web)", true),
        ("app notin (a,b)", true),
        ("nope notin (a)", true),
        ("app in (a)", false),
        ("n>4", true),
        ("n>5", false),
        ("n<6,app", true),
        ("app>1", false),
        ("empty=", true),
        ("empty in ()", true),
        ("empty in (,a)", true),
        ("nope=", false),
        ("app=web,n=5", true),
        ("app=web,n=6", false),
        ("in in (in)", false),
        (" app , n ", true),
    ] {
        assert_eq!(Labels::parse(text).map(|labels| labels.matches(&object)), Ok(holds), "{text:?}");
    }
}

#[test]
fn wrong_label_selectors_are_refused_in_the_servers_words() {
    for (text, reason) in [
        ("bad key=1", "unable to parse requirement: found 'key', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("!!x", "unable to parse requirement: found '!', expected: identifier"),
        ("a,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"),
    ] {
        assert_eq!(Labels::parse(text).map(drop), Err(reason.to_owned()), "{text:?}");
    }
    assert!(Labels::parse("_a=b").is_err());
    assert!(Labels::parse("a=-b").is_err());
}

#[test]
fn only_what_selectors_read_is_indexed() {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}, "uid": "u"},
        "spec": {"nodeName": "one", "containers": []},
        "status": {"phase": "Running"},
    });
    assert_eq!(
        indexed("Pod", &pod),
        Index::new([
            ("metadata.name", "p"),
            ("metadata.namespace", "n"),
            ("metadata.labels.a", "b"),
            ("spec.nodeName", "one"),
            ("status.phase", "Running"),
        ])
    );
}

#[test]
fn field_terms_hold_as_kubernetes_says() {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIPs": [{"ip": "1"}, {"ip": "2"}]}});
    let pod = indexed("Pod", &pod);
    for (text, holds) in [
        ("", true),
        ("metadata.name=p", true),
        ("metadata.name==p", true),
        ("metadata.name!=p", false),
        ("status.phase!=Failed,status.phase!=Succeeded", true),
        ("spec.nodeName=n1,metadata.namespace=ns", true),
        ("spec.nodeName=", false),
        ("spec.host=n1", true),
        ("spec.hostNetwork=false", true),
        ("status.podIPs=1", false),
        ("=", true),
    ] {
        assert_eq!(Fields::parse(&core("Pod"), text).map(|fields| fields.matches(&pod)), Ok(holds), "{text:?}");
    }
    let event = json!({"involvedObject": {"name": "a", "kind": "Pod"}, "reason": "R", "source": {"component": "me"}});
    let event = indexed("Event", &event);
    assert_eq!(Fields::parse(&core("Event"), "involvedObject.name=a,source=me,reason=R").map(|fields| fields.matches(&event)), Ok(true));
    assert_eq!(Fields::parse(&core("Pod"), "metadata.name=x").expect("parses").name(), Some("x"));
}

#[test]
fn unknown_fields_are_refused_in_the_servers_words() {
    for (kind, text, reason) in [
        ("Service", "spec.bogus=x", "field label not supported: spec.bogus"),
        ("Node", "metadata.namespace=x", "field label not supported: metadata.namespace"),
        ("ConfigMap", "spec.foo=x", "\"spec.foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
        ("Pod", "bogus", "invalid selector: 'bogus'; can't understand 'bogus'"),
        ("Pod", "metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
        ("Pod", "metadata.name=a\\b", "invalid field selector: invalid escape sequence: \\b"),
    ] {
        assert_eq!(Fields::parse(&core(kind), text).map(drop), Err(reason.to_owned()), "{text:?}");
    }
}

#[test]
fn any_text_parses_or_is_refused() {
    let mut random = crate::testing::Random::new(5);
    let parts = ["a", "in", "notin", "(", ")", ",", "=", "!", ">", "<", " ", "\\", "é", "\0", "metadata.name", "1"];
    for _ in 0..20_000 {
        let text: String = (0..random.below(9)).map(|_| parts[random.below(parts.len())]).collect();
        let object = labelled(&json!({"a": "1"}));
        let _ = Labels::parse(&text).map(|labels| labels.matches(&object));
        let _ = Fields::parse(&core("Pod"), &text).map(|fields| fields.matches(&object));
    }
}
