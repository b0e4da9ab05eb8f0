//! `acl [ZONE...] { ACTION [type TYPE...] [net NET...] }`: who may ask for what.
//!
//! The first rule that fits decides, in the order of the block's directives; where none fits, everyone may ask. It stands behind
//! `rewrite`, else a rewritten name would be a way around a rule. Source: CoreDNS's `acl` (since 1.14.2).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::directive::{Directive, Mistakes};
use crate::name::Name;
use crate::plugins::scope::{longest, zones_or};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::server::metrics::AclMetrics;
use crate::wire::message::{ExtendedError, Message};
use crate::wire::{rcode, rtype, type_named};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub action: Action,
    /// Empty: all.
    pub types: Vec<u16>,
    /// Empty: all.
    pub nets: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    /// REFUSED.
    Block,
    /// NOERROR without records.
    Filter,
    /// No answer at all.
    Drop,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let rules = directive.body.iter().filter_map(|property| rule(property, mistakes)).collect();
    Some(Options { zones: directive.zones(mistakes), rules })
}

fn rule(property: &Directive, mistakes: &mut Mistakes) -> Option<Rule> {
    let action = match property.name.to_ascii_lowercase().as_str() {
        "allow" => Action::Allow,
        "block" => Action::Block,
        "filter" => Action::Filter,
        "drop" => Action::Drop,
        _ => {
            mistakes.unknown(property, "acl", &["allow", "block", "filter", "drop"]);
            return None;
        }
    };
    let mut rule = Rule { action, types: Vec::new(), nets: Vec::new() };
    let mut section = "";
    // A `*` among others stands for all of them.
    let (mut all_types, mut all_nets) = (false, false);
    for (at, arg) in property.args.iter().enumerate() {
        let heads = |word: &&String| ["type", "net"].contains(&word.to_ascii_lowercase().as_str());
        if heads(&arg) {
            section = if arg.eq_ignore_ascii_case("type") { "type" } else { "net" };
            if property.args.get(at + 1).is_none_or(|next| heads(&next)) {
                mistakes.add(property.line, format!("nothing stands behind `{arg}`"));
            }
            continue;
        }
        match (section, arg.as_str()) {
            ("type", "*") => all_types = true,
            ("net", "*") => all_nets = true,
            ("type", text) => match type_named(text) {
                Some(kind) => rule.types.push(kind),
                None => mistakes.add(property.line, format!("`{text}` is no record type")),
            },
            ("net", text) => match text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(net) => rule.nets.push(net),
                Err(_) => mistakes.add(property.line, format!("`{text}` is no network such as 10.0.0.0/8")),
            },
            (_, text) => mistakes.add(property.line, format!("`{text}`: expected `type` or `net` in front of it")),
        }
    }
    if all_types {
        rule.types.clear();
    }
    if all_nets {
        rule.nets.clear();
    }
    Some(rule)
}

/// All directives of a block at work.
pub(crate) struct Acl {
    rules: Vec<Options>,
    metrics: AclMetrics,
}

/// Blocked, and Filtered (RFC 8914 sections 4.16 and 4.18).
const BLOCKED: u16 = 15;
const FILTERED: u16 = 17;

impl Acl {
    /// `block`: the zones of the server block, for directives that name none.
    pub(crate) fn new(mut rules: Vec<Options>, block: &[Name], metrics: AclMetrics) -> Self {
        for options in &mut rules {
            options.zones = zones_or(&options.zones, block);
        }
        Self { rules, metrics }
    }

    /// What the first rule that fits says, and for which zone; `None` where none does.
    fn verdict(&self, request: &Request) -> Option<(Action, &Name)> {
        let question = &request.question;
        let client = request.client.ip().to_canonical();
        let fits = |rule: &&Rule| {
            // Who asks for ANY asks for each type: for the forbidden ones among them, and not for those alone that are allowed.
            let each = question.qtype == rtype::ANY && rule.action != Action::Allow;
            let kind = rule.types.is_empty() || each || rule.types.contains(&question.qtype);
            kind && (rule.nets.is_empty() || rule.nets.iter().any(|net| net.contains(&client)))
        };
        self.rules.iter().find_map(|options| {
            let zone = longest(&options.zones, &question.name)?;
            Some((options.rules.iter().find(fits)?.action, zone))
        })
    }
}

