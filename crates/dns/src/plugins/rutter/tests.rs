use super::*;
use crate::plugins::Spec;
use crate::plugins::kubernetes::tests::CLUSTER;
use crate::plugins::tests::{ask, ask_of, mistakes, spec};

/// What is answered with these options; `www.example.com` has an A record, and `4.example.com` too, which no one knows an AAAA of.
fn check(options: &str, question: &str, expected: &str) {
    let corefile = format!(
        ". {{
    rutter {{
        {options}
    }}
    rewrite rcode regex .* SERVFAIL NXDOMAIN
    template IN A example.com {{
        match \"^(www|4)[.]example[.]com[.]$\"
        answer \"{{{{ .Name }}}} 60 IN A 192.0.2.1\"
    }}
    template IN AAAA example.com {{
        match \"^4[.]example[.]com[.]$\"
        rcode SERVFAIL
    }}
    kubernetes cluster.local
}}"
    );
    assert_eq!(ask(&corefile, question), expected, "{options}: {question}");
}

#[test]
fn the_first_step_of_a_search_list_is_answered_with_the_last_ones_records() {
    let asked = "www.example.com.default.svc.cluster.local.";
    check(
        "search-completion",
        &format!("{asked} A"),
        &format!("NOERROR\n{asked} 60 CNAME www.example.com.\nwww.example.com. 60 A 192.0.2.1\n"),
    );
    check("search-completion", &format!("{asked} AAAA"), &format!("NOERROR\n{asked} 0 CNAME www.example.com.\n"));
    check(
        "search-completion corp com",
        "www.example.default.svc.cluster.local. A",
        "NOERROR\nwww.example.default.svc.cluster.local. 60 CNAME www.example.com.\nwww.example.com. 60 A 192.0.2.1\n",
    );
}

#[test]
fn a_namespace_behind_a_service_is_found_in_the_cluster() {
    check(
        "search-completion",
        "web.default.dev.svc.cluster.local. A",
        "NOERROR\nweb.default.dev.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.\nweb.default.svc.cluster.local. 5 A 10.96.0.1\n",
    );
}

#[test]
fn a_name_that_is_whole_but_for_its_final_dot_is_found_at_once() {
    let (asked, whole) = ("web.default.svc.cluster.local.dev.svc.cluster.local.", "web.default.svc.cluster.local.");
    check("search-completion", &format!("{asked} A"), &format!("NOERROR\n{asked} 5 CNAME {whole}\n{whole} 5 A 10.96.0.1\n"));
    let answer = ask(". {\n rutter {\n search-completion\n }\n kubernetes cluster.local\n}", &format!("{asked} AAAA"));
    assert!(answer.starts_with(&format!("NOERROR\n{asked} 0 CNAME {whole}\nauth cluster.local. 5 SOA ")), "{answer}");
}

#[test]
fn what_is_no_search_step_is_not_touched() {
    for question in [
        // A Service has that name: an endpoint of it that is not there.
        "gone.web.default.svc.cluster.local. A",
        "www.example.com.nowhere.svc.cluster.local. A",
        "_http._tcp.com.default.svc.cluster.local. A",
        "www.example.com.default.svc.cluster.local. TXT",
        "com.default.svc.cluster.local. A",
        "printer.local.default.svc.cluster.local. A",
        // No Service yet, and no name of the world either.
        "redis-0.redis.default.svc.cluster.local. A",
    ] {
        let answer = ask(". {\n rutter {\n search-completion\n }\n kubernetes cluster.local\n}", question);
        let without = ask(". {\n kubernetes cluster.local\n}", question);
        // The serial of the SOA is the time.
        let codes = |text: &str| text.lines().map(|line| line.split(' ').take(4).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
        assert_eq!(codes(&answer), codes(&without), "{question}");
    }
}

#[test]
fn the_last_step_is_taken_into_a_zone_of_its_own_and_for_delegated_domains() {
    let corefile = "printer.corp {
    template IN A printer.corp {
        answer \"{{ .Name }} 60 IN A 192.0.2.9\"
    }
}
. {
    rutter {
        search-completion
    }
    kubernetes cluster.local
}";
    let asked = "a.printer.corp.default.svc.cluster.local.";
    assert_eq!(
        ask(corefile, &format!("{asked} A")),
        format!("NOERROR\n{asked} 60 CNAME a.printer.corp.\na.printer.corp. 60 A 192.0.2.9\n")
    );
    assert!(search::is_public(&Name::parse("www.example.COM").expect("a name")));
    assert!(search::is_public(&Name::parse("xn--p1ai").expect("a name")));
    for private in ["redis-0.redis", "a.local", "a.svc", "10.in-addr.arpa", "a.b2", "a.corp"] {
        assert!(!search::is_public(&Name::parse(private).expect("a name")), "{private}");
    }
}

