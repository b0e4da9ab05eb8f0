//! `template CLASS TYPE [ZONE...] { ... }`: answers made from the question by a pattern.
//!
//! Owns the placeholders, which are Go's as far as Corefiles use them: fields and groups, no logic. Source: CoreDNS's `template`.

mod text;

use regex::bytes::{Captures, Regex};

use self::text::Text;
use crate::config::directive::{Directive, Mistakes, reason};
use crate::name::Name;
use crate::plugins::scope::{Fallthrough, longest, zones_or};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{ExtendedError, Message, Record};
use crate::wire::{CLASS_ANY, Folded, Query, class_named, flag, rcode, rcode_named, rtype, type_named};

#[derive(Clone, Debug)]
pub struct Options {
    pub class: Option<u16>,
    /// `None` for ANY: all types.
    pub qtype: Option<u16>,
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
    /// Empty: every name.
    pub patterns: Vec<Regex>,
    pub answers: Vec<Text>,
    pub authorities: Vec<Text>,
    pub additionals: Vec<Text>,
    pub rcode: u8,
    /// `ederror CODE [TEXT]`: told to clients that speak EDNS.
    pub why: Option<(u16, String)>,
    pub fallthrough: Fallthrough,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    let [class, qtype, zones @ ..] = directive.args.as_slice() else {
        mistakes.add(directive.line, "`template` takes a class and a type");
        return None;
    };
    let mut options = Options {
        class: match class_named(class) {
            Some(CLASS_ANY) => None,
            Some(class) => Some(class),
            None => {
                mistakes.add(directive.line, format!("`template {class}`: no class such as IN or ANY"));
                None
            }
        },
        qtype: match type_named(qtype) {
            Some(rtype::ANY) => None,
            Some(qtype) => Some(qtype),
            None => {
                mistakes.add(directive.line, format!("`template {class} {qtype}`: no record type such as A, AAAA or ANY"));
                None
            }
        },
        zones: zones.iter().flat_map(|zone| crate::config::directive::zones(directive.line, zone, mistakes)).collect(),
        patterns: Vec::new(),
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
        rcode: rcode::NOERROR,
        why: None,
        fallthrough: Fallthrough::Never,
    };
    for property in &directive.body {
        match property.name.as_str() {
            "match" => {
                for arg in &property.args {
                    match Regex::new(arg) {
                        Ok(pattern) => options.patterns.push(pattern),
                        Err(error) => mistakes.add(property.line, format!("`match`: {}", reason(&error))),
                    }
                }
                if property.args.is_empty() {
                    mistakes.add(property.line, "`match` takes one or more regular expressions");
                }
            }
            "answer" => options.answers.extend(texts(property, mistakes)),
            "authority" => options.authorities.extend(texts(property, mistakes)),
            "additional" => options.additionals.extend(texts(property, mistakes)),
            "rcode" => match property.one(mistakes).map(|text| (text, rcode_named(text))) {
                Some((_, Some(code))) => options.rcode = code,
                Some((text, None)) => mistakes.add(property.line, format!("`rcode {text}`: no return code of DNS")),
                None => {}
            },
            "ederror" => {
                let text = property.args.get(1).cloned().unwrap_or_default();
                match property.args.first().map(|code| code.parse()) {
                    Some(Ok(code)) if property.args.len() <= 2 && text.len() <= MAX_WHY => options.why = Some((code, text)),
                    _ => mistakes.add(property.line, format!("`ederror` takes a code and, perhaps, a reason of at most {MAX_WHY} octets")),
                }
            }
            // Retired by CoreDNS, which takes it still.
            "upstream" => {}
            "fallthrough" => options.fallthrough = Fallthrough::parse(property, mistakes),
            _ => mistakes.unknown(property, "template", &["match", "answer", "authority", "additional", "rcode", "ederror", "fallthrough"]),
        }
    }
    Some(options)
}

fn texts(property: &Directive, mistakes: &mut Mistakes) -> Vec<Text> {
    if property.args.is_empty() {
        mistakes.add(property.line, format!("`{}` takes a record", property.name));
    }
    let mut read = |arg: &String| match Text::parse(arg) {
        Ok(text) => Some(text),
        Err(message) => {
            mistakes.add(property.line, message);
            None
        }
    };
    property.args.iter().filter_map(&mut read).collect()
}

/// A reason has to leave room for the rest of a small answer.
const MAX_WHY: usize = 200;

/// The plugin at work.
pub(crate) struct Template {
    options: Options,
    zones: Vec<Name>,
}

