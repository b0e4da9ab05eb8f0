use serde_json::json;

use super::*;

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