#[test]
fn where_pods_are_known_only_those_of_the_namespace_are_answered() {
    // The one who asks in these tests is 10.2.0.1, pod dev/tool of CLUSTER.
    let corefile = |pods: &str| {
        format!(
            ". {{
    rutter {{
        search-completion
    }}
    rewrite rcode regex .* SERVFAIL NXDOMAIN
    template IN A example.com {{
        answer \"{{{{ .Name }}}} 60 IN A 192.0.2.1\"
    }}
    kubernetes cluster.local {{
        pods {pods}
    }}
}}"
        )
    };
    let on_its_node = CLUSTER.replace("pod dev/tool 10.2.0.1", "pod dev/tool 10.2.0.1 host");
    let elsewhere = CLUSTER.replace("pod dev/tool 10.2.0.1", "pod dev/tool 10.2.0.2");
    for (pods, own_pods, objects, dev, default) in [
        ("verified", false, CLUSTER, "NOERROR", "NXDOMAIN"),
        ("verified", false, &on_its_node, "NXDOMAIN", "NXDOMAIN"),
        ("insecure", true, CLUSTER, "NOERROR", "NXDOMAIN"),
        ("insecure", true, &on_its_node, "NXDOMAIN", "NXDOMAIN"),
        ("insecure", true, &elsewhere, "NXDOMAIN", "NXDOMAIN"),
        ("insecure", false, &elsewhere, "NOERROR", "NOERROR"),
    ] {
        let code = |namespace: &str| {
            let told = ask_of(&corefile(pods), objects, own_pods, &format!("www.example.com.{namespace}.svc.cluster.local. A"));
            told.lines().next().map(str::to_owned).unwrap_or_default()
        };
        assert_eq!((&*code("dev"), &*code("default")), (dev, default), "{pods} {own_pods}");
    }
    // A pod on its node's network has a name all the same.
    assert!(ask_of(&corefile("verified"), &on_its_node, false, "10-2-0-1.dev.pod.cluster.local. A").starts_with("NOERROR"));
}

#[test]
fn aaaa_of_the_world_can_be_denied_and_the_clusters_stays() {
    check("aaaa off", "www.example.org. AAAA", "NOERROR\n");
    check("aaaa on", "www.example.org. AAAA", "NXDOMAIN\n");
    check("aaaa off", "www.example.com. A", "NOERROR\nwww.example.com. 60 A 192.0.2.1\n");
    check(
        "aaaa off",
        "dual.default.svc.cluster.local. AAAA",
        &ask(". {\n kubernetes cluster.local\n}", "dual.default.svc.cluster.local. AAAA"),
    );
    let off = |addresses: &[&str]| {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().expect("address")).collect();
        local::Local::new(&Options { aaaa: Aaaa::Auto, ..Options::default() }, &addresses, &[]).is_some()
    };
    assert!(off(&["10.0.0.1"]) && !off(&["10.0.0.1", "fd00::1"]));
}

#[test]
fn private_reverse_zones_are_denied_here() {
    let soa = |zone: &str| format!("auth {zone}. 10800 SOA {zone}. nobody.invalid. 1 3600 1200 604800 10800\n");
    for (question, expected) in [
        ("1.2.3.10.in-addr.arpa. PTR", format!("NXDOMAIN\n{}", soa("10.in-addr.arpa"))),
        ("1.2.31.172.in-addr.arpa. PTR", format!("NXDOMAIN\n{}", soa("31.172.in-addr.arpa"))),
        ("10.in-addr.arpa. PTR", format!("NOERROR\n{}", soa("10.in-addr.arpa"))),
        ("1.2.32.172.in-addr.arpa. PTR", "NXDOMAIN\n".to_owned()),
        ("8.8.8.8.in-addr.arpa. PTR", "NXDOMAIN\n".to_owned()),
    ] {
        check("private-reverse", question, &expected);
    }
}

#[test]
fn a_private_zone_that_an_upstream_is_named_for_is_asked_of_it() {
    let options = Options { private_reverse: true, ..Options::default() };
    let forwarded = [Name::root(), Name::parse("2.10.IN-ADDR.arpa").expect("a name")];
    let local = local::Local::new(&options, &[], &forwarded).expect("something to do");
    let answered =
        |name: &str| local::Local::answer(&local, &crate::plugins::tests::request(&format!("{name}.in-addr.arpa. PTR"))).is_some();
    assert_eq!(["1.1.2.10", "2.10", "1.1.3.10", "10"].map(answered), [false, false, true, true]);
}

#[test]
fn mistakes_are_told() {
    assert_eq!(
        mistakes("rutter {\n aaaa maybe\n search\n}"),
        ["`aaaa maybe`: not on, off or auto", "rutter has no option `search`; it has: search-completion, aaaa, private-reverse"]
    );
    assert_eq!(
        mistakes("rutter {\n search-completion\n}"),
        ["`rutter` reads what `kubernetes` of the same block knows, and there is none"]
    );
    assert!(matches!(spec("rutter {\n aaaa auto\n}"), Spec::Rutter(Options { aaaa: Aaaa::Auto, .. })));
}