/// What a pattern found in a question, for the placeholders to read.
pub(crate) struct Found<'a> {
    pub(crate) request: &'a Request,
    pub(crate) name: &'a str,
    pub(crate) zone: &'a Name,
    /// Of the question, or of the template where the question says ANY.
    pub(crate) qtype: u16,
    pub(crate) qclass: u16,
    /// `None` without patterns.
    pub(crate) groups: Option<Captures<'a>>,
}

/// Whether a template is about a question.
enum Fit<'a> {
    Yes(Option<Captures<'a>>),
    /// Its zone and type, but no pattern.
    NoPattern,
    No,
}

impl Template {
    pub(crate) fn new(options: Options, block: &[Name]) -> Self {
        let zones = zones_or(&options.zones, block);
        Self { options, zones }
    }

    fn fit<'t>(&self, qtype: u16, qclass: u16, name: &'t [u8]) -> Fit<'t> {
        let options = &self.options;
        let other = |wanted: Option<u16>, asked, any| asked != any && wanted.is_some_and(|wanted| wanted != asked);
        if other(options.qtype, qtype, rtype::ANY) || other(options.class, qclass, CLASS_ANY) {
            return Fit::No;
        }
        if options.patterns.is_empty() {
            return Fit::Yes(None);
        }
        options.patterns.iter().find_map(|pattern| pattern.captures(name)).map_or(Fit::NoPattern, |groups| Fit::Yes(Some(groups)))
    }

    /// The answer; `None` for the next plugin's.
    fn answer(&self, request: &Request) -> Option<Message> {
        let question = &request.question;
        let zone = longest(&self.zones, &question.name)?;
        let name = question.name.folded().to_string();
        let groups = match self.fit(question.qtype, question.qclass, name.as_bytes()) {
            Fit::Yes(groups) => groups,
            Fit::NoPattern if !self.options.fallthrough.holds(&question.name) => return Some(request.failed(rcode::SERVFAIL)),
            Fit::NoPattern | Fit::No => return None,
        };
        if self.options.rcode == rcode::SERVFAIL {
            return Some(request.failed(rcode::SERVFAIL));
        }
        let asked = |asked, any, own: Option<u16>| if asked == any { own.unwrap_or(any) } else { asked };
        let qtype = asked(question.qtype, rtype::ANY, self.options.qtype);
        let qclass = asked(question.qclass, CLASS_ANY, self.options.class);
        let found = Found { request, name: &name, zone, qtype, qclass, groups };
        // A record that comes out broken is the template's mistake.
        Some(self.fill(&found).unwrap_or_else(|error| Message { error: Some(error), ..request.failed(rcode::SERVFAIL) }))
    }

    /// # Errors
    /// What a template came out as, if that is no record.
    fn fill(&self, found: &Found<'_>) -> Result<Message, String> {
        let record = |text: &Text| {
            let text = text.fill(found).ok_or_else(|| "template: a group that the pattern does not have".to_owned())?;
            Record::parse(&text).ok_or_else(|| format!("dns: no record: {text:?}"))
        };
        let all = |texts: &[Text]| texts.iter().map(record).collect::<Result<Vec<_>, _>>();
        let mut answer = Message::answer(found.request.question.clone(), self.options.rcode);
        answer.answers = all(&self.options.answers)?;
        answer.authorities = all(&self.options.authorities)?;
        answer.additionals = all(&self.options.additionals)?;
        answer.why = self.options.why.clone().map(|(code, text)| ExtendedError { code, text });
        Ok(answer)
    }
}

/// The answer with what its aliases lead to behind each.
async fn followed(request: &Request, mut answer: Message, next: Next<'_>) -> Message {
    let mut answers = Vec::new();
    for record in std::mem::take(&mut answer.answers) {
        let target = record.target();
        answers.push(record);
        if let Some(target) = target {
            let end = next.whole(&request.renamed(target)).await;
            answer.flags |= end.flags & flag::TC;
            answers.extend(end.answers);
        }
    }
    Message { answers, ..answer }
}

impl Plugin for Template {
    fn name(&self) -> &'static str {
        "template"
    }

    fn knows_class(&self, _class: u16) -> bool {
        true
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        match Template::answer(self, request) {
            Some(answer) if [rtype::A, rtype::AAAA].contains(&request.question.qtype) => Box::pin(followed(request, answer, next)),
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => next.run(request),
        }
    }

    fn passes(&self, query: &Query<'_>) -> bool {
        let mut buffer = [0; Folded::MAX_TEXT];
        let name = query.name.text(&mut buffer);
        name.is_some_and(|name| matches!(self.fit(query.qtype, query.qclass, name), Fit::No))
            || !self.zones.iter().any(|zone| query.name.above(zone.wire(), zone.n_labels()).is_some())
    }
}

