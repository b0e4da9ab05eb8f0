use super::*;
use crate::wire::message::{Question, Record};

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn cache(options: &str) -> Cache {
    let corefile = crate::config::Corefile::parse(&format!(". {{\n cache {options}\n}}")).expect("a Corefile");
    let Some(crate::plugins::Spec::Cache(options)) = corefile.blocks[0].plugins.first().cloned() else { panic!("a cache") };
    Cache::new(options, Arc::new(Store::new()), 0, "dns://:53", Metrics::new(&runtime::Registry::default()))
}

/// An answer to `www.example. A`: address records or a denial, with this TTL.
fn answer(code: u8, n: usize, ttl: u32) -> Message {
    let question = Question { name: name("www.example."), qtype: rtype::A, qclass: wire::CLASS_IN };
    let mut answer = Message::answer(question, code);
    for last in 0..n {
        answer.answers.push(Record::address(name("www.example."), ttl, [192, 0, 2, last as u8].into()));
    }
    if n == 0 {
        let mut soa = [name("ns.example.").wire(), name("h.example.").wire()].concat();
        soa.extend([1u32, 2, 3, 4, ttl].iter().flat_map(|number| number.to_be_bytes()));
        answer.authorities.push(Record::new(name("example."), rtype::SOA, 3_600, soa));
    }
    answer
}

#[test]
fn how_long_an_answer_is_kept_is_its_own_and_the_options_business() {
    for (options, answer, secs) in [
        ("", answer(rcode::NOERROR, 2, 60), Some(60)),
        ("30", answer(rcode::NOERROR, 2, 60), Some(30)),
        ("", answer(rcode::NOERROR, 2, 1), Some(5)),
        ("", answer(rcode::NOERROR, 2, 0), None),
        ("", answer(rcode::NXDOMAIN, 0, 60), Some(60)),
        ("", answer(rcode::NOERROR, 0, 86_400), Some(1_800)),
        ("", answer(rcode::SERVFAIL, 0, 60), Some(5)),
        ("", answer(rcode::REFUSED, 0, 60), None),
        ("", Message { flags: flag::QR | flag::TC, ..answer(rcode::NOERROR, 2, 60) }, None),
        ("", Message { authorities: Vec::new(), ..answer(rcode::NXDOMAIN, 0, 60) }, None),
        ("{\n disable success example\n }", answer(rcode::NOERROR, 2, 60), None),
        ("{\n disable success example\n }", answer(rcode::NXDOMAIN, 0, 60), Some(60)),
    ] {
        let kept = cache(options).life(&answer).map(|(_, life)| life.as_secs());
        assert_eq!(kept, secs, "{options}: {} with {} answers", answer.rcode, answer.answers.len());
    }
}

#[test]
fn a_hit_is_the_reply_to_this_very_query() {
    let cache = cache("");
    let mut kept = answer(rcode::NOERROR, 2, 60);
    kept.flags |= flag::RA;
    let ask = |text: &str, opt: Option<&[u8]>| {
        let question = Question { name: name(text), qtype: rtype::A, qclass: wire::CLASS_IN };
        Message { id: 7, flags: flag::RD, ..Message::answer(question, 0) }.encode(MAX_TCP, opt)
    };
    let hit = |packet: &[u8], limit| {
        let query = Query::parse(packet).expect("a query");
        let mut out = vec![0; MAX_TCP];
        cache.hit(&query, &mut out, limit).map(|(length, _)| Message::parse(&out[..length]).expect("whole"))
    };
    let plain = ask("WWW.example.", None);
    assert!(hit(&plain, 512).is_none(), "nothing is kept yet");
    let key = Key::new(&Folded::of(&name("www.example.")), rtype::A, 0, false, 0);
    cache.put(&key, &mut kept);
    let reply = hit(&plain, 512).expect("kept");
    assert_eq!((reply.id, reply.flags), (7, flag::QR | flag::RD | flag::RA));
    assert_eq!(reply.question.name, name("WWW.example."));
    assert_eq!(reply.answers.len(), 2);
    assert!(hit(&ask("www.example.", Some(b"\0\0\x29\x04\xd0\0\0\0\0\0\0")), 512).is_some());
    assert!(hit(&ask("www.example.", Some(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0")), 512).is_none(), "with DO it is another answer");
    assert!(hit(&plain, 40).is_none(), "what is too long is for the slow path to cut");
}

#[test]
fn bytes_are_bounded_and_what_is_used_stays() {
    let store = Store::new();
    let stored = || Stored {
        wire: vec![0; 1_000].into(),
        ttls: Box::default(),
        code: 0,
        denial: false,
        at: Instant::now(),
        until: Instant::now(),
        stale_until: Instant::now(),
    };
    store.insert(b"used", stored());
    let mut evicted = 0;
    for n in 0..50_000u32 {
        evicted += store.insert(&n.to_be_bytes(), stored());
        assert!(store.read(b"used", |_| ()).is_some(), "asked for after each of {n} others");
    }
    assert_eq!(store.len() + evicted, 50_001);
    assert!(store.len() * 1_200 <= store::MAX_BYTES, "{} entries", store.len());
}
