use std::fmt::Write as _;

use super::*;

/// What somebody knows who takes up every change.
#[derive(Default)]
struct Reader {
    facts: BTreeMap<String, String>,
    issues: BTreeMap<String, String>,
}

impl Reader {
    fn take(&mut self, told: Vec<Change>) {
        for change in told {
            let (key, value) = match &change {
                Change::Service(name, fact) => (format!("Service {name}"), fact.as_ref().map(|fact| format!("{:?}", fact.cluster_ips))),
                Change::Slice(name, fact) => (format!("Slice {name}"), fact.as_ref().map(|fact| format!("{:?}", fact.endpoints))),
                Change::Ingress(name, fact) => (format!("Ingress {}", name.name), fact.as_ref().map(|fact| format!("{:?}", fact.class))),
                Change::IngressClass(name, fact) => (format!("IngressClass {name}"), fact.as_ref().map(|fact| format!("{fact:?}"))),
                Change::Issues(object, issues) => {
                    match issues.is_empty() {
                        true => self.issues.remove(&object.to_string()),
                        false => self.issues.insert(object.to_string(), format!("{issues:?}")),
                    };
                    continue;
                }
                other => panic!("not expected: {other:?}"),
            };
            match value {
                Some(value) => self.facts.insert(key, value),
                None => self.facts.remove(&key),
            };
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

/// A file of up to six objects out of few, so that they often meet.
fn file(random: &mut Random, may_break: bool) -> String {
    let mut text = String::new();
    for _ in 0..random.below(7) {
        let (which, ip) = (random.below(3), random.below(3));
        let document = match random.below(if may_break { 7 } else { 5 }) {
            0 => format!("{{apiVersion: v1, kind: Service, metadata: {{name: s{which}}}, spec: {{clusterIP: 10.96.0.{ip}}}}}"),
            1 => format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: x{}, labels: {{kubernetes.io/service-name: s{which}}}}}, \
                 addressType: IPv4, endpoints: [{{addresses: [10.0.0.{ip}]}}]}}",
                random.below(2)
            ),
            2 => format!(
                "{{apiVersion: v1, kind: Endpoints, metadata: {{name: s{which}}}, subsets: [{{addresses: [{{ip: 10.0.1.{ip}}}]}}]}}"
            ),
            3 => format!("{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: i{which}}}}}"),
            4 => format!(
                "{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: c{which}, annotations: \
                 {{ingressclass.kubernetes.io/is-default-class: '{}'}}}}, spec: {{controller: a}}}}",
                ip > 0
            ),
            5 => format!("{{apiVersion: v1, kind: Service, metadata: {{name: s{which}}}, spec: {{ports: broken}}}}"),
            _ => "a: [".to_owned(),
        };
        writeln!(text, "---\n{document}").expect("a string");
    }
    text
}

/// However files changed before, and however broken they were: what is known in the end is what they say in the end.
#[test]
fn a_reader_of_changes_knows_what_a_fresh_reader_of_the_files_knows() {
    let names = ["a.yaml", "b.yaml", "c.yaml"];
    for seed in 1..=100 {
        let mut random = Random(seed);
        let (mut contents, mut reader) = (Contents::new(Want { packets: true, names: true, routes: true }), Reader::default());
        let mut files: BTreeMap<&str, String> = BTreeMap::new();
        for step in 0..12 {
            let mut told = Vec::new();
            // In the last round every file is well, or gone.
            let is_last = step == 11;
            for name in names {
                if !is_last && random.below(2) == 0 {
                    continue;
                }
                if random.below(4) == 0 {
                    files.remove(name);
                    contents.remove(Path::new(name), &mut told);
                } else {
                    let text = file(&mut random, !is_last);
                    contents.put(Path::new(name), text.as_bytes(), &mut told);
                    files.insert(name, text);
                }
            }
            contents.settle(&mut told);
            reader.take(told);
        }
        let (mut fresh, mut expected, mut told) = (Contents::new(contents.want), Reader::default(), Vec::new());
        for (name, text) in &files {
            fresh.put(Path::new(name), text.as_bytes(), &mut told);
        }
        fresh.settle(&mut told);
        expected.take(told);
        assert_eq!(reader.facts, expected.facts, "seed {seed}: {files:#?}");
        assert_eq!(reader.issues, expected.issues, "seed {seed}: {files:#?}");
    }
}
