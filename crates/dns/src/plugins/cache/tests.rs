use super::*;
use crate::wire::message::{Question, Record};

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn cache(options: &str) -> Cache {
    let corefile = crate::config::Corefile::parse(&format!(". {{\n cache {options}\n}}")).expect("a Corefile");
    let Some(crate::plugins::Spec::Cache(options)) = corefile.blocks[0].plugins.first().cloned() else { panic!("a cache") };
    let metrics = Metrics::new(&runtime::Registry::default());
    Cache::new(options, Arc::new(Store::new()), 0, "dns://:53", &metrics, Box::new(Nobody), false)
}

/// Asks nothing.
struct Nobody;

impl Refresher for Nobody {
    fn ask(&self, _request: Request) -> bool {
        false
    }
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

fn of_any(mut answer: Message) -> Message {
    answer.question.qtype = rtype::ANY;
    answer
}

#[test]
fn how_long_an_answer_is_kept_is_its_own_and_the_options_business() {
    for (options, answer, secs) in [
        ("", answer(rcode::NOERROR, 2, 60), Some(60)),
        ("30", answer(rcode::NOERROR, 2, 60), Some(30)),
        ("", answer(rcode::NOERROR, 2, 1), Some(5)),
        ("", answer(rcode::NOERROR, 2, 0), None),
        ("", of_any(answer(rcode::NOERROR, 2, 60)), Some(60)),
        ("", answer(rcode::NXDOMAIN, 0, 60), Some(60)),
        ("", answer(rcode::NOERROR, 0, 86_400), Some(1_800)),
        ("", answer(rcode::SERVFAIL, 0, 60), Some(5)),
        ("", answer(rcode::REFUSED, 0, 60), None),
        ("", Message { unasked: true, ..answer(rcode::SERVFAIL, 0, 60) }, None),
        ("", Message { flags: flag::QR | flag::TC, ..answer(rcode::NOERROR, 2, 60) }, None),
        ("", Message { authorities: Vec::new(), ..answer(rcode::NXDOMAIN, 0, 60) }, None),
    ] {
        let kept = cache(options).life(&answer).map(|(_, life)| life.as_secs());
        assert_eq!(kept, secs, "{options}: {} with {} answers", answer.rcode, answer.answers.len());
    }
}

#[test]
fn what_the_options_forbid_to_keep_has_its_ttls_capped_all_the_same() {
    let cache = cache("30 {\n disable success example\n}");
    let key = Key::new(&Folded::of(&name("www.example.")), rtype::A, 0, false, 0);
    for (code, n, kept) in [(rcode::NOERROR, 2, 0), (rcode::NXDOMAIN, 0, 1)] {
        let mut message = answer(code, n, 60);
        cache.put(&key, &mut message);
        assert!(message.answers.iter().chain(&message.authorities).all(|record| record.ttl == 30), "{message:?}");
        assert_eq!(cache.store.len(), kept);
    }
}

#[test]
fn no_ttl_of_a_block_is_longer_than_its_caches() {
    use crate::plugins::tests::ask;
    let corefile = |cache: &str| {
        format!(
            ". {{\n cache {cache}\n hosts /nowhere {{\n 10.0.0.9 a.test\n fallthrough\n }}\n kubernetes cluster.local {{\n ttl 60\n }}\n}}"
        )
    };
    for (cache, question, expected) in [
        ("30", "a.test. A", "NOERROR\na.test. 30 A 10.0.0.9\n"),
        ("30", "plain.default.svc.cluster.local. A", "NOERROR\nplain.default.svc.cluster.local. 30 A 10.96.0.3\n"),
        ("30 test", "plain.default.svc.cluster.local. A", "NOERROR\nplain.default.svc.cluster.local. 60 A 10.96.0.3\n"),
        ("{\n success 10 7\n}", "a.test. A", "NOERROR\na.test. 7 A 10.0.0.9\n"),
        ("", "a.test. A", "NOERROR\na.test. 3600 A 10.0.0.9\n"),
    ] {
        assert_eq!(ask(&corefile(cache), question), expected, "cache {cache}");
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
        cache.hit(&query, &mut out, limit, 0).map(|(length, _)| Message::parse(&out[..length]).expect("whole"))
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
fn an_answer_that_may_not_be_kept_ends_the_one_that_is() {
    for (news, kept) in [
        (answer(rcode::NOERROR, 2, 0), 0),
        (Message { authorities: Vec::new(), ..answer(rcode::NXDOMAIN, 0, 60) }, 0),
        (Message { flags: flag::QR | flag::TC, ..answer(rcode::NOERROR, 2, 60) }, 1),
    ] {
        let cache = cache("{\n serve_stale\n }");
        let key = Key::new(&Folded::of(&name("www.example.")), rtype::A, 0, false, 0);
        cache.put(&key, &mut answer(rcode::NOERROR, 2, 60));
        // Asked for on the cache's own account.
        cache.store.read(key.bytes(), |stored| stored.refreshing.store(true, Ordering::Relaxed));
        cache.put(&key, &mut news.clone());
        assert_eq!(cache.store.len(), kept);
        let stuck = cache.store.read(key.bytes(), |stored| stored.refreshing.load(Ordering::Relaxed));
        assert_ne!(stuck, Some(true), "nobody would ask again");
    }
}

#[test]
fn addresses_of_a_hit_take_turns() {
    let cache = Cache { rotate: true, ..cache("") };
    let mut kept = answer(rcode::NOERROR, 3, 60);
    let alias = Record::new(name("www.example."), rtype::CNAME, 60, name("w.example.").wire().to_vec());
    kept.answers.iter_mut().for_each(|record| record.name = name("w.example."));
    kept.answers.insert(0, alias);
    let key = Key::new(&Folded::of(&name("www.example.")), rtype::A, 0, false, 0);
    cache.put(&key, &mut kept);
    let packet = Message::answer(kept.question.clone(), 0).encode(MAX_TCP, None);
    let packet = [&packet[..2], &[0, 0], &packet[4..]].concat();
    let firsts = (0..4).map(|turn| {
        let mut out = vec![0; MAX_TCP];
        let (length, _) = cache.hit(&Query::parse(&packet).expect("a query"), &mut out, 512, turn).expect("kept");
        let answers = Message::parse(&out[..length]).expect("whole").answers;
        assert_eq!((answers.len(), answers[0].rtype), (4, rtype::CNAME));
        answers[1].data[3]
    });
    assert_eq!(firsts.collect::<Vec<_>>(), [0, 1, 2, 0]);
}

#[test]
fn bytes_are_bounded_and_what_is_used_stays() {
    let store = Store::new();
    let metrics = Metrics::new(&runtime::Registry::default());
    let counts = Arc::new(Counts::new(&metrics, "dns://:53", "success", "."));
    let now = Instant::now();
    let stored = || Stored::new(vec![0; 1_000].into(), Box::default(), 0, counts.clone(), now, now, now);
    store.insert(b"used", stored());
    let mut evicted = 0;
    for n in 0..50_000u32 {
        evicted += store.insert(&n.to_be_bytes(), stored());
        assert!(store.read(b"used", |_| ()).is_some(), "asked for after each of {n} others");
    }
    assert_eq!(store.len() + evicted, 50_001);
    assert!(store.len() * 1_200 <= store::MAX_BYTES, "{} entries", store.len());
}

/// A cache that keeps one answer, `age` seconds old, of a TTL of 100 s.
fn aged(options: &str, age: u64) -> (Cache, Key) {
    let cache = cache(options);
    let key = Key::new(&Folded::of(&name("www.example.")), rtype::A, 0, false, 0);
    let wire = answer(rcode::NOERROR, 1, 100).encode(MAX_TCP, None);
    let at = Instant::now().checked_sub(Duration::from_secs(age)).expect("the machine is up that long");
    let until = at + Duration::from_secs(100);
    let stale = cache.options.serve_stale.map_or(until, |stale| until + stale.for_at_most);
    let stored = Stored::new(wire.clone().into(), ttls(&wire), rcode::NOERROR, cache.counts[0].clone(), at, until, stale);
    cache.store.insert(key.bytes(), stored);
    (cache, key)
}

#[test]
fn what_ran_out_is_served_as_long_as_the_options_allow() {
    for (options, age, ttl, stands_in) in [
        ("", 40, Some(60), true),
        ("{\n keepttl\n}", 40, Some(100), true),
        ("", 101, None, false),
        ("{\n serve_stale\n}", 101, Some(0), true),
        ("{\n serve_stale 30s\n}", 131, None, false),
        ("{\n serve_stale 1h verify\n}", 101, None, true),
        ("{\n serve_stale\n keepttl\n}", 101, Some(0), true),
    ] {
        let (cache, key) = aged(options, age);
        assert_eq!(cache.get(&key).map(|(message, ..)| message.answers[0].ttl), ttl, "{options} after {age} s");
        assert_eq!(cache.stale(&key).is_some(), stands_in, "{options} after {age} s, when the upstream fails");
    }
}

#[test]
fn what_is_much_asked_for_is_asked_for_again_before_it_runs_out() {
    let refreshes = |options: &str, age, n| {
        let (cache, key) = aged(options, age);
        (0..n).filter(|_| cache.get(&key).is_some_and(|(_, served, _)| served.refresh)).count()
    };
    assert_eq!(refreshes("{\n prefetch 3\n}", 95, 2), 0, "too few have asked");
    assert_eq!(refreshes("{\n prefetch 3\n}", 95, 9), 1, "once is enough");
    assert_eq!(refreshes("{\n prefetch 3\n}", 50, 9), 0, "there is time left");
    assert_eq!(refreshes("{\n prefetch 3 2h 60%\n}", 50, 9), 1);
    assert_eq!(refreshes("", 95, 9), 0, "not asked for");
    assert_eq!(refreshes("{\n serve_stale\n}", 101, 9), 1, "a stale answer is one to replace");
}

#[test]
fn a_positive_answer_is_preferred_where_the_policy_says_so() {
    let prefer = "{\n serve_stale 1h\n serve_stale_policy prefer_positive\n}";
    for (options, age, new, is_news) in [
        (prefer, 101, answer(rcode::NXDOMAIN, 0, 60), false),
        (prefer, 101, answer(rcode::NOERROR, 0, 60), false),
        (prefer, 101, answer(rcode::NOERROR, 1, 60), true),
        (prefer, 101, answer(rcode::SERVFAIL, 0, 60), false),
        (prefer, 3_800, answer(rcode::NXDOMAIN, 0, 60), true),
        ("{\n serve_stale\n}", 101, answer(rcode::NXDOMAIN, 0, 60), true),
    ] {
        let (cache, key) = aged(options, age);
        assert_eq!(cache.is_news(&key, &new), is_news, "{options} after {age} s: {}", new.rcode);
    }
}

#[test]
fn entries_are_counted_by_kind() {
    let (cache, key) = aged("", 0);
    let entries = || [0, 1].map(|kind: usize| cache.counts[kind].entries());
    assert_eq!(entries(), [1, 0]);
    cache.put(&key, &mut answer(rcode::NXDOMAIN, 0, 60));
    assert_eq!(entries(), [0, 1]);
}

#[test]
fn mistakes_are_told() {
    use crate::plugins::tests::mistakes;
    for (options, told) in [
        ("prefetch", "`prefetch `: not a number of questions"),
        ("prefetch many", "`prefetch many`: not a number of questions"),
        ("prefetch 3 1m 5%", "`prefetch 5%`: not a percentage from 10% to 90%"),
        ("serve_stale soon", "`serve_stale soon`: not a duration such as 1h"),
        ("serve_stale\n serve_stale_policy any", "`serve_stale_policy any`: there is prefer_positive alone"),
        ("serve_stale_policy prefer_positive", "`serve_stale_policy` says nothing without `serve_stale`"),
        ("serve_stale 1h later", "`serve_stale ... later`: neither immediate nor verify"),
    ] {
        assert_eq!(mistakes(&format!("cache {{\n {options}\n}}")), [told]);
    }
}
