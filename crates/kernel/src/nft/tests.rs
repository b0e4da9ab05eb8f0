use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::Errno;
use crate::netns::Netns;

fn table() -> Table {
    Table::new(Family::Ip, "t")
}

fn ip4(text: &str) -> Field {
    Field::Ip4(text.parse().expect("an address"))
}

fn services() -> Set {
    Set::map("services", [Type::Ipv4Addr, Type::InetProto, Type::InetService], Data::Fields(vec![Type::ClassId]))
}

fn nets() -> Set {
    Set::new("nets", [Type::Ipv4Addr]).interval()
}

fn allowed() -> Set {
    Set::new("allowed", [Type::Ipv4Addr, Type::InetService, Type::Ipv4Addr]).interval()
}

fn seen() -> Set {
    Set::new("seen", [Type::Ipv4Addr]).dynamic(Duration::from_secs(60), 1000)
}

/// One of everything.
fn everything() -> Batch {
    let mut batch = Batch::new(table());
    let key = || vec![Load::Destination, Load::L4Proto, Load::DestinationPort];
    batch.push(Op::AddTable);
    for set in [services(), nets(), allowed(), seen()] {
        batch.push(Op::AddSet(set));
    }
    batch.push(Op::AddSet(Set::new("served", [Type::Ipv4Addr, Type::InetService])));
    batch.push(Op::AddSet(Set::map("picks", [Type::ClassId], Data::Verdict)));
    batch.push(Op::AddSet(Set::map(
        "backends",
        [Type::Ipv4Addr, Type::InetProto, Type::InetService, Type::Mark],
        Data::Fields(vec![Type::Ipv4Addr, Type::InetService]),
    )));
    batch.push(Op::AddChain(Chain::base("pre", HookKind::Nat, HookPoint::Prerouting, -100)));
    batch.push(Op::AddChain(Chain::base("post", HookKind::Nat, HookPoint::Postrouting, 100)));
    batch.push(Op::AddChain(Chain::base("raw", HookKind::Filter, HookPoint::Output, -300)));
    batch.push(Op::AddChain(Chain::new("pick")));
    let mut rule = |chain: &'static str, statements: Vec<Statement>| batch.push(Op::AddRule(Rule::new(chain, statements).comment("why")));
    rule(
        "pre",
        vec![
            Statement::Match(Load::Source, Compare::NotEqual, Operand::Net(Ipv4Addr::new(10, 0, 0, 0).into(), 9)),
            Statement::Match(Load::DestinationType, Compare::Equal, Operand::Local),
            Statement::Match(Load::InputInterface, Compare::Equal, Operand::Interface("cni0".into())),
            Statement::Match(Load::InputInterface, Compare::NotEqual, Operand::Interface("veth*".into())),
            Statement::SetMarkBits(0x4000),
        ],
    );
    rule("pre", vec![Statement::is_in([Load::Destination], "nets"), Statement::Reject]);
    rule(
        "pre",
        vec![
            Statement::not_in([Load::Destination, Load::DestinationPort, Load::Source], "allowed"),
            Statement::Counter,
            Statement::Verdict(Verdict::Drop),
        ],
    );
    rule(
        "pre",
        vec![
            Statement::PriorityFromMap { key: key(), map: "services".into() },
            Statement::VerdictMap { key: vec![Load::Priority], map: "picks".into() },
        ],
    );
    let slot = |load| [key(), vec![load]].concat();
    rule("pick", vec![Statement::Update { set: "seen".into(), key: vec![Load::Source] }]);
    rule(
        "pick",
        vec![
            Statement::Match(Load::Random { modulo: 2 }, Compare::Equal, Operand::Number(0)),
            Statement::SetPriority(0),
            Statement::DnatByMap { key: slot(Load::Constant(1)), map: "backends".into() },
        ],
    );
    rule("pick", vec![Statement::DnatByMap { key: slot(Load::Random { modulo: 3 }), map: "backends".into() }]);
    rule("post", vec![Statement::MarkBits(0x4000, Compare::Equal), Statement::ClearMarkBits(0x4000), Statement::Masquerade]);
    rule("post", vec![Statement::CtStatusDnat, Statement::CtStateNew, Statement::Masquerade]);
    rule("raw", vec![Statement::is_in([Load::Source, Load::SourcePort], "served"), Statement::Notrack]);
    batch.push(Op::AddElements(
        services(),
        vec![
            Element::new([ip4("10.96.0.1"), Field::Proto(6), Field::Port(80)])
                .to([Field::ClassId(0x2a30_0003)])
                .comment("default/web:http"),
        ],
    ));
    batch.push(Op::AddElements(
        nets(),
        vec![Element::range([ip4("10.96.0.0")], [ip4("10.111.255.255")]), Element::range([ip4("240.0.0.0")], [ip4("255.255.255.255")])],
    ));
    batch.push(Op::AddElements(
        allowed(),
        vec![Element::range(
            [ip4("1.2.3.4"), Field::Port(80), ip4("203.0.113.0")],
            [ip4("1.2.3.4"), Field::Port(80), ip4("203.0.113.127")],
        )],
    ));
    batch.push(Op::AddElements(seen(), vec![Element::new([ip4("10.0.0.9")]).expires(Duration::from_secs(30))]));
    batch.push(Op::AddElements(
        Set::map("picks", [Type::ClassId], Data::Verdict),
        vec![Element::new([Field::ClassId(3)]).verdict(Verdict::Goto("pick".into()))],
    ));
    batch
}