impl Plugin for Acl {
    fn name(&self) -> &'static str {
        "acl"
    }

    fn knows_class(&self, _class: u16) -> bool {
        true
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        let refused = |code, why| {
            let why = Some(ExtendedError { code: why, text: String::new() });
            Message { why, ..request.failed(code) }
        };
        let answer = match self.verdict(request) {
            None | Some((Action::Allow, _)) => {
                self.metrics.allowed.inc();
                return next.run(request);
            }
            Some((Action::Block, zone)) => {
                self.metrics.blocked(zone);
                refused(rcode::REFUSED, BLOCKED)
            }
            Some((Action::Filter, zone)) => {
                self.metrics.filtered(zone);
                refused(rcode::NOERROR, FILTERED)
            }
            Some((Action::Drop, zone)) => {
                self.metrics.dropped(zone);
                Message { dropped: true, ..request.failed(rcode::NOERROR) }
            }
        };
        Box::pin(std::future::ready(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::Spec;
    use crate::plugins::tests::{ask, mistakes, request, spec};
    use crate::server::metrics::Metrics;

    /// What becomes of a question under the rules.
    fn check(rules: &str, question: &str, client: &str, expected: Option<Action>) {
        let Spec::Acl(options) = spec(&format!("acl {rules}")) else { panic!("an acl") };
        let asked = Request { client: format!("{client}:4000").parse().expect("address"), ..request(question) };
        let acl = Acl::new(vec![options], &[Name::root()], Metrics::new(&runtime::Registry::default()).acl("dns://:53"));
        assert_eq!(acl.verdict(&asked).map(|(action, _)| action), expected, "{rules}: {question} from {client}");
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = "{\n allow net 10.1.0.0/16\n block net 10.0.0.0/8\n filter type AAAA\n drop type TXT MX net 192.0.2.1\n}";
        for (question, client, expected) in [
            ("a.example. A", "10.1.2.3", Some(Action::Allow)),
            ("a.example. A", "10.2.2.3", Some(Action::Block)),
            ("a.example. AAAA", "192.0.2.9", Some(Action::Filter)),
            ("a.example. MX", "192.0.2.1", Some(Action::Drop)),
            ("a.example. MX", "192.0.2.2", None),
        ] {
            check(rules, question, client, expected);
        }
        check("{\n allow type A\n block\n}", "a.example. ANY", "10.0.0.1", Some(Action::Block));
        check("{\n block type TXT\n}", "a.example. ANY", "10.0.0.1", Some(Action::Block));
        check("example.org {\n block\n}", "a.example. A", "10.0.0.1", None);
        check("example.org {\n block type * net *\n}", "a.example.org. A", "10.0.0.1", Some(Action::Block));
    }

    #[test]
    fn rules_hold_for_what_rewrite_makes_of_a_question_and_their_answer_is_rewritten() {
        let corefile = ". {\n rewrite type A TXT\n acl {\n block type TXT\n }\n template ANY ANY {\n rcode NOERROR\n }\n}";
        assert_eq!(["a.example. A", "a.example. AAAA"].map(|question| ask(corefile, question)), ["REFUSED\n", "NOERROR\n"]);
        let corefile =
            corefile.replace("rewrite type A TXT", "rewrite continue type A TXT\n rewrite rcode suffix example. REFUSED NXDOMAIN");
        assert_eq!(ask(&corefile, "a.example. A"), "NXDOMAIN\n");
    }

    #[test]
    fn an_allowed_question_is_asked_of_no_other_directive() {
        let corefile = ". {\n acl {\n allow net 10.2.0.0/16\n }\n acl {\n block\n }\n template ANY ANY {\n rcode NOERROR\n }\n}";
        assert_eq!(ask(corefile, "a.example. A"), "NOERROR\n");
        assert_eq!(ask(&corefile.replace("10.2", "10.3"), "a.example. A"), "REFUSED\n");
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(mistakes("acl {\n block type net 10.0.0.1\n}"), ["nothing stands behind `type`"]);
        assert_eq!(
            mistakes("acl {\n forbid\n block type FOO net 10.0.0.0/33\n block 10.0.0.1\n}"),
            [
                "acl has no option `forbid`; it has: allow, block, filter, drop",
                "`FOO` is no record type",
                "`10.0.0.0/33` is no network such as 10.0.0.0/8",
                "`10.0.0.1`: expected `type` or `net` in front of it"
            ]
        );
    }
}
