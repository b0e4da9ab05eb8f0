use serde_json::json;

use super::*;

#[test]
fn only_what_selectors_read_is_indexed() {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}, "uid": "u"},
        "spec": {"nodeName": "one", "containers": []},
        "status": {"phase": "Running"},
    });
    assert_eq!(
        of(&Gvk::new("", "v1", "Pod")).index(&pod),
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
fn an_event_survives_the_way_to_its_other_kind_and_back() {
    let core = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, "message": "m", "source": {"component": "c"},
                      "reportingComponent": "", "reportingInstance": "", "count": 2, "eventTime": null});
    let mut event = core.clone();
    event::outward(&mut event);
    assert_eq!(event["regarding"], json!({"kind": "Pod"}));
    assert_eq!((event["note"].as_str(), event["deprecatedCount"].as_i64()), (Some("m"), Some(2)));
    event::inward(&mut event);
    assert_eq!(event, core);
}
