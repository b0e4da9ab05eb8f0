use super::message::Message;
use super::*;

/// `id flags qd an ns ar`, then the rest as it is.
fn packet(header: [u16; 6], rest: &[u8]) -> Vec<u8> {
    header.iter().flat_map(|field| field.to_be_bytes()).chain(rest.iter().copied()).collect()
}

const EXAMPLE_A: &[u8] = b"\x03www\x07eXample\x03com\0\0\x01\0\x01";

#[test]
fn a_query_is_read_and_its_name_folded() {
    let bytes = packet([7, 0x0100, 1, 0, 0, 1], &[EXAMPLE_A, b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"].concat());
    let query = Query::parse(&bytes).expect("a query");
    assert_eq!(query.name.wire(), b"\x03www\x07example\x03com\0");
    assert_eq!(query.name_as_sent(), b"\x03www\x07eXample\x03com\0");
    assert_eq!((query.id(), query.qtype, query.qclass), (7, rtype::A, CLASS_IN));
    assert_eq!(query.edns, Some(Edns { size: 1232, version: 0, dnssec_ok: true }));
    assert_eq!(query.limit(false), 1232);
    assert_eq!((query.name.n_labels(), query.name.label(1), query.name.between(0, 2)), (3, &b"example"[..], &b"\x03www\x07example"[..]));
    assert_eq!(query.name.above(b"\x03com\0", 1), Some(2));
    assert_eq!(query.name.above(b"\x02om\0", 1), None);
}

#[test]
fn what_is_no_query_is_refused_as_the_rfcs_say() {
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    for (name, bytes, refused) in [
        ("no header", b"short".to_vec(), Refused::Silently),
        ("an answer", packet([1, 0x8000, 1, 0, 0, 0], EXAMPLE_A), Refused::Silently),
        ("opcode STATUS", packet([1, 2 << 11, 1, 0, 0, 0], EXAMPLE_A), Refused::With(rcode::NOTIMP)),
        ("no question", packet([1, 0, 0, 0, 0, 0], b""), Refused::With(rcode::FORMERR)),
        ("two questions", packet([1, 0, 2, 0, 0, 0], &[EXAMPLE_A, EXAMPLE_A].concat()), Refused::With(rcode::FORMERR)),
        ("a name cut short", packet([1, 0, 1, 0, 0, 0], b"\x07exam"), Refused::With(rcode::FORMERR)),
        ("a pointer to itself", packet([1, 0, 1, 0, 0, 0], b"\xc0\x0c\0\x01\0\x01"), Refused::With(rcode::FORMERR)),
        ("a label type of old", packet([1, 0, 1, 0, 0, 0], b"\x41a\0\0\x01\0\x01"), Refused::With(rcode::FORMERR)),
        ("no class", packet([1, 0, 1, 0, 0, 0], b"\x01a\0\0\x01\0"), Refused::With(rcode::FORMERR)),
        ("a missing record", packet([1, 0, 1, 0, 0, 1], EXAMPLE_A), Refused::With(rcode::FORMERR)),
        ("two OPT", packet([1, 0, 1, 0, 0, 2], &[EXAMPLE_A, opt, opt].concat()), Refused::With(rcode::FORMERR)),
        ("huge counts", packet([1, 0, 1, 0xffff, 0xffff, 0xffff], EXAMPLE_A), Refused::With(rcode::FORMERR)),
        (
            "a name of 256",
            packet(
                [1, 0, 1, 0, 0, 0],
                &[&[63][..], &[b'a'; 63], &[63], &[b'a'; 63], &[63], &[b'a'; 63], &[63], &[b'a'; 63], &[0, 0, 1, 0, 1]].concat(),
            ),
            Refused::With(rcode::FORMERR),
        ),
    ] {
        assert_eq!(Query::parse(&bytes).map(|_| ()), Err(refused), "{name}");
    }
}

#[test]
fn a_hundred_thousand_broken_packets_break_nothing() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let whole = packet(
        [7, 0x8180, 1, 2, 1, 1],
        &[
            EXAMPLE_A,
            b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x06\x03foo\xc0\x10",
            b"\xc0\x2d\0\x01\0\x01\0\0\0\x05\0\x04\x01\x02\x03\x04",
            b"\xc0\x10\0\x06\0\x01\0\0\0\x05\0\x18\xc0\x10\xc0\x0c\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05",
            b"\0\0\x29\x04\xd0\0\0\x80\0\0\0",
        ]
        .concat(),
    );
    assert!(Message::parse(&whole).is_some(), "the packet that is broken below is whole");
    for _ in 0..100_000 {
        let mut bytes = match random.below(4) {
            0 => {
                let length = random.below(600);
                random.bytes(length)
            }
            _ => whole.clone(),
        };
        for _ in 0..random.below(6) {
            if bytes.is_empty() {
                break;
            }
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes.truncate(at),
                1 => bytes[at] = 0xc0 | random.below(64) as u8,
                2 => bytes[at] = 0xff,
                3 => bytes[at] = random.below(256) as u8,
                _ => bytes[at] = 0,
            }
        }
        if bytes.len() > 2 && random.below(2) == 0 {
            bytes[2] &= 0x7f;
        }
        if let Ok(query) = Query::parse(&bytes) {
            let mut out = [0; MAX_UDP];
            let length = Reply::new(&mut out, &query, query.limit(false)).finish(&query, rcode::NXDOMAIN, flag::AA);
            assert!(length <= query.limit(false));
            assert!(Message::parse(&out[..length]).is_some(), "our own reply is whole: {bytes:?}");
        } else if bytes.len() >= HEADER {
            assert_eq!(refusal(&bytes, rcode::FORMERR, &mut [0; HEADER]), HEADER);
        }
        if let Some(message) = Message::parse(&bytes) {
            let again = Message::parse(&message.encode(MAX_TCP, None)).expect("what was read can be written");
            assert_eq!((&again.answers, &again.additionals), (&message.answers, &message.additionals));
        }
    }
}

#[test]
fn a_message_that_is_too_long_is_cut_at_a_record_and_says_so() {
    let name = |text| crate::name::Name::parse(text).expect("a name");
    let question = message::Question { name: name("a.example."), qtype: rtype::A, qclass: CLASS_IN };
    let mut message = Message::answer(question, rcode::NOERROR);
    for last in 0..100 {
        message.answers.push(message::Record::address(name("a.example."), 5, [10, 0, 0, last].into()));
    }
    let bytes = message.encode(512, None);
    let cut = Message::parse(&bytes).expect("whole");
    assert!(bytes.len() <= 512 && cut.answers.len() == (512 - 12 - 15) / 16);
    assert_ne!(cut.flags & flag::TC, 0);
    assert_eq!(Message::parse(&message.encode(MAX_TCP, None)).expect("whole").answers, message.answers);
}