#[cfg(test)]
mod tests {
    use crate::plugins::tests::{ask, mistakes};

    /// What comes of a question behind a template, where only another template knows more.
    fn check(template: &str, question: &str, expected: &str) {
        let corefile = format!(". {{\n template {template}\n template ANY ANY {{\n rcode REFUSED\n }}\n}}");
        assert_eq!(ask(&corefile, question), expected, "{template}: {question}");
    }

    #[test]
    fn a_blackhole_for_aaaa_says_that_the_name_exists() {
        let template = "ANY AAAA {\n rcode NOERROR\n}";
        check(template, "www.example. AAAA", "NOERROR\n");
        check(template, "www.example. A", "REFUSED\n");
        check(
            "IN AAAA {\n rcode NXDOMAIN\n authority \"{{ .Zone }} 60 IN SOA ns.{{ .Zone }} h.{{ .Zone }} 1 60 60 60 60\"\n}",
            "a. AAAA",
            "SERVFAIL\n",
        );
        check(
            "IN AAAA example {\n rcode NXDOMAIN\n authority \"{{ .Zone }} 60 IN SOA ns.{{ .Zone }} h.{{ .Zone }} 1 60 60 60 60\"\n}",
            "a.example. AAAA",
            "NXDOMAIN\nauth example. 60 SOA ns.example. h.example. 1 60 60 60 60\n",
        );
    }

    #[test]
    fn groups_of_the_pattern_become_records() {
        let template = "IN A example {\n match \"^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)-([0-9]+)-([0-9]+)[.]example[.]$\"\n answer \"{{ .Name }} 60 IN A {{ .Group.a }}.{{.Group.b}}.{{ index .Match 3 }}.{{ index .Match 4 }}\"\n fallthrough\n}";
        check(template, "IP-10-1-2-3.example. A", "NOERROR\nip-10-1-2-3.example. 60 A 10.1.2.3\n");
        check(template, "ip-10-1-2-999.example. A", "SERVFAIL\n");
        check(template, "www.example. A", "REFUSED\n");
        check(&template.replace(" fallthrough\n", ""), "www.example. A", "SERVFAIL\n");
        check(template, "ip-10-1-2-3.example.org. A", "REFUSED\n");
    }

    #[test]
    fn any_is_every_type_and_aliases_are_followed() {
        check("IN A {\n answer \"{{ .Name }} 60 {{ .Class }} {{ .Type }} 192.0.2.1\"\n}", "a. ANY", "NOERROR\na. 60 A 192.0.2.1\n");
        let alias = "IN A example {\n answer \"{{ .Name }} 60 IN CNAME b.test.\"\n}\n template IN A test {\n answer \"{{ .Name }} 60 IN A 192.0.2.2\"\n}";
        check(alias, "a.example. A", "NOERROR\na.example. 60 CNAME b.test.\nb.test. 60 A 192.0.2.2\n");
        let hex = "IN A {\n match ^(?P<a>[0-9a-f]+)[.]\n answer \"{{ .Name }} 60 IN A 10.0.0.{{ parseInt .Group.a 16 8 }}\"\n}";
        check(hex, "ff.test. A", "NOERROR\nff.test. 60 A 10.0.0.255\n");
        check(&hex.replace("parseInt .Group.a 16 8", ".Group.1"), "12.test. A", "NOERROR\n12.test. 60 A 10.0.0.12\n");
        let blackhole = "IN ANY example {\n rcode NXDOMAIN\n authority \"{{ .Zone }} 60 IN SOA ns.test. h.test. (1 60 60 60 60)\"\n}";
        check(blackhole, "a.example. MX", "NXDOMAIN\nauth example. 60 SOA ns.test. h.test. 1 60 60 60 60\n");
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(mistakes("template"), ["`template` takes a class and a type"]);
        assert_eq!(
            mistakes("template IN FOO {\n match \"(\"\n rcode MAYBE\n answer \"{{ range .Match }}\"\n frob\n}"),
            [
                "`template IN FOO`: no record type such as A, AAAA or ANY",
                "`match`: unclosed group",
                "`rcode MAYBE`: no return code of DNS",
                "`{{ range .Match }}`: a template has .Name, .Zone, .Class, .Type, .Remote, .Group.NAME and `index .Match N`",
                "template has no option `frob`; it has: match, answer, authority, additional, rcode, ederror, fallthrough"
            ]
        );
    }
}
