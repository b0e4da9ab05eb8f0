use super::*;

#[test]
fn times_are_read_and_written_in_utc() {
    for (text, seconds, written) in [
        ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
        ("2024-02-29T23:59:59Z", 1_709_251_199, "2024-02-29T23:59:59Z"),
        ("2024-03-01T01:29:59.5+01:30", 1_709_251_199, "2024-02-29T23:59:59Z"),
        ("1969-12-31T23:59:59Z", -1, "1969-12-31T23:59:59Z"),
    ] {
        let time = Time::parse(text).expect(text);
        assert_eq!((time.seconds, time.to_string().as_str()), (seconds, written));
    }
    assert_eq!(Time::parse("2024-01-01T00:00:00.123456Z").map(Time::to_micro_string).as_deref(), Some("2024-01-01T00:00:00.123456Z"));
}

#[test]
fn what_is_no_time_is_refused() {
    for text in
        ["", "2024-01-01", "2024-13-01T00:00:00Z", "2024-01-01T25:00:00Z", "2024-01-01T00:00:00", "2024-01-01T00:00:00.Z", "äöüäöüäöü"]
    {
        assert_eq!(Time::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_port_is_a_number_or_a_name() {
    let read = |json| serde_json::from_str::<IntOrString>(json).ok();
    assert_eq!(read("80"), Some(IntOrString::Int(80)));
    assert_eq!(read("\"http\""), Some(IntOrString::String("http".into())));
    assert_eq!(read("4294967296"), None);
    assert_eq!(read("1.5"), None);
}
