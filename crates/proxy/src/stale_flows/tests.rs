use model::node::{NodeKey, NodeServicePort, Verdict};
use model::{NodePort, Revision, ServiceName};

use super::*;

const NODE: &str = "192.0.2.1";

/// `IP PROTOCOL:PORT -> ENDPOINT ..; external IP; nodeport N`, or nothing.
fn service(text: &str) -> Option<NodeService> {
    let mut clauses = text.split(';').map(str::trim).filter(|clause| !clause.is_empty());
    let (front, endpoints) = clauses.next()?.split_once(" ->").expect(text);
    let (ip, port) = front.split_once(' ').expect(text);
    let (protocol, port) = port.split_once(':').expect(text);
    let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
    let serving: Arc<[SocketAddr]> = endpoints.split_whitespace().map(|e| e.parse().expect("an endpoint")).collect();
    let mut port = NodeServicePort::new(protocol, port.parse().expect("a port"), Verdict::To(serving));
    let mut service = NodeService::new(ip.parse().expect("an address"));
    for clause in clauses {
        match clause.split_once(' ').expect(text) {
            ("external", ip) => service.external_ips.push(ip.parse().expect("an address")),
            ("nodeport", number) => port.node_port = Some(NodePort(number.parse().expect("a port"))),
            other => panic!("{other:?} in {text}"),
        }
    }
    service.ports.push(port);
    Some(service)
}

/// One Service in each line.
fn view(last: Option<&NodeView>, services: &str) -> NodeView {
    let mut view = last.cloned().unwrap_or_default();
    view.revision = Revision(view.revision.0 + 1);
    for (i, line) in services.lines().enumerate() {
        let service = service(line.trim());
        let key = NodeKey { service: ServiceName::new("default", format!("web-{i}")), family: Family::V4 };
        if view.services.get(&key).map(Arc::as_ref) != service.as_ref() {
            view.services.put(view.revision, key, service.map(Arc::new));
        }
    }
    view
}

/// Which flows are forgotten after a change from one text to another: `TO by WHO`.
fn check(old: &str, new: &str, expected: &str) {
    let before = view(None, old);
    let changes = Changes::between(&view(Some(&before), new), Some(&before));
    let local = HashSet::from([NODE.parse().expect("an address"), "2001:db8::1".parse().expect("an address")]);
    let said = match changes.filters(Family::V4, &local) {
        None => "all are looked at".to_owned(),
        Some(mut filters) => {
            filters.sort_unstable();
            let line = |f: &Filter| format!("{} by {}", f.destination, f.reply_source.map_or("any".to_owned(), |by| by.to_string()));
            filters.iter().map(line).collect::<Vec<_>>().join(", ")
        }
    };
    assert_eq!(said, expected, "from {old} to {new}");
}

#[test]
fn flows_to_an_address_go_with_the_endpoint_that_answers_them() {
    let one = "10.96.0.10 udp:53 -> 10.0.0.1:53";
    let two = "10.96.0.10 udp:53 -> 10.0.0.1:53 10.0.0.2:53";
    let moved = "10.96.0.10 udp:53 -> 10.0.0.3:53";
    check(two, one, "10.96.0.10:53 by 10.0.0.2:53");
    check(two, moved, "10.96.0.10:53 by 10.0.0.1:53, 10.96.0.10:53 by 10.0.0.2:53");
    check(one, two, "");
    check("10.96.0.10 tcp:53 -> 10.0.0.1:53", "10.96.0.10 tcp:53 -> 10.0.0.2:53", "");
}

#[test]
fn with_nobody_left_all_flows_to_an_address_go() {
    let one = "10.96.0.10 udp:53 -> 10.0.0.1:53";
    check(one, "10.96.0.10 udp:53 ->", "10.96.0.10:53 by any");
    check(one, "\n", "10.96.0.10:53 by any");
    check(one, "10.96.0.10 tcp:53 -> 10.0.0.1:53", "10.96.0.10:53 by any");
    check(one, "10.96.0.11 udp:53 -> 10.0.0.1:53", "10.96.0.10:53 by any, 10.96.0.11:53 by 10.96.0.11:53");
}

#[test]
fn a_flow_from_before_there_was_anybody_was_answered_by_the_address_itself() {
    let one = "10.96.0.10 udp:53 -> 10.0.0.1:53";
    check("", one, "10.96.0.10:53 by 10.96.0.10:53");
    check("10.96.0.10 udp:53 ->", one, "10.96.0.10:53 by 10.96.0.10:53");
    check("", "10.96.0.10 udp:53 -> 10.0.0.1:53; external 10.0.0.1", "10.96.0.10:53 by 10.96.0.10:53");
}

#[test]
fn only_the_addresses_that_changed_count() {
    let one = "10.96.0.10 udp:53 -> 10.0.0.1:53";
    check(one, "10.96.0.10 udp:53 -> 10.0.0.1:53; external 203.0.113.1", "203.0.113.1:53 by 203.0.113.1:53");
    let both = "10.96.0.10 udp:53 -> 10.0.0.1:53; external 203.0.113.1";
    check(both, "10.96.0.10 udp:53 -> 10.0.0.2:53; external 203.0.113.1", "10.96.0.10:53 by 10.0.0.1:53, 203.0.113.1:53 by 10.0.0.1:53");
}

#[test]
fn an_address_that_goes_to_another_service_is_not_taken_for_gone() {
    let here = "10.96.0.10 udp:53 -> 10.0.0.1:53; external 203.0.113.1\n10.96.0.11 udp:53 -> 10.0.0.2:53";
    let there = "10.96.0.10 udp:53 -> 10.0.0.1:53\n10.96.0.11 udp:53 -> 10.0.0.2:53; external 203.0.113.1";
    check(here, there, "203.0.113.1:53 by 10.0.0.1:53");
    check(there, here, "203.0.113.1:53 by 10.0.0.2:53");
}

#[test]
fn a_node_port_is_one_of_each_address_of_the_node() {
    let two = "10.96.0.10 udp:53 -> 10.0.0.1:53 10.0.0.2:53; nodeport 30053";
    let one = "10.96.0.10 udp:53 -> 10.0.0.1:53; nodeport 30053";
    check(two, one, "10.96.0.10:53 by 10.0.0.2:53, 192.0.2.1:30053 by 10.0.0.2:53");
}

#[test]
fn many_changes_are_one_look() {
    let four = "10.96.0.10 udp:53 -> 10.0.0.1:53 10.0.0.2:53 10.0.0.3:53 10.0.0.4:53 10.0.0.9:53";
    let five = "10.96.0.10 udp:53 -> 10.0.0.1:53 10.0.0.2:53 10.0.0.3:53 10.0.0.4:53 10.0.0.5:53 10.0.0.9:53";
    let one = "10.96.0.10 udp:53 -> 10.0.0.9:53";
    check(
        four,
        one,
        "10.96.0.10:53 by 10.0.0.1:53, 10.96.0.10:53 by 10.0.0.2:53, 10.96.0.10:53 by 10.0.0.3:53, 10.96.0.10:53 by 10.0.0.4:53",
    );
    check(five, one, "all are looked at");
}

#[test]
fn with_nothing_known_all_flows_of_a_family_that_has_fronts_are_looked_at() {
    let changes = Changes::between(&view(None, "10.96.0.10 udp:53 -> 10.0.0.1:53"), None);
    assert_eq!(changes.filters(Family::V4, &HashSet::new()), None);
    assert_eq!(changes.filters(Family::V6, &HashSet::new()), Some(Vec::new()));
}
