use super::*;
use crate::plugins::Spec;
use crate::plugins::tests::{ask, mistakes, request, spec};

/// What a question is answered through the rules (one a line) by the tests' cluster and some records of a template.
fn check(rules: &str, question: &str, expected: &str) {
    let corefile = format!(
        ". {{
{rules}
    template IN A example {{
        match \"^(www|alias-[a-z]+)[.]example[.]$\"
        answer \"{{{{ .Name }}}} 60 IN A 192.0.2.1\"
        fallthrough
    }}
    template IN A example.org {{
        match ^c[.]example[.]org[.]$
        answer \"{{{{ .Name }}}} 60 IN CNAME old.example.\"
        fallthrough
    }}
    kubernetes cluster.local
}}"
    );
    assert_eq!(ask(&corefile, question), expected, "{rules}: {question}");
}

#[test]
fn an_exact_name_is_asked_as_another_and_answered_as_itself() {
    check("rewrite name Web.Test web.default.svc.cluster.local", "WEB.test. A", "NOERROR\nWEB.test. 5 A 10.96.0.1\n");
    check("rewrite name exact web.test web.default.svc.cluster.local", "web.other. A", "SERVFAIL\n");
}

#[test]
fn ends_and_middles_are_replaced() {
    for (rules, question, expected) in [
        (
            "rewrite name suffix .apps.test .default.svc.cluster.local answer auto",
            "web.apps.test. A",
            "NOERROR\nweb.apps.test. 5 A 10.96.0.1\n",
        ),
        (
            "rewrite name suffix .apps.test .default.svc.cluster.local",
            "web.apps.test. A",
            "NOERROR\nweb.default.svc.cluster.local. 5 A 10.96.0.1\n",
        ),
        ("rewrite name prefix x www answer auto", "x.example. A", "NOERROR\nx.example. 60 A 192.0.2.1\n"),
        // A prefix is whole labels, and so is what a substring ends with.
        ("rewrite name prefix x-w w", "x-www.example. A", "SERVFAIL\n"),
        ("rewrite name substring oo.ex ww.ex answer auto", "oow.example. A", "SERVFAIL\n"),
        ("rewrite name substring oo ww answer auto", "woo.example. A", "NOERROR\nwoo.example. 60 A 192.0.2.1\n"),
        ("rewrite name regex ^x$ a..b", "x. A", "SERVFAIL\n"),
        (
            "rewrite name regex (.*)\\.in\\.(.*)\\.test {1}.{2}.svc.cluster.local answer name (.*)\\.(.*)\\.svc\\.cluster\\.local {1}.in.{2}.test",
            "web.in.default.test. A",
            "NOERROR\nweb.in.default.test. 5 A 10.96.0.1\n",
        ),
        (
            "rewrite stop {\n name regex (.*)\\.test {1}.default.svc.cluster.local\n answer auto\n }",
            "web.test. A",
            "NOERROR\nweb.test. 5 A 10.96.0.1\n",
        ),
    ] {
        check(rules, question, expected);
    }
}

#[test]
fn a_rule_that_fits_ends_the_list_unless_it_says_continue() {
    let second = "rewrite name b.test www.example";
    check(&format!("rewrite name a.test b.test\n{second}"), "a.test. A", "SERVFAIL\n");
    check(&format!("rewrite continue name a.test b.test\n{second}"), "a.test. A", "NOERROR\na.test. 60 A 192.0.2.1\n");
}

#[test]
fn types_ttls_and_return_codes_are_changed() {
    check("rewrite type AAAA A", "www.example. AAAA", "NOERROR\nwww.example. 60 A 192.0.2.1\n");
    check("rewrite ttl www.example 15", "www.example. A", "NOERROR\nwww.example. 15 A 192.0.2.1\n");
    check("rewrite ttl suffix .example 90-", "www.example. A", "NOERROR\nwww.example. 90 A 192.0.2.1\n");
    check("rewrite ttl regex .* -30", "www.example. A", "NOERROR\nwww.example. 30 A 192.0.2.1\n");
    check("rewrite rcode regex .* SERVFAIL NXDOMAIN", "nobody.test. A", "NXDOMAIN\n");
    check(
        "rewrite cname exact old.example www.example",
        "c.example.org. A",
        "NOERROR\nc.example.org. 60 CNAME www.example.\nwww.example. 60 A 192.0.2.1\n",
    );
}

