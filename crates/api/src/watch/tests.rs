use super::*;
use crate::Service;
use crate::protobuf::tests::{bytes, envelope, service};

fn frame(event_type: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let event = [bytes(1, event_type), bytes(2, bytes(1, envelope("v1", kind, object)))].concat();
    [(event.len() as u32).to_be_bytes().to_vec(), event].concat()
}

/// Feeds a stream byte by byte and whole; both must give the same events, shown in short.
fn check(encoding: Encoding, stream: &[u8], expected: &[&str]) {
    for step in [1, stream.len()] {
        let mut frames = Frames::new(encoding);
        let mut found = Vec::new();
        for chunk in stream.chunks(step) {
            frames.feed(chunk);
            while let Some(frame) = frames.next_frame().expect("small frames") {
                found.push(show(Event::<Service>::decode(encoding, frame)));
            }
        }
        assert_eq!(found, expected, "in steps of {step} bytes");
    }
}

fn show(event: Result<Event<Service>, DecodeError>) -> String {
    match event {
        Ok(Event::Added(service)) => format!("added {}", service.metadata.name),
        Ok(Event::Modified(service)) => format!("modified {}", service.metadata.name),
        Ok(Event::Deleted(service)) => format!("deleted {}", service.metadata.name),
        Ok(Event::Bookmark { resource_version, initial_events_end }) => format!("bookmark {resource_version} {initial_events_end}"),
        Ok(Event::Error(status)) => format!("error {status} expired={}", status.is_expired()),
        Err(error) => format!("broken {error}"),
    }
}

#[test]
fn json_events_come_one_per_line() {
    let stream = br#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}
{"object":{"metadata":{"name":"a","namespace":"n"},"spec":{"clusterIP":7}},"type":"MODIFIED"}
{"type":"DELETED","object":{"metadata":{"name":"a"}}}
{"type":"BOOKMARK","object":{"kind":"Service","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}
{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version: 1 (5)"}}
"#;
    check(
        Encoding::Json,
        stream,
        &[
            "added a",
            "broken Service n/a: spec.clusterIP: invalid type: integer `7`, expected a string",
            "deleted a",
            "bookmark 9 true",
            "error 410 too old resource version: 1 (5) expired=true",
        ],
    );
}

#[test]
fn protobuf_events_come_by_length() {
    let status = [bytes(3, "gone"), bytes(4, "Expired")].concat();
    let stream = [
        frame("ADDED", "Service", &service("a", 80)),
        frame("MODIFIED", "Service", &service("a", 81)),
        frame("DELETED", "Service", &service("a", 81)),
        frame("BOOKMARK", "Service", &bytes(1, bytes(6, "9"))),
        frame("ERROR", "Status", &status),
    ];
    check(Encoding::Protobuf, &stream.concat(), &["added a", "modified a", "deleted a", "bookmark 9 false", "error 0 gone expired=true"]);
}

#[test]
fn a_frame_of_absurd_length_ends_the_stream() {
    let mut frames = Frames::new(Encoding::Protobuf);
    frames.feed(&u32::MAX.to_be_bytes());
    assert_eq!(frames.next_frame(), Err(FrameTooLarge));
}
