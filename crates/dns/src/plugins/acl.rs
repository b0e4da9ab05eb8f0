//! `acl [ZONE...] { ACTION [type TYPE...] [net NET...] }`: who may ask for what.
//!
//! The first rule that fits decides; where none fits, everyone may ask. Asked by the server before any plugin, about the question that
//! `rewrite` makes of what was asked: else a rewritten name would be a way around a rule. Source: CoreDNS's `acl` (since 1.14.2).

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::directive::{Directive, Mistakes};
use crate::name::Name;
use crate::plugins::rewrite::Rewrite;
use crate::server::chain::Request;
use crate::wire::{rtype, type_named};

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

/// The plugin at work.
pub(crate) struct Acl {
    options: Options,
    rewrite: Option<Arc<Rewrite>>,
}

impl Acl {
    pub(crate) fn new(options: Options, rewrite: Option<Arc<Rewrite>>) -> Self {
        Self { options, rewrite }
    }

    /// What the first rule that fits says; `None` where none does, or nothing is asked of the plugins behind.
    pub(crate) fn verdict(&self, request: &Request) -> Option<Action> {
        let rewritten = match &self.rewrite {
            Some(rewrite) => Some(rewrite.rewritten(request)?),
            None => None,
        };
        let question = &rewritten.as_ref().unwrap_or(request).question;
        if !self.options.zones.is_empty() && !self.options.zones.iter().any(|zone| question.name.is_under(zone)) {
            return None;
        }
        let client = request.client.ip().to_canonical();
        let fits = |rule: &&Rule| {
            // Who asks for ANY asks for each type.
            let kind = rule.types.is_empty() || question.qtype == rtype::ANY || rule.types.contains(&question.qtype);
            kind && (rule.nets.is_empty() || rule.nets.iter().any(|net| net.contains(&client)))
        };
        self.options.rules.iter().find(fits).map(|rule| rule.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::Spec;
    use crate::plugins::tests::{mistakes, request, spec};

    /// What becomes of a question under the rules.
    fn check(rules: &str, question: &str, client: &str, expected: Option<Action>) {
        let Spec::Acl(options) = spec(&format!("acl {rules}")) else { panic!("an acl") };
        let asked = Request { client: format!("{client}:4000").parse().expect("address"), ..request(question) };
        assert_eq!(Acl::new(options, None).verdict(&asked), expected, "{rules}: {question} from {client}");
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
        check("example.org {\n block\n}", "a.example. A", "10.0.0.1", None);
        check("example.org {\n block type * net *\n}", "a.example.org. A", "10.0.0.1", Some(Action::Block));
    }

    #[test]
    fn a_rewritten_question_is_judged_as_what_it_became() {
        let Spec::Acl(options) = spec("acl {\n block type TXT\n}") else { panic!("an acl") };
        let Spec::Rewrite(rule) = spec("rewrite type A TXT") else { panic!("a rewrite") };
        let acl = Acl::new(options, Some(Arc::new(Rewrite::new(vec![rule]))));
        assert_eq!(["a.example. A", "a.example. AAAA"].map(|question| acl.verdict(&request(question))), [Some(Action::Block), None]);
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
