use super::*;
use crate::plugins::Spec;
use crate::plugins::tests::{mistakes, request, spec};
use crate::wire::MAX_TCP;
use crate::wire::message::{Message, Record};

fn options(text: &str) -> Options {
    let Spec::Log(options) = spec(text) else { panic!("a log") };
    options
}

fn counter() -> IntCounter {
    runtime::Registry::default().counter("dropped", "Lines dropped.")
}

/// The line that a reply with this code and so many answers gives.
fn line(directive: &str, question: &str, code: u8, n_answers: u8) -> Option<String> {
    let (queue, waiting) = sync_channel(1);
    let log = Log::new(options(directive), Lines { queue, dropped: counter() });
    let request = request(question);
    let packet = Message { id: 7, flags: flag::RD, ..Message::answer(request.question.clone(), 0) }.encode(MAX_TCP, None);
    let name = &request.question.name;
    let mut answer = Message::answer(request.question.clone(), code);
    answer.answers = (0..n_answers).map(|n| Record::address(name.clone(), 5, [10, 0, 0, n].into())).collect();
    if n_answers == 0 {
        answer.authorities.push(Record::new(name.clone(), rtype::SOA, 5, Vec::new()));
    }
    if log.is_about(name) {
        let query = Query::parse(&packet).expect("a query");
        log.note(&Noted {
            query: &query,
            request: &request,
            asked: request.question.clone(),
            kind: Kind::of(&query, &answer),
            upstream: None,
            reply: Some(Replied { code, flags: answer.flags | flag::RD }),
            size: 45,
            took: Duration::from_micros(120),
        });
    }
    waiting.try_iter().next()
}

#[test]
fn the_common_format_is_corednss() {
    assert_eq!(
        line("log", "Web.Example. A", 0, 1).as_deref(),
        Some("[INFO] 10.2.0.1:4000 - 7 \"A IN web.example. udp 29 false 512\" NOERROR qr,aa,rd 45 0.00012s\n")
    );
    assert_eq!(line("log . \"{rcode} of {name}\"", "a.example. A", 3, 0).as_deref(), Some("[INFO] NXDOMAIN of a.example.\n"));
    let format = "log . \"}{ {local} } {/kubernetes/endpoint}\"";
    assert_eq!(line(format, "a.example. A", 0, 1).as_deref(), Some("[INFO] }{ 10.96.0.10 } -\n"));
}

#[test]
fn lines_for_collectors_have_their_fields_apart() {
    let request = request("A\".Example. AAAA");
    let packet = Message { id: 7, flags: flag::RD, ..Message::answer(request.question.clone(), 0) }.encode(MAX_TCP, None);
    let noted = Noted {
        query: &Query::parse(&packet).expect("a query"),
        request: &request,
        asked: request.question.clone(),
        kind: Kind::NameError,
        upstream: None,
        reply: None,
        size: 0,
        took: Duration::from_millis(2),
    };
    let line = json_line("INFO", "log", "one \"two\"\n", &noted.json());
    let (time, rest) = line.split_once(",\"level\"").expect("a time");
    assert!(time.starts_with("{\"time\":\"20") && time.ends_with("Z\""), "{time}");
    assert_eq!(
        rest,
        r#":"INFO","msg":"one \"two\"\u000a","plugin":"log","client_ip":"10.2.0.1","client_port":4000,"qname":"a\\\".example.","qtype":"AAAA","qclass":"IN","protocol":"udp","id":7,"opcode":0,"request_size":28,"dnssec_ok":false,"bufsize":512,"rcode":null,"response_size":0,"duration_seconds":0.002}
"#
    );
}

#[test]
fn zones_and_classes_choose() {
    for (directive, code, n_answers, logged) in [
        ("log example.org", 0, 1, false),
        ("log example", 0, 1, true),
        ("log . {\n class denial error\n}", 0, 1, false),
        ("log . {\n class denial error\n}", 0, 0, true),
        ("log . {\n class denial\n}", 3, 0, true),
        ("log . {\n class error\n}", 2, 0, true),
        ("log . {\n class success all\n}", 2, 0, true),
    ] {
        assert_eq!(line(directive, "a.example. A", code, n_answers).is_some(), logged, "{directive} {code} {n_answers}");
    }
}

#[test]
fn a_queue_that_is_full_costs_lines_and_they_are_counted() {
    let (queue, waiting) = sync_channel(2);
    let lines = Lines { queue, dropped: counter() };
    for n in 0..5 {
        lines.send(format!("{n}\n"));
    }
    assert_eq!(lines.dropped.get(), 3);
    assert_eq!(waiting.try_iter().collect::<String>(), "0\n1\n");
}

#[test]
fn a_disk_that_is_full_costs_lines_and_they_are_counted() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (queue, waiting) = sync_channel(4);
    let dropped = counter();
    for line in ["a\n", "b\n"] {
        queue.send(line.to_owned()).expect("room");
    }
    drop(queue);
    write(&waiting, Full, &dropped);
    assert_eq!(dropped.get(), 2);
}

#[test]
fn mistakes_are_told() {
    assert_eq!(
        mistakes("log . {\n class some\n colour\n}"),
        ["`class some`: not success, denial, error or all", "log has no option `colour`; it has: class"]
    );
    assert!(mistakes("log . \"{weather}\"")[0].starts_with("`log` knows no `{weather}`; it knows: {type}, "));
}