#[test]
fn reads_as_nft_text() {
    expect_test::expect_file!["text.nft"].assert_eq(&everything().to_string());
}

#[test]
fn what_was_committed_is_read_back_and_listed_by_nft() {
    let ns = Netns::new("kernel-nft");
    ns.run(|| {
        let mut nft = Nft::open().expect("nf_tables");
        nft.commit(&everything()).expect("commit");
        let dump = nft.dump(&table()).expect("dump").expect("the table is there");
        assert_eq!(dump.has_set(&services()), Some(true));
        assert_eq!(dump.has_set(&seen()), Some(true));
        assert_eq!(dump.has_set(&allowed()), Some(true));
        assert_eq!(dump.has_set(&Set { interval: false, ..nets() }), Some(false), "a set of another kind");
        assert_eq!(dump.has_set(&Set::new("no", [Type::Mark])), None);
        assert!(dump.chains.contains(&Chain::base("pre", HookKind::Nat, HookPoint::Prerouting, -100)));
        for chain in ["pre", "pick", "post"] {
            let batch = everything();
            let rules: Vec<&Rule> =
                batch.ops.iter().filter_map(|op| if let Op::AddRule(r) = op { (r.chain == chain).then_some(r) } else { None }).collect();
            assert!(dump.has_rules(&table(), chain, rules.iter().copied()), "{chain}");
            assert!(!dump.has_rules(&table(), chain, rules[1..].iter().copied()), "{chain}");
        }
        for op in everything().ops {
            if let Op::AddElements(set, elements) = op {
                let mut held = nft.elements(&table(), &set).expect("elements");
                if set.dynamic.is_some() {
                    for element in &mut held {
                        assert!(element.expires.take().is_some_and(|left| left <= Duration::from_secs(30)));
                        element.expires = Some(Duration::from_secs(30));
                    }
                }
                assert_eq!(held, elements, "{}", set.name);
            }
        }
    });
    // nft prints what we print.
    let listed = ns.output(&["nft", "list", "ruleset"]).replace(" packets 0 bytes 0", "");
    for op in everything().ops {
        let one = Batch { table: table(), ops: vec![op.clone()] }.to_string();
        let expected = match op {
            Op::AddRule(rule) => one.trim_end().strip_prefix(&format!("add rule ip t {} ", rule.chain)).map(str::to_owned),
            Op::AddElements(set, _) if set.data.is_some() => {
                one.trim_end().strip_prefix(&format!("add element ip t {} {{ ", set.name)).map(|e| e.replace(" }", ""))
            }
            _ => None,
        };
        if let Some(expected) = expected {
            assert!(listed.contains(&expected), "{expected}\nis not in\n{listed}");
        }
    }
}

#[test]
fn a_refused_batch_changes_nothing_and_names_the_operation() {
    let ns = Netns::new("kernel-nft");
    ns.run(|| {
        let mut nft = Nft::open().expect("nf_tables");
        let mut batch = Batch::new(table());
        batch.push(Op::AddTable);
        batch.push(Op::AddChain(Chain::new("a")));
        batch.push(Op::AddRule(Rule::new("a", [Statement::goto("missing")])));
        let Err(CommitError::Refused { op, errno, .. }) = nft.commit(&batch) else { panic!("taken") };
        assert_eq!((op.as_str(), errno), ("add rule ip t a goto missing", Errno::ENOENT));
        assert!(nft.dump(&table()).expect("dump").is_none());
    });
}

#[test]
fn a_list_too_long_for_one_attribute_is_split() {
    let ns = Netns::new("kernel-nft");
    ns.run(|| {
        let mut nft = Nft::open().expect("nf_tables");
        let elements: Vec<Element> = (0..MAX_ELEMENTS as u32)
            .map(|i| {
                Element::new([Field::Ip4((0x0a60_0000 + i).into()), Field::Proto(6), Field::Port(80)])
                    .to([Field::ClassId(1)])
                    .comment("a-namespace/with-a-rather-long-service-name:http")
            })
            .collect();
        let mut batch = Batch::new(table());
        batch.push(Op::AddTable);
        batch.push(Op::AddSet(services()));
        batch.push(Op::AddElements(services(), elements.clone()));
        nft.commit(&batch).expect("commit");
        assert_eq!(nft.elements(&table(), &services()).expect("elements").len(), MAX_ELEMENTS);
        let mut batch = Batch::new(table());
        batch.push(Op::DeleteElements(services(), elements));
        nft.commit(&batch).expect("commit");
        assert_eq!(nft.elements(&table(), &services()).expect("elements").len(), 0);
    });
}
