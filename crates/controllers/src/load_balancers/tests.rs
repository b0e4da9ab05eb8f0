use expect_test::{Expect, expect};

use super::*;
use crate::plan::Propagation;
use crate::world::World;

/// Writes Services and Nodes, given one a line, and looks at what came of each line.
///
/// ```text
/// node NAME ADDRESS...                         its InternalIPs
/// svc NAME PORT... [ip4|ip6|dual] [key=value]  of type LoadBalancer unless `type=` says another; a port is `80` or `53/UDP`
/// gone NAME                                    a Service
/// ```
fn check(lines: &str, expected: Expect) {
    let taken = vec![("0.0.0.0:443".parse().expect("an address"), "the ingress")];
    let mut world = World::of(vec![Box::new(LoadBalancers { taken })]);
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[0] {
            "node" => world.apply(&node(words[1], &words[2..]).to_string()),
            "svc" => world.apply(&service(words[1], &words[2..]).to_string()),
            "gone" => world.delete(&kinds::SERVICE, words[1], Propagation::Background),
            word => panic!("{word} is nothing that a line begins with"),
        }
        world.settle();
    }
    let services = world.cache.all(&kinds::SERVICE).map(|service| {
        let granted: Vec<_> = ingress(service).map(|it| format!("{} {}", json::text(&it["ip"]), json::text(&it["ipMode"]))).collect();
        let why = json::condition(service, PENDING).map_or("", |condition| json::text(&condition["message"]));
        format!("{}: {}\n", json::name(service), [granted.join(", "), why.to_string()].join(""))
    });
    let events = world.events.iter().map(|event| format!("{event}\n"));
    expected.assert_eq(&services.chain(events).collect::<String>());
}

fn node(name: &str, addresses: &[&str]) -> Value {
    let addresses: Vec<_> = addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": addresses}})
}

fn service(name: &str, words: &[&str]) -> Value {
    let mut spec = json!({"type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": []});
    for word in words {
        match (*word, word.split_once('=')) {
            ("ip6", _) => spec["ipFamilies"] = json!(["IPv6"]),
            ("dual", _) => spec["ipFamilies"] = json!(["IPv4", "IPv6"]),
            (_, Some((field, value))) => spec[field] = value.into(),
            (port, _) => {
                let (port, protocol) = port.split_once('/').unwrap_or((port, "TCP"));
                let port = json!({"port": port.parse::<u64>().expect("a port"), "protocol": protocol});
                spec["ports"].as_array_mut().expect("ports").push(port);
            }
        }
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn a_service_gets_the_addresses_of_its_families() {
    check(
        "node a 192.0.2.1 2001:db8::1
         svc four 80
         svc six 80 ip6
         svc both 81 dual",
        expect![[r#"
            both: 192.0.2.1 VIP, 2001:db8::1 VIP
            four: 192.0.2.1 VIP
            six: 2001:db8::1 VIP
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
            EnsuredLoadBalancer Ensured load balancer at 2001:db8::1
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1, 2001:db8::1
        "#]],
    );
}

#[test]
fn a_node_that_comes_later_or_moves_is_followed() {
    check(
        "svc web 80
         node a 192.0.2.1
         node a 192.0.2.2",
        expect![[r#"
            web: 192.0.2.2 VIP
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.2
        "#]],
    );
}

#[test]
fn who_wants_a_taken_port_waits_until_it_is_free() {
    let taken = "node a 192.0.2.1
         svc first 80 53/UDP
         svc second 53 80
         svc third 53/TCP";
    check(
        taken,
        expect![[r#"
            first: 192.0.2.1 VIP
            second: port 53/TCP of 192.0.2.1 is taken by Service default/third
            third: 192.0.2.1 VIP
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
            SyncLoadBalancerFailed Error syncing load balancer: port 80/TCP of 192.0.2.1 is taken by Service default/first
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
            SyncLoadBalancerFailed Error syncing load balancer: port 53/TCP of 192.0.2.1 is taken by Service default/third
        "#]],
    );
    check(
        &format!("{taken}\n gone first\n gone third"),
        expect![[r#"
            second: 192.0.2.1 VIP
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
            SyncLoadBalancerFailed Error syncing load balancer: port 80/TCP of 192.0.2.1 is taken by Service default/first
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
            SyncLoadBalancerFailed Error syncing load balancer: port 53/TCP of 192.0.2.1 is taken by Service default/third
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
        "#]],
    );
}

#[test]
fn an_older_service_that_asks_later_drives_nobody_out() {
    check(
        "node a 192.0.2.1
         svc old 80 type=ClusterIP
         svc young 80
         svc old 80 type=LoadBalancer",
        expect![[r#"
            old: port 80/TCP of 192.0.2.1 is taken by Service default/young
            young: 192.0.2.1 VIP
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
            SyncLoadBalancerFailed Error syncing load balancer: port 80/TCP of 192.0.2.1 is taken by Service default/young
        "#]],
    );
}

#[test]
fn another_type_or_class_leaves_nothing() {
    check(
        "node a 192.0.2.1
         svc first 80
         svc second 80
         svc second 80 type=NodePort
         svc theirs 81 loadBalancerClass=example.com/other",
        expect![[r#"
            first: 192.0.2.1 VIP
            second: 
            theirs: 
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
            SyncLoadBalancerFailed Error syncing load balancer: port 80/TCP of 192.0.2.1 is taken by Service default/first
        "#]],
    );
}

#[test]
fn what_cannot_be_had_is_told() {
    check(
        "node a 192.0.2.1
         svc listener 443
         svc family 80 ip6
         svc address 80 loadBalancerIP=192.0.2.9
         svc own 80 loadBalancerIP=192.0.2.1",
        expect![[r#"
            address: spec.loadBalancerIP: no node has the address 192.0.2.9
            family: no node has an IPv6 address
            listener: port 443/TCP of 192.0.2.1 is taken by the ingress
            own: 192.0.2.1 VIP
            SyncLoadBalancerFailed Error syncing load balancer: port 443/TCP of 192.0.2.1 is taken by the ingress
            SyncLoadBalancerFailed Error syncing load balancer: no node has an IPv6 address
            SyncLoadBalancerFailed Error syncing load balancer: spec.loadBalancerIP: no node has the address 192.0.2.9
            EnsuredLoadBalancer Ensured load balancer at 192.0.2.1
        "#]],
    );
}

#[test]
fn what_a_service_gets_depends_on_few_others() {
    let mut world = World::of(vec![Box::new(LoadBalancers { taken: Vec::new() })]);
    let names = |world: &World, name: &str| -> Vec<String> {
        let service = world.get(&kinds::SERVICE, name);
        before(service, &node_addresses(&world.cache), &world.cache).into_iter().map(|it| json::name(it).to_string()).collect()
    };
    world.apply(&node("a", &["192.0.2.1"]).to_string());
    for (name, ports) in [("a", vec!["80"]), ("b", vec!["80", "81"]), ("c", vec!["81"]), ("d", vec!["82"]), ("e", vec!["81", "82"])] {
        world.apply(&service(name, &ports).to_string());
    }
    assert_eq!(names(&world, "e"), ["a", "b", "c", "d"], "nobody has anything yet: a keeps b from 80, and so b c from 81");
    assert_eq!(names(&world, "d"), [""; 0], "nobody older asks for 82");
    world.settle();
    assert_eq!(names(&world, "b"), ["a", "c"], "those that have what it asks for");
    assert_eq!(names(&world, "e"), ["c", "d"]);
    assert_eq!(names(&world, "a"), [""; 0]);
}
