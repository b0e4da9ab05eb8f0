use model::{Family, ServiceName};

use super::super::class::{Balance, Shape, Sticky};
use super::super::layout::Lane;
use super::*;

const FRONT: Front = Front { lane: Lane::NodePort, address: None, protocol: 6, port: 30_000 };

fn endpoints(letters: &str) -> Vec<SocketAddr> {
    letters.bytes().map(|b| SocketAddr::from(([10, 0, 0, b], 80))).collect()
}

fn want(letters: &str) -> Want {
    let verdict = if letters.is_empty() { Verdict::Reject } else { Verdict::To(endpoints(letters).into()) };
    let sticky = Some(Sticky::new(Duration::from_secs(9)));
    Want { verdict, shape: Shape::Plain, sticky, balance: Balance::Random, sources: None, port_name: "http".into() }
}

/// Turns a front through lists of endpoints (letters), and tells slots and count after each, `_` for a drain between two.
fn check(steps: &str, expected: &str) {
    let owner = NodeKey { service: ServiceName::new("default", "web"), family: Family::V4 };
    let mut held = Held::default();
    let mut said = Vec::new();
    for step in steps.split_whitespace() {
        if step == "_" {
            held.drain(&FRONT);
        } else {
            let want = want(step.trim_matches('0'));
            held.turn(&FRONT, Some((&owner, &want)));
        }
        let letters: String =
            held.slots.iter().map(|e| if let std::net::IpAddr::V4(a) = e.ip() { a.octets()[3] as char } else { '?' }).collect();
        said.push(format!("{letters}/{}", held.active()));
    }
    assert_eq!(said.join(" "), expected, "{steps}");
}

#[test]
fn growing_appends_and_shrinking_keeps_slots_until_drained() {
    check("ab abc", "ab/2 abc/3");
    check("abc ab _", "abc/3 abc/2 ab/2");
    check("abc 0 _", "abc/3 abc/0 /0");
}

#[test]
fn whoever_can_keeps_its_slot() {
    check("abc bc _", "abc/3 cbc/2 cb/2");
    check("abc adc", "abc/3 adc/3");
    check("abcd dx _", "abcd/4 dxcd/2 dx/2");
}

#[test]
fn a_slot_that_drains_may_be_taken_again() {
    check("abc ab abc _", "abc/3 abc/2 abc/3 abc/3");
    check("abc ab abd _", "abc/3 abc/2 abd/3 abd/3");
    check("abc a ab _", "abc/3 abc/1 abc/2 ab/2");
}

#[test]
fn tells_where_the_endpoint_of_a_slot_went() {
    let owner = NodeKey { service: ServiceName::new("default", "web"), family: Family::V4 };
    let mut held = Held::default();
    held.turn(&FRONT, Some((&owner, &want("abc"))));
    let (_, moved) = held.turn(&FRONT, Some((&owner, &want("bc"))));
    assert_eq!(moved, [Moved { slot: 0, to: None }, Moved { slot: 2, to: Some(0) }]);
}
