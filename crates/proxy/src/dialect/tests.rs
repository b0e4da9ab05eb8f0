use expect_test::{Expect, expect};

use super::*;

fn check(line: &str, expected: Expect) {
    let said = match parse(line.split_whitespace().map(str::to_owned)) {
        Ok(told) => {
            let mut said = format!("{} config {:?} warnings {:?}", told.fields, told.config_file, told.warnings);
            for (name, on) in [("cleanup", told.cleanup), ("init", told.init_only), ("version", told.version), ("help", told.help)] {
                said.push_str(if on { " " } else { "" });
                said.push_str(if on { name } else { "" });
            }
            said
        }
        Err(errors) => errors.to_string(),
    };
    expected.assert_eq(&said);
}

#[test]
fn flags_become_a_file() {
    check(
        "--cluster-cidr=10.0.0.0/8 --proxy-mode nftables --masquerade-all --conntrack_min=7 --nodeport-addresses=primary,10.0.0.0/8 --nodeport-addresses localhost --feature-gates=A=true,B=false -v=4",
        expect![[
            r#"{"clusterCIDR":"10.0.0.0/8","conntrack":{"min":7},"featureGates":{"A":true,"B":false},"iptables":{"masqueradeAll":true},"mode":"nftables","nftables":{"masqueradeAll":true},"nodePortAddresses":["primary","10.0.0.0/8","localhost"]} config None warnings []"#
        ]],
    );
}

#[test]
fn a_file_beats_the_flags_that_it_could_say() {
    check(
        "--config=/etc/kp.conf --hostname-override=Node-1 --cluster-cidr 10.0.0.0/8 --profiling=false --logtostderr",
        expect![[
            r#"{"clusterCIDR":"10.0.0.0/8","enableProfiling":false} config Some("/etc/kp.conf") warnings ["--logtostderr is retired and changes nothing"]"#
        ]],
    );
    let told = parse(["--config=x", "--hostname-override=Node-1", "--cluster-cidr=10.0.0.0/8"].map(str::to_owned)).expect("valid");
    let config = |precedence| told.config(Some("{clusterCIDR: 10.1.0.0/16, mode: nftables}"), precedence).expect("valid");
    let by_file = config(Precedence::File);
    assert_eq!(by_file.node_name.as_deref(), Some("node-1"));
    assert_eq!(format!("{:?}", by_file.detector), "ClusterCidr([10.1.0.0/16])");
    assert_eq!(by_file.warnings, ["--config is given, so these are ignored: --cluster-cidr"]);
    let by_flags = config(Precedence::Flags);
    assert_eq!(format!("{:?} {:?} {:?}", by_flags.detector, by_flags.mode, by_flags.warnings), "ClusterCidr([10.0.0.0/8]) Nftables []");
}

#[test]
fn a_mistake_is_told_by_whoever_made_it() {
    let told = parse(["--proxy-mode=magic"].map(str::to_owned)).expect("a value of the right kind");
    let said = |file, precedence| told.config(file, precedence).expect_err("a mistake").to_string();
    let file = Some("{clusterCIDR: nowhere}");
    assert_eq!(
        said(file, Precedence::Flags),
        "--proxy-mode: \"magic\" is not one of nftables, iptables, ipvs, userspace\nclusterCIDR: \"nowhere\" is not a CIDR"
    );
    assert_eq!(said(file, Precedence::File), "clusterCIDR: \"nowhere\" is not a CIDR");
}

#[test]
fn flags_stand_in_order_each_once() {
    let names: Vec<_> = flags().filter(|flag| !flag.is_retired()).map(|flag| flag.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
}

#[test]
fn every_mistake_is_told() {
    check(
        "--no-such --conntrack-min=many extra --feature-gates A --proxy-mode",
        expect![[r#"
            unknown flag: --no-such
            --conntrack-min: "many" is not a whole number
            "extra" is no flag, and kube-proxy takes nothing else
            --feature-gates: "A" is not a list of NAME=true|false
            --proxy-mode needs a value"#]],
    );
}

#[test]
fn what_is_written_is_what_is_read() {
    let told = parse(["--cluster-cidr=10.0.0.0/8", "--kubeconfig=/k", "--oom-score-adj=-5"].map(str::to_owned)).expect("valid");
    let shown = |config: Result<Config, ConfigErrors>| config.map(|config| config.to_json());
    assert_eq!(shown(Config::parse(&told.to_file())), shown(told.config(None, Precedence::Flags)));
}

#[test]
fn every_field_of_the_table_is_one_of_the_file() {
    for flag in FLAGS {
        let text = match flag.kind {
            Bool => "true",
            Int | Float => "3",
            Gates => "A=true",
            Text | List => "",
        };
        let Means::Fields(_) = flag.means else { continue };
        let mut told = Invocation::default();
        told.give(flag, text).expect("a value of the right kind");
        let said = told.config(None, Precedence::Flags).err().map(|errors| errors.to_string()).unwrap_or_default();
        assert!(!said.contains("unknown field"), "--{}: {said}", flag.name);
    }
}
