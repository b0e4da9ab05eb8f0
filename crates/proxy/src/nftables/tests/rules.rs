//! Rules as text, and what a sync writes.

use expect_test::{Expect, expect, expect_file};
use kernel::netns::Netns;

use super::cluster::{CONFIG, Cluster};
use crate::Config;

fn render(config: &str, services: &str) -> String {
    let mut cluster = Cluster::new(config);
    cluster.set(services);
    super::super::render(&cluster.view, &std::sync::Arc::new(Config::parse(config).expect("valid")))
}

/// The lines of IPv4's table that name the given chain or set.
fn check(config: &str, services: &str, of: &str, expected: Expect) {
    let text = render(config, services);
    let of = format!(" ip rutter {of} ");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(&of)).collect();
    expected.assert_eq(&lines.join("\n"));
}

const EVERY_KIND: &str = "
    web 10.96.0.10 tcp:80 -> 10.0.1.1:8080 10.0.1.2:8080; nodeport 30080; external 192.0.2.9
    lb 10.96.0.11 tcp:443 -> 10.0.1.1:8443 10.0.1.2:8443; lb 1.2.3.4; ranges 203.0.113.0/25 192.168.0.0/24; nodeport 30443; local 10.0.1.1:8443
    sticky 10.96.0.12 udp:53 -> 10.0.1.3:53 10.0.1.4:53; affinity 10800
    none 10.96.0.13 sctp:7 -> reject; nodeport 30007
    far 10.96.0.14 tcp:80 -> 10.0.1.5:80; nodeport 30014; local drop
    six fd00:96::10 tcp:80 -> [fd00:10::1]:80; nodeport 30080; lb 2001:db8::99; ranges 2001:db8::/32; affinity 60";

#[test]
fn every_kind_of_service_as_text() {
    expect_file!["every_kind.nft"].assert_eq(&render(CONFIG, EVERY_KIND));
}

#[test]
fn nft_lists_what_we_wrote_with_the_names_of_services() {
    let ns = Netns::new("proxy-list");
    ns.run(|| Cluster::new(CONFIG).set(EVERY_KIND).sync());
    let listed = ns.output(&["nft", "list", "ruleset"]);
    for name in ["web", "lb", "sticky", "none", "far", "six"] {
        assert!(listed.contains(&format!("default/{name}:http")), "{name} in {listed}");
    }
}

/// Every way to choose an endpoint, too.
const BALANCED: &str = "
    turn 10.96.0.20 tcp:80 -> 10.0.1.1:80 10.0.1.2:80; balance round-robin
    hash 10.96.0.21 tcp:80 -> 10.0.1.1:80 10.0.1.2:80; balance source-hash";

#[test]
fn nft_loads_what_is_rendered_and_then_lists_what_we_write() {
    let (written, loaded) = (Netns::new("proxy-written"), Netns::new("proxy-loaded"));
    let services = format!("{EVERY_KIND}{BALANCED}");
    written.run(|| Cluster::new(CONFIG).set(&services).sync());
    let path = std::env::temp_dir().join(format!("rutter-render-{}.nft", std::process::id()));
    std::fs::write(&path, render(CONFIG, &services)).expect("a file");
    loaded.output(&["nft", "-f", &path.to_string_lossy()]);
    std::fs::remove_file(&path).expect("removed");
    let listed = |ns: &Netns| in_one_way(&ns.output(&["nft", "list", "ruleset"]));
    expect_test::expect![[""]].assert_eq(&difference(&listed(&written), &listed(&loaded)));
}

/// A listing with the elements of each set in order, and slots in one way: the kernel is told that they are marks.
fn in_one_way(listed: &str) -> Vec<String> {
    let element = |text: &str| {
        let slot = |word: &str| {
            let hex = word.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
            hex.map_or(word.to_owned(), |slot| slot.to_string())
        };
        text.split(' ').map(slot).collect::<Vec<_>>().join(" ")
    };
    let whole_lines = listed.replace(",\n\t\t\t     ", ", ");
    let lines = whole_lines.lines().filter(|line| !line.trim_start().starts_with("type"));
    lines
        .map(|line| match line.split_once("elements = { ") {
            Some((_, elements)) => {
                let mut elements: Vec<String> = elements.trim_end_matches(" }").split(", ").map(element).collect();
                elements.sort();
                elements.join("\n")
            }
            None => line.to_owned(),
        })
        .collect()
}

