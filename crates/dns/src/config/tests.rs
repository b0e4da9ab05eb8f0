use expect_test::{Expect, expect};

use super::*;

/// What a Corefile comes to: its blocks with their plugins, or its mistakes.
fn check(text: &str, expect: Expect) {
    let shown = match Corefile::parse(text) {
        Ok(corefile) => corefile.blocks.iter().map(show).collect::<String>(),
        Err(mistakes) => mistakes.iter().map(|mistake| format!("{mistake}\n")).collect(),
    };
    expect.assert_eq(&shown);
}

fn show(block: &ServerBlock) -> String {
    let keys: Vec<_> = block.keys.iter().map(|key| format!("{}:{}", key.zone, key.port)).collect();
    let plugins: Vec<_> = block.plugins.iter().map(Spec::name).collect();
    format!("{} {{ {} }}\n", keys.join(" "), plugins.join("; "))
}

#[test]
fn the_built_in_corefile_is_kubeadms() {
    check(
        &kubeadm_text("cluster.local"),
        expect![[r#"
            .:53 { reload; ready; health; prometheus; errors; loadbalance; kubernetes; cache; loop; forward }
        "#]],
    );
    let corefile = Corefile::kubeadm("corp.example").expect("valid");
    let mut plugins = corefile.blocks.iter().flat_map(|block| &block.plugins);
    let Some(Spec::Kubernetes(options)) = plugins.find(|plugin| matches!(plugin, Spec::Kubernetes(_))) else { panic!("there") };
    assert_eq!(options.zone_texts(), ["corp.example.", "in-addr.arpa.", "ip6.arpa."]);
    assert_eq!((options.pods, options.ttl_secs), (kubernetes::Pods::Insecure, 30));
}

#[test]
fn k3s_default_corefile_is_served_whole() {
    // As k3s installs it (manifests/coredns.yaml), its import hooks and NodeHosts in a folder of the test's.
    let folder = std::env::temp_dir().join(format!("rutter-dns-k3s-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("custom")).expect("a folder");
    let text = ".:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
    hosts /etc/coredns/NodeHosts {
      ttl 60
      reload 15s
      fallthrough
    }
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
    import custom/*.override
    forward . /etc/resolv.conf
}
import custom/*.server
";
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    write("Corefile", text);
    let read = || Corefile::read(&folder.join("Corefile"));
    let shown = |read: Result<Corefile, Vec<Mistake>>| match read {
        Ok(corefile) => corefile.blocks.iter().map(show).collect::<String>(),
        Err(mistakes) => mistakes.iter().map(|mistake| format!("{mistake}\n")).collect(),
    };
    let whole = ".:53 { reload; ready; health; prometheus; errors; loadbalance; hosts; kubernetes; cache; loop; forward }\n";
    assert_eq!(shown(read()), whole);
    write("custom/log.override", "log");
    write("custom/corp.server", "corp.example:53 {\n  forward . 10.0.0.53\n}\n");
    let custom = whole.replace("errors;", "errors; log;") + "corp.example.:53 { forward }\n";
    assert_eq!(shown(read()), custom);
    let other = Corefile::read_on(&folder.join("Corefile"), 1053).map(|corefile| corefile.blocks.iter().map(show).collect::<String>());
    assert_eq!(other.as_deref(), Ok(custom.as_str()), "these keys name their port");
    // A mistake is told with the file that it stands in.
    write("custom/corp.server", "corp.example:53 {\n  forward . 10.0.0.53\n  forwrad\n}\n");
    let told = shown(read());
    let path = folder.join("custom/corp.server").display().to_string();
    std::fs::remove_dir_all(&folder).expect("removed");
    assert!(told.starts_with(&format!("{path}:3: unknown directive `forwrad`; this server has: metadata, bind, ")), "{told}");
}

#[test]
fn keys_name_zones_ports_and_networks() {
    check(
        "dns://Example.org:1053, 10.96.0.0/15 {\n errors\n}\nfd00:1::/34:54 { errors }",
        expect![[r#"
            example.org.:1053 96.10.in-addr.arpa.:53 97.10.in-addr.arpa.:53 { errors }
            0.1.0.0.0.0.0.d.f.ip6.arpa.:54 1.1.0.0.0.0.0.d.f.ip6.arpa.:54 2.1.0.0.0.0.0.d.f.ip6.arpa.:54 3.1.0.0.0.0.0.d.f.ip6.arpa.:54 { errors }
        "#]],
    );
}

#[test]
fn keys_without_a_port_take_the_one_they_are_given() {
    let refuse = |_: &str, _: &str| Err(io::Error::other("none"));
    let (_, read) = parse(String::new(), "a.test b.test:54 {\n errors\n}".to_owned(), 1053, &refuse);
    assert_eq!(read.expect("valid").blocks.iter().map(show).collect::<String>(), "a.test.:1053 b.test.:54 { errors }\n");
}

#[test]
fn all_mistakes_are_told_at_once_with_their_lines() {
    check(
        ".:53 {
    kuberntes cluster.local
    kubernetes cluster.local {
        pods sometimes
        ttl 4000
        frobnicate
    }
    forward . ./nowhere https://9.9.9.9
    cache 30 {
        disable everything
    }
    health {
        lameduck soon
    }
}
.:70000 {
}
.:53 {
}",
        expect![[r#"
            line 2: unknown directive `kuberntes`; this server has: metadata, bind, reload, ready, health, prometheus, errors, log, bufsize, loadbalance, rewrite, autopath, acl, template, transfer, hosts, rutter, k8s_external, kubernetes, cache, loop, forward
            line 4: `pods sometimes`: not disabled, insecure or verified
            line 5: `ttl 4000`: 3600 at the most
            line 6: kubernetes has no option `frobnicate`; it has: pods, endpoint_pod_names, namespaces, namespace_labels, labels, ttl, noendpoints, fallthrough, ignore, multicluster, zonal, startup_timeout, kubeconfig, endpoint, tls, apiserver_qps, apiserver_burst, apiserver_max_inflight
            line 8: `./nowhere`: neither an address, nor the path of a resolv.conf, nor a name
            line 8: `https://9.9.9.9`: `forward` does not speak https yet
            line 10: `disable everything`: neither success nor denial
            line 13: `lameduck soon`: not a duration such as 5s
            line 16: `.:70000`: `70000` is no port
            line 18: .:53 is already served by the block in line 1
        "#]],
    );
}

#[test]
fn snippets_and_comments_are_caddys() {
    check(
        ". {\n errors\n}\n{ {\n log\n}",
        expect![[r#"
            line 4: `{` stands where a zone should
        "#]],
    );
    check(
        "(common) {\n errors # twice is once too often\n log_is_no_directive_here \"}\"\n}\n. {\n import common\n}",
        expect![[r#"
            line 3: unknown directive `log_is_no_directive_here`; this server has: metadata, bind, reload, ready, health, prometheus, errors, log, bufsize, loadbalance, rewrite, autopath, acl, template, transfer, hosts, rutter, k8s_external, kubernetes, cache, loop, forward
        "#]],
    );
    check(
        "(common) {\n errors\n loadbalance\n}\n. {\n import common\n}\n# the end",
        expect![[r#"
        .:53 { errors; loadbalance }
    "#]],
    );
}

#[test]
fn one_block_alone_needs_no_braces() {
    check(
        "# kubeadm's is not alone\n.:1053, example.org\nerrors\nforward . 10.0.0.1 # the node's\n",
        expect![[r#"
            .:1053 example.org.:53 { errors; forward }
        "#]],
    );
}

#[test]
fn words_are_cut_as_caddy_cuts_them() {
    let words = |text: &str| lex::words(text, 0, &|name| (name == "HOME").then(|| "/root".to_owned()));
    let texts = |text: &str| words(text).into_iter().map(|word| word.text).collect::<Vec<_>>();
    for (text, expected) in [
        ("\u{feff}a b#c d\n#e\nf", &["a", "b", "f"][..]),
        (r#""a \"b\" \\" c"#, &[r#"a "b" \\"#, "c"]),
        (r#""{$HOME} x" {%HOME%}/{$NONE}y a"b"#, &["/root x", "/root/y", "a\"b"]),
        ("\"never closed", &["never closed"]),
    ] {
        assert_eq!(texts(text), expected, "{text}");
    }
    // What stands behind a word of several lines stands on its last.
    check("a {\n template ANY ANY {\n  match \"a\n\" b\n  rcode NXDOMAIN\n }\n}", expect![["a.:53 { template }\n"]]);
}

#[test]
fn what_is_not_whole_is_said_so() {
    check(
        ".:53 {\n errors\n",
        expect![[r#"
        line 1: this block is never closed: a `}` is missing
    "#]],
    );
    check(
        ". {\n errors\n}\n.:54\nerrors\n",
        expect![[r#"
        line 4: expected `{` after `.:54`
    "#]],
    );
    check(
        "(a) {\n errors\n}\n(a) {\n log\n}\n. {\n import a\n}",
        expect![[r#"
        line 4: there is a snippet `a` already
    "#]],
    );
    check(
        "",
        expect![[r#"
        line 1: no server block: nothing would be answered
    "#]],
    );
    check(
        ". {\n import nowhere\n}",
        expect![[r#"
        line 2: cannot import `nowhere`: no snippet `nowhere`, and files are not read here
    "#]],
    );
}

#[test]
fn files_are_imported_by_pattern_and_their_absence_is_no_mistake() {
    let folder = std::env::temp_dir().join(format!("rutter-dns-import-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    write("Corefile", ". {\n import *.override\n}\nimport *.server\nimport missing/*.server");
    write("a.override", "errors\nloadbalance");
    write("a.server", "example.org {\n errors\n}");
    let shown: String = Corefile::read(&folder.join("Corefile")).expect("valid").blocks.iter().map(show).collect();
    std::fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(shown, ".:53 { errors; loadbalance }\nexample.org.:53 { errors }\n");
}

#[test]
fn durations_are_gos() {
    for (text, millis) in [
        ("5s", Some(5_000)),
        ("1m30s", Some(90_000)),
        ("1.5s", Some(1_500)),
        ("500ms", Some(500)),
        ("0", Some(0)),
        ("5", None),
        ("s", None),
        ("", None),
        ("-1s", None),
    ] {
        assert_eq!(directive::duration(text).map(|duration| duration.as_millis()), millis, "{text}");
    }
}

#[test]
fn one_api_is_followed_by_whatever_names_it() {
    let api = |options: &str| {
        let corefile = Corefile::parse(&format!(". {{\n kubernetes cluster.local {{\n {options}\n }}\n}}")).expect("a Corefile");
        corefile.needs().api.map(|api| format!("{api:?}"))
    };
    assert_eq!(api("ttl 5"), None);
    assert_eq!(api("endpoint 10.0.0.1:6443 10.0.0.2:6443").as_deref(), Some("Endpoint { url: \"http://10.0.0.1:6443\", tls: None }"));
    let tls = "Endpoint { url: \"https://a\", tls: Some(Tls { certificate: \"c\", key: \"k\", authority: \"ca\" }) }";
    assert_eq!(api("endpoint https://a\n tls c k ca").as_deref(), Some(tls));
    let kubeconfig = "Kubeconfig { path: \"file\", context: Some(\"other\") }";
    assert_eq!(api("endpoint https://a\n kubeconfig file other").as_deref(), Some(kubeconfig));
    let block = |port: u16, host: &str| format!(".:{port} {{\n kubernetes cluster.local {{\n endpoint https://{host}\n }}\n}}\n");
    let told = Corefile::parse(&(block(53, "a") + &block(54, "b"))).expect_err("two");
    let expected = "line 6: `kubernetes` follows another API here than in the block in line 1: one server follows one";
    assert_eq!(told[0].to_string(), expected);
}

#[test]
fn a_zone_may_be_served_apart_on_each_address() {
    let corefile = |first: &str, second: &str| Corefile::parse(&format!(". {{\n bind {first}\n}}\n. {{\n bind {second}\n}}"));
    assert!(corefile("127.0.0.1", "127.0.0.2 ::1").is_ok());
    let told = corefile("127.0.0.1", "::1 127.0.0.1").expect_err("taken");
    assert_eq!(told[0].to_string(), "line 4: .:53 is already served by the block in line 1");
}