/// The options that a question takes along.
fn options(rules: &[&str], client: &str) -> Vec<(u16, Vec<u8>)> {
    let rules = rules.iter().map(|rule| match spec(rule) {
        Spec::Rewrite(options) => options,
        other => panic!("{other:?}"),
    });
    let asked = Request { client: format!("{client}:4000").parse().expect("address"), ..request("a.example. A") };
    Rewrite::new(rules.collect()).ask(&asked).expect("a name").0.options
}

#[test]
fn edns_options_are_added_and_taken_off() {
    assert_eq!(options(&["rewrite edns0 local set 0xffee 0x0102"], "10.1.2.3"), [(0xffee, vec![1, 2])]);
    assert_eq!(options(&["rewrite edns0 local append 65500 {client_ip}"], "10.1.2.3"), [(65_500, vec![10, 1, 2, 3])]);
    assert_eq!(options(&["rewrite edns0 LOCAL SET 1 {qname} revert"], "10.1.2.3"), [(1, b"a.example.".to_vec())]);
    assert_eq!(options(&["rewrite edns0 local set 1 {client_port}"], "10.1.2.3"), [(1, vec![0x0f, 0xa0])]);
    assert_eq!(options(&["rewrite edns0 subnet set 20 56"], "10.1.255.3"), [(8, vec![0, 1, 20, 0, 10, 1, 0xf0])]);
    assert_eq!(options(&["rewrite edns0 nsid set"], "10.1.2.3"), [(3, Vec::new())]);
    assert!(options(&["rewrite continue edns0 local set 1 x", "rewrite edns0 local unset 1"], "10.1.2.3").is_empty());
    assert!(options(&["rewrite edns0 local replace 1 x"], "10.1.2.3").is_empty());
}

#[test]
fn what_is_known_of_a_question_goes_into_its_new_name() {
    let objects = "ns dev\nsvc dev/web 10.96.0.8 http:80/tcp\npod dev/tool 10.2.0.1\n";
    let corefile = |rules: &str| format!(". {{\n metadata\n {rules}\n kubernetes cluster.local {{\n pods verified\n }}\n}}");
    let rule = "rewrite name regex ^([^.]+)[.]example[.]$ {1}.{kubernetes/client-namespace}.svc.cluster.local metadata answer auto";
    let corefile = corefile(rule);
    let answer = |corefile: &str| crate::plugins::tests::ask_slowly(corefile, objects, "Web.example. A");
    assert_eq!(answer(&corefile), "NOERROR\nWeb.example. 5 A 10.96.0.8\n");
    assert_eq!(answer(&corefile.replace(" metadata\n", "\n")), "SERVFAIL\n");
    assert_eq!(answer(&corefile.replace("client-namespace", "client-label/none")), "SERVFAIL\n");
}

#[test]
fn mistakes_are_told() {
    for (rule, told) in [
        ("rewrite", "`rewrite` takes one of: name, type, class, edns0, ttl, rcode, cname"),
        ("rewrite colour red blue", "`rewrite colour`: not one of name, type, class, edns0, ttl, rcode, cname"),
        ("rewrite name a.test", "`rewrite name` takes a name and another"),
        ("rewrite name regex ( b", "`regex (`: unclosed group"),
        ("rewrite name a.test b.test reply", "`a.test`: not one of exact, prefix, suffix, substring, regex"),
        ("rewrite name exact a b reply", "`reply`: expected `answer auto`, `answer name FROM TO` or `answer value FROM TO`"),
        ("rewrite name suffix a b answer auto name x y", "`answer auto` and `answer name` exclude each other"),
        ("rewrite name regex (.*)[.]a {1}.{2}", "`{1}.{2}` has more groups than the pattern"),
        ("rewrite type A FOO", "`FOO` is not a record type"),
        ("rewrite ttl a.test 60-30", "`60-30`: neither seconds nor a range such as 30-300"),
        ("rewrite rcode a.test 2 WORSE", "`WORSE` is not a return code"),
        ("rewrite name regex (.*)[.]a {2}.b metadata", "`{2}.b.`: there are more groups than in the pattern"),
        (
            "rewrite name regex a {namespace}.b metadata",
            "`{namespace}`: neither a group nor a label of `metadata` such as kubernetes/client-namespace",
        ),
        ("rewrite name exact a b metadata", "`metadata` stands behind a regex and what replaces it alone"),
        ("rewrite edns0 local set 0xfffff x", "`0xfffff` is no code of an EDNS option such as 0xffee"),
    ] {
        assert_eq!(mistakes(rule), [told], "{rule}");
    }
}