fn difference(left: &[String], right: &[String]) -> String {
    let only = |sign: char, these: &[String], those: &[String]| -> String {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("{sign}{line}\n")).collect()
    };
    assert!(left.len() > 100, "{left:?}");
    format!("{}{}", only('-', left, right), only('+', right, left))
}

#[test]
fn a_restart_with_nothing_changed_writes_nothing() {
    let ns = Netns::new("proxy-restart");
    ns.run(|| {
        let mut cluster = Cluster::new(CONFIG);
        let first = cluster.set(EVERY_KIND).sync();
        assert!(first.n_elements > 30 && first.n_rules > 30, "{first:?}");
        let again = cluster.restart(CONFIG);
        assert_eq!((again.n_elements, again.n_rules, again.n_transactions), (0, 0, 0));
        assert!(cluster.intact());
    });
}

#[test]
fn a_restart_writes_the_difference_alone() {
    let ns = Netns::new("proxy-restart");
    ns.run(|| {
        let mut cluster = Cluster::new(CONFIG);
        cluster.set(EVERY_KIND).sync();
        cluster.set("web 10.96.0.10 tcp:80 -> 10.0.1.1:8080 10.0.1.9:8080; nodeport 30080; external 192.0.2.9");
        let changed = cluster.restart(CONFIG);
        // Three fronts with one slot each that is deleted and added; one address that comes back to itself; 10.0.1.2 is still used.
        assert_eq!((changed.n_elements, changed.n_rules), (7, 0));
        let marked = cluster.restart("{mode: nftables, clusterCIDR: '10.0.0.0/8,fd00:10::/32', nftables: {masqueradeBit: 7}}");
        // mark-for-masquerade, and the two rules of its chain that clear it, in both families.
        assert_eq!((marked.n_elements, marked.n_rules), (0, 6));
        assert_eq!(cluster.restart(CONFIG).n_rules, 6);
    });
}

#[test]
fn a_restart_after_services_went_leaves_nothing_of_them() {
    let ns = Netns::new("proxy-restart");
    ns.run(|| {
        let mut cluster = Cluster::new(CONFIG);
        cluster.set(EVERY_KIND).sync();
        for line in EVERY_KIND.lines() {
            let words: Vec<&str> = line.split_whitespace().take(2).collect();
            if let [name, ip] = words[..] {
                cluster.set(&format!("{name} {ip} gone"));
            }
        }
        cluster.restart(CONFIG);
        cluster.settle();
        let mut fresh = Cluster::new(CONFIG);
        let again = fresh.restart(CONFIG);
        assert_eq!((again.n_elements, again.n_rules), (0, 0));
    });
    let listed = ns.output(&["nft", "list", "ruleset"]);
    assert!(!listed.contains("default/") && !listed.contains("10.0.1.") && !listed.contains("sticky"), "{listed}");
}

#[test]
fn a_change_of_one_family_is_no_work_for_the_other() {
    let ns = Netns::new("proxy-change");
    ns.run(|| {
        let mut cluster = Cluster::new(CONFIG);
        let worked = |applied: crate::Applied| applied.took.map(|took| took.is_some());
        assert_eq!(worked(cluster.sync()), [true, true], "the first sync is of both");
        assert_eq!(worked(cluster.set("web 10.96.0.10 tcp:80 -> 10.0.1.1:80").sync()), [true, false]);
        assert_eq!(worked(cluster.set("six fd00:96::10 tcp:80 -> [fd00:10::1]:80").sync()), [false, true]);
    });
}

#[test]
fn one_endpoint_more_or_less_is_a_handful_of_elements() {
    let ns = Netns::new("proxy-change");
    ns.run(|| {
        let mut cluster = Cluster::new(CONFIG);
        cluster.set("web 10.96.0.10 tcp:80 -> 10.0.1.1:80 10.0.1.2:80").sync();
        let grown = cluster.set("web 10.96.0.10 tcp:80 -> 10.0.1.1:80 10.0.1.2:80 10.0.1.3:80").sync();
        // The slot, the class (deleted and added), the verdict of a new class, the hairpin.
        assert_eq!((grown.n_elements, grown.n_transactions, grown.again_at), (5, 1, None));
        let shrunk = cluster.set("web 10.96.0.10 tcp:80 -> 10.0.1.2:80 10.0.1.3:80").sync();
        // The class and slot 0, which the third endpoint takes; the hairpin. Its old slot stays for now.
        assert_eq!((shrunk.n_elements, shrunk.n_transactions), (5, 1));
        assert!(shrunk.again_at.is_some());
        cluster.settle();
        assert_eq!(cluster.restart(CONFIG).n_elements, 1, "the verdict of a class that nobody has any more goes at a restart");
        assert_eq!(cluster.restart(CONFIG).n_elements, 0);
    });
    let listed = ns.output(&["nft", "list", "map", "ip", "rutter", "backends"]);
    assert!(!listed.contains("0x00000002"), "the drained slot is gone: {listed}");
}

#[test]
fn somebody_elses_hand_is_noticed_and_undone() {
    let ns = Netns::new("proxy-foreign");
    let mut cluster = Cluster::new(CONFIG);
    ns.run(|| cluster.set(EVERY_KIND).sync());
    ns.output(&["nft", "add", "rule", "ip", "rutter", "services", "accept"]);
    ns.output(&["nft", "add", "element", "ip", "rutter", "cluster-ips", "{ 9.9.9.9 }"]);
    ns.output(&["nft", "add", "table", "ip", "theirs"]);
    ns.run(|| {
        assert!(!cluster.intact());
        assert!(cluster.restart(CONFIG).n_rules > 0);
        assert!(cluster.intact());
        assert_eq!(cluster.restart(CONFIG).n_elements, 0);
    });
    ns.output(&["nft", "flush", "ruleset"]);
    ns.output(&["nft", "add", "table", "ip", "theirs"]);
    ns.run(|| {
        assert!(!cluster.intact());
        cluster.restart(CONFIG);
        super::super::cleanup().expect("cleanup");
    });
    assert_eq!(ns.output(&["nft", "list", "ruleset"]), "table ip theirs {\n}\n");
}

#[test]
fn two_services_with_one_node_port_leave_it_to_the_first_by_name() {
    let ns = Netns::new("proxy-claims");
    ns.run(|| {
        let mut cluster = Cluster::new(CONFIG);
        cluster.set("b 10.96.0.2 tcp:80 -> 10.0.1.2:80; nodeport 30000").sync();
        cluster.set("a 10.96.0.1 tcp:80 -> 10.0.1.1:80; nodeport 30000").sync();
        cluster.set("b 10.96.0.2 tcp:80 -> 10.0.1.3:80; nodeport 30000").sync();
        assert_eq!(cluster.restart(CONFIG).n_elements, 0);
        cluster.set("a 10.96.0.1 gone").sync();
        cluster.settle();
        assert_eq!(cluster.restart(CONFIG).n_elements, 0);
    });
    let listed = ns.output(&["nft", "list", "map", "ip", "rutter", "nodeports"]);
    assert!(listed.contains("default/b:http"), "{listed}");
}

#[test]
fn the_local_detector_decides_who_is_masqueraded() {
    let services = "web 10.96.0.10 tcp:80 -> 10.0.1.1:80";
    check(
        "{mode: nftables, detectLocalMode: InterfaceNamePrefix, detectLocal: {interfaceNamePrefix: veth}}",
        services,
        "services",
        expect![[r#"
            add map ip rutter services { type ipv4_addr . inet_proto . inet_service : classid; }
            add rule ip rutter services ip daddr . meta l4proto . th dport @firewalled ip daddr . meta l4proto . th dport . ip saddr != @allowed-sources counter drop
            add rule ip rutter services ip daddr @cluster-ips iifname != "veth*" jump mark-for-masquerade
            add rule ip rutter services meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @picks
            add rule ip rutter services ip daddr @nodeport-ips fib daddr type local ip daddr != 127.0.0.0/8 meta priority set meta l4proto . th dport map @nodeports meta priority vmap @nodeport-picks
            add rule ip rutter services meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @picks
            add rule ip rutter services ip daddr @nodeport-ips fib daddr type local ip daddr != 127.0.0.0/8 meta priority set meta l4proto . th dport map @nodeports meta priority vmap @nodeport-picks
            add rule ip rutter services ip daddr @cluster-ips reject
            add rule ip rutter services ip daddr @service-cidrs fib daddr type != local counter drop
            add element ip rutter services { 10.96.0.10 . tcp . 80 comment "default/web:http" : 0:1 }"#]],
    );
    check(
        "{mode: nftables, nftables: {masqueradeAll: true}, nodePortAddresses: [192.168.0.0/24]}",
        services,
        "services",
        expect![[r#"
            add map ip rutter services { type ipv4_addr . inet_proto . inet_service : classid; }
            add rule ip rutter services ip daddr . meta l4proto . th dport @firewalled ip daddr . meta l4proto . th dport . ip saddr != @allowed-sources counter drop
            add rule ip rutter services ip daddr @cluster-ips jump mark-for-masquerade
            add rule ip rutter services meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @picks
            add rule ip rutter services ip daddr @nodeport-ips fib daddr type local ip daddr != 127.0.0.0/8 meta priority set meta l4proto . th dport map @nodeports meta priority vmap @nodeport-picks
            add rule ip rutter services meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @picks
            add rule ip rutter services ip daddr @nodeport-ips fib daddr type local ip daddr != 127.0.0.0/8 meta priority set meta l4proto . th dport map @nodeports meta priority vmap @nodeport-picks
            add rule ip rutter services ip daddr @cluster-ips reject
            add rule ip rutter services ip daddr @service-cidrs fib daddr type != local counter drop
            add element ip rutter services { 10.96.0.10 . tcp . 80 comment "default/web:http" : 0:1 }"#]],
    );
    check(
        "{mode: nftables, nodePortAddresses: [all]}",
        services,
        "services",
        expect![[r#"
            add map ip rutter services { type ipv4_addr . inet_proto . inet_service : classid; }
            add rule ip rutter services ip daddr . meta l4proto . th dport @firewalled ip daddr . meta l4proto . th dport . ip saddr != @allowed-sources counter drop
            add rule ip rutter services meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @picks
            add rule ip rutter services fib daddr type local ip daddr != 127.0.0.0/8 meta priority set meta l4proto . th dport map @nodeports meta priority vmap @nodeport-picks
            add rule ip rutter services meta priority set ip daddr . meta l4proto . th dport map @services meta priority vmap @picks
            add rule ip rutter services fib daddr type local ip daddr != 127.0.0.0/8 meta priority set meta l4proto . th dport map @nodeports meta priority vmap @nodeport-picks
            add rule ip rutter services ip daddr @cluster-ips reject
            add rule ip rutter services ip daddr @service-cidrs fib daddr type != local counter drop
            add element ip rutter services { 10.96.0.10 . tcp . 80 comment "default/web:http" : 0:1 }"#]],
    );
}

#[test]
fn many_services_and_one_huge_go_in_bounded_transactions() {
    let ns = Netns::new("proxy-many");
    ns.run(|| {
        let mut cluster = Cluster::new(CONFIG);
        let endpoints: Vec<String> = (0..6_000).map(|i| format!("10.1.{}.{}:80", i / 250, i % 250)).collect();
        let mut services = format!("huge 10.96.0.1 tcp:80 -> {}\n", endpoints.join(" "));
        for i in 0..2_000 {
            services += &format!("s{i} 10.97.{}.{} tcp:80 -> 10.2.{}.{}:80\n", i / 250, i % 250, i / 250, i % 250);
        }
        let first = cluster.set(&services).sync();
        assert!(first.n_elements > 20_000 && first.n_transactions >= first.n_elements / kernel::nft::MAX_ELEMENTS, "{first:?}");
        assert_eq!(cluster.restart(CONFIG).n_elements, 0);
        let one = cluster.set("s7 10.97.0.7 tcp:80 -> 10.2.9.9:80").sync();
        // The slot and the hairpin, each deleted and added.
        assert_eq!((one.n_elements, one.n_rules, one.n_transactions), (4, 0, 1));
    });
}

#[test]
fn what_a_service_asks_for_in_vain_is_told_and_taken_back() {
    let ns = Netns::new("proxy-issues");
    ns.run(|| {
        let mut cluster = Cluster::new(CONFIG);
        cluster.set("b 10.96.0.2 tcp:80 -> 10.0.1.2:80; nodeport 30000").sync();
        assert_eq!(cluster.issues(), "");
        cluster.set("a 10.96.0.1 tcp:80 -> 10.0.1.1:80; nodeport 30000").sync();
        expect![[r#"
            a: 
            b: spec.ports: node port 30000 is that of Service default/a, whose name comes first (Conflict)"#]]
        .assert_eq(&cluster.issues());
        cluster.set("a 10.96.0.1 gone").sync();
        assert_eq!(cluster.issues(), "a: \nb: ");
        cluster.set("b 10.96.0.2 tcp:80 -> 10.0.1.2:80; balance fastest\nc 10.96.0.3 tcp:80 -> 10.0.1.2:80; balance round-robin; affinity 9");
        cluster.sync();
        expect![[r#"
            b: metadata.annotations[rutter.dev/balance]: "fastest" is not one of random, round-robin, source-hash: endpoints are chosen at random (InvalidValue)
            c: metadata.annotations[rutter.dev/balance]: session affinity is in force in place of round-robin (Unsupported)"#]]
        .assert_eq(&cluster.issues());
    });
}

#[test]
fn a_table_of_another_layout_stays_until_ours_is_whole() {
    let ns = Netns::new("proxy-layout");
    let theirs = "add table ip rutter; add map ip rutter services { type ipv4_addr : verdict; }; \
        add chain ip rutter nat-prerouting { type nat hook prerouting priority -100; }";
    ns.output(&["nft", theirs]);
    let mut cluster = Cluster::new(CONFIG);
    let listed =
        |what: &str| ns.output(&["nft", "list", "tables"]).lines().filter(|line| line.contains(what)).collect::<Vec<_>>().join(", ");
    ns.run(|| cluster.set(EVERY_KIND).sync());
    assert_eq!(listed("ip "), "table ip rutter-2");
    ns.run(|| {
        assert!(cluster.intact());
        assert_eq!(cluster.restart(CONFIG).n_elements, 0, "found again under its other name");
        assert_eq!(cluster.differences(CONFIG), "");
    });
    ns.output(&["nft", theirs]);
    ns.run(|| assert_eq!(cluster.restart(CONFIG).n_elements, 0));
    assert_eq!(listed("ip "), "table ip rutter-2");
    ns.run(|| super::super::cleanup().expect("cleanup"));
    assert_eq!(listed("ip"), "");
}

#[test]
fn every_difference_to_the_kernel_is_named() {
    let ns = Netns::new("proxy-difference");
    let mut cluster = Cluster::new(CONFIG);
    cluster.set("web 10.96.0.10 tcp:80 -> 10.0.1.1:8080 10.0.1.2:8080");
    ns.run(|| {
        let before = cluster.differences(CONFIG);
        assert!(before.starts_with("table ip rutter, table: there is no such table"), "{before}");
        cluster.sync();
        assert_eq!(cluster.differences(CONFIG), "");
    });
    for line in [
        "add rule ip rutter services accept",
        "add element ip rutter cluster-ips { 9.9.9.9 }",
        "delete element ip rutter hairpin { 10.0.1.1 . 10.0.1.1 }",
        "delete element ip rutter backends { 10.96.0.10 . tcp . 80 . 0x00000001 }",
        "add element ip rutter backends { 10.96.0.10 . tcp . 80 . 0x00000001 : 6.6.6.6 . 80 }",
        "add chain ip rutter theirs",
    ] {
        ns.output(&["nft", line]);
    }
    ns.run(|| {
        expect![[r#"
            table ip rutter, chain services: has other rules
            table ip rutter, set hairpin: 10.0.1.1 . 10.0.1.1 is missing
            table ip rutter, map backends: 10.96.0.10 . tcp . 80 . 0x00000001 : 6.6.6.6 . 80 should be 10.96.0.10 . tcp . 80 . 0x00000001 : 10.0.1.2 . 8080
            table ip rutter, chain theirs: should not be there
            table ip rutter, set cluster-ips: 9.9.9.9 should not be there"#]].assert_eq(&cluster.differences(CONFIG));
        cluster.restart(CONFIG);
        cluster.settle();
        assert_eq!(cluster.differences(CONFIG), "");
    });
}
