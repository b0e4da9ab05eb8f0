//! `template CLASS TYPE [ZONE...] { ... }`: answers made from the question by a pattern.
//!
//! Owns what a record may be made from: a question, the groups of a pattern, variables. Source: CoreDNS's `template`.

mod expr;
mod text;
mod value;

use ipnet::IpNet;
use regex::bytes::{Captures, Regex};

use self::expr::Expr;
use self::text::Text;
use self::value::Value;
use crate::config::directive::{Directive, Mistakes, reason};
use crate::name::Name;
use crate::plugins::scope::{Fallthrough, longest, zones_or};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::server::metrics::TemplateMetrics;
use crate::wire::message::{ExtendedError, Message, Record};
use crate::wire::{CLASS_ANY, Class, Folded, Query, Type, class_named, flag, rcode, rcode_named, rtype, type_named};

#[derive(Clone, Debug)]
pub struct Options {
    pub class: Option<u16>,
    /// `None` for ANY: all types.
    pub qtype: Option<u16>,
    /// Empty: all zones of the block.
    pub zones: Vec<Name>,
    /// Empty: every name.
    pub patterns: Vec<Regex>,
    /// In the order in which each may use those in front of it.
    pub variables: Vec<(String, Expr)>,
    /// What has to be true as well.
    pub conditions: Vec<Expr>,
    pub answers: Vec<Text>,
    pub authorities: Vec<Text>,
    pub additionals: Vec<Text>,
    pub rcode: u8,
    /// `ederror CODE [TEXT]`: told to clients that speak EDNS.
    pub why: Option<(u16, String)>,
    pub fallthrough: Fallthrough,
}

const KNOWN: &[&str] = &["match", "var", "expr", "answer", "authority", "additional", "rcode", "ederror", "fallthrough"];

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
        variables: Vec::new(),
        conditions: Vec::new(),
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
            "var" => options.variables.extend(variable(property, &options.variables, mistakes)),
            "expr" => {
                let known: Vec<&str> = options.variables.iter().map(|(name, _)| name.as_str()).collect();
                match Expr::parse(&property.args.join(" "), &known) {
                    Ok(condition) => options.conditions.push(condition),
                    Err(error) => mistakes.add(property.line, format!("`expr`: {error}")),
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
            _ => mistakes.unknown(property, "template", KNOWN),
        }
    }
    Some(options)
}

/// `var NAME EXPRESSION`.
fn variable(property: &Directive, before: &[(String, Expr)], mistakes: &mut Mistakes) -> Option<(String, Expr)> {
    let Some((name, expression)) = property.args.split_first() else {
        mistakes.add(property.line, "`var` takes a name and an expression");
        return None;
    };
    if !expr::may_be_variable(name) {
        mistakes.add(property.line, format!("`var {name}`: no name, or one that means something already"));
    }
    if expression.is_empty() {
        mistakes.add(property.line, format!("`var {name}`: an expression is missing"));
        return None;
    }
    let known: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    let read = Expr::parse(&expression.join(" "), &known).map_err(|error| mistakes.add(property.line, format!("`var {name}`: {error}")));
    Some((name.clone(), read.ok()?))
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
    metrics: TemplateMetrics,
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
    pattern: Option<(&'a Regex, Captures<'a>)>,
    pub(crate) variables: Vec<(String, Value)>,
}

/// Whether a template is about a question.
enum Fit<'a> {
    Yes(Option<(&'a Regex, Captures<'a>)>),
    /// Its zone and type, but no pattern.
    NoPattern,
    No,
}

impl Template {
    pub(crate) fn new(options: Options, block: &[Name], metrics: TemplateMetrics) -> Self {
        let zones = zones_or(&options.zones, block);
        Self { options, zones, metrics }
    }

    fn fit<'t>(&'t self, qtype: u16, qclass: u16, name: &'t [u8]) -> Fit<'t> {
        let options = &self.options;
        let other = |wanted: Option<u16>, asked, any| asked != any && wanted.is_some_and(|wanted| wanted != asked);
        if other(options.qtype, qtype, rtype::ANY) || other(options.class, qclass, CLASS_ANY) {
            return Fit::No;
        }
        if options.patterns.is_empty() {
            return Fit::Yes(None);
        }
        let found = options.patterns.iter().find_map(|pattern| Some((pattern, pattern.captures(name)?)));
        found.map_or(Fit::NoPattern, |found| Fit::Yes(Some(found)))
    }

    /// The answer; `None` for the next plugin's.
    fn answer(&self, request: &Request) -> Option<Message> {
        let question = &request.question;
        let zone = longest(&self.zones, &question.name)?;
        let name = question.name.folded().to_string();
        // Without a match it is for the next, or nobody.
        let unfit = || (!self.options.fallthrough.holds(&question.name)).then(|| request.failed(rcode::SERVFAIL));
        let pattern = match self.fit(question.qtype, question.qclass, name.as_bytes()) {
            Fit::Yes(pattern) => pattern,
            Fit::NoPattern => return unfit(),
            Fit::No => return None,
        };
        let asked = |asked, any, own: Option<u16>| if asked == any { own.unwrap_or(any) } else { asked };
        let qtype = asked(question.qtype, rtype::ANY, self.options.qtype);
        let qclass = asked(question.qclass, CLASS_ANY, self.options.class);
        let mut found = Found { request, name: &name, zone, qtype, qclass, pattern, variables: Vec::new() };
        match self.holds(&mut found) {
            Ok(true) => {}
            Ok(false) => return unfit(),
            Err(error) => return Some(Message { error: Some(format!("template: {error}")), ..request.failed(rcode::SERVFAIL) }),
        }
        self.metrics.matched(found.kind().each_ref().map(String::as_str));
        if self.options.rcode == rcode::SERVFAIL {
            return Some(request.failed(rcode::SERVFAIL));
        }
        // A record that comes out broken is the template's mistake.
        Some(self.fill(&found).unwrap_or_else(|error| Message { error: Some(error), ..request.failed(rcode::SERVFAIL) }))
    }

    /// Sets the variables; tells whether all conditions are true.
    ///
    /// # Errors
    /// What could not be reckoned.
    fn holds(&self, found: &mut Found<'_>) -> Result<bool, String> {
        for (name, expression) in &self.options.variables {
            let value = expression.value(found)?;
            found.variables.push((name.clone(), value));
        }
        for condition in &self.options.conditions {
            if condition.value(found)? != Value::Bool(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// # Errors
    /// What a template came out as, if that is no record.
    fn fill(&self, found: &Found<'_>) -> Result<Message, String> {
        let kind = found.kind();
        let kind = kind.each_ref().map(String::as_str);
        let record = |section: &str, template: &Text| {
            let text = template.fill(found).map_err(|error| {
                self.metrics.failed(kind, section, template.shown());
                format!("template: {error}")
            })?;
            Record::parse(&text).ok_or_else(|| {
                self.metrics.no_record(kind, section, template.shown());
                format!("dns: no record: {text:?}")
            })
        };
        let all = |section: &str, texts: &[Text]| texts.iter().map(|text| record(section, text)).collect::<Result<Vec<_>, _>>();
        let mut answer = Message::answer(found.request.question.clone(), self.options.rcode);
        answer.answers = all("answer", &self.options.answers)?;
        answer.additionals = all("additional", &self.options.additionals)?;
        answer.authorities = all("authority", &self.options.authorities)?;
        answer.why = self.options.why.clone().map(|(code, text)| ExtendedError { code, text });
        Ok(answer)
    }
}

// === impl Found ===

impl Found<'_> {
    /// The names of its class and type; empty for those that have none.
    fn class(&self) -> String {
        Some(Class(self.qclass).to_string()).filter(|name| !name.starts_with("CLASS")).unwrap_or_default()
    }

    fn of_type(&self) -> String {
        Some(Type(self.qtype).to_string()).filter(|name| !name.starts_with("TYPE")).unwrap_or_default()
    }

    /// Zone, class and type, as they are counted.
    fn kind(&self) -> [String; 3] {
        [self.zone.to_string(), self.class(), self.of_type()]
    }

    pub(crate) fn remote(&self) -> String {
        self.request.client.ip().to_canonical().to_string()
    }

    fn pattern(&self) -> &str {
        // What CoreDNS has where none is said.
        self.pattern.as_ref().map_or(".*", |(pattern, _)| pattern.as_str())
    }

    /// The whole match, then its groups.
    fn groups(&self) -> Vec<String> {
        let text = |group: Option<regex::bytes::Match<'_>>| {
            group.map_or("", |group| std::str::from_utf8(group.as_bytes()).unwrap_or_default()).to_owned()
        };
        self.pattern.as_ref().map_or_else(|| vec![self.name.to_owned()], |(_, groups)| groups.iter().map(text).collect())
    }

    /// The groups by number, and by name where they have one.
    fn groups_by_name(&self) -> Value {
        let groups: Vec<(String, Value)> =
            self.groups().into_iter().enumerate().map(|(at, group)| (at.to_string(), Value::Text(group))).collect();
        let names = self.pattern.as_ref().map(|(pattern, _)| pattern.capture_names().enumerate()).into_iter().flatten();
        let named: Vec<_> = names.filter_map(|(at, name)| Some((name?.to_owned(), groups.get(at)?.1.clone()))).collect();
        Value::Map(named.into_iter().chain(groups).collect())
    }
}

impl expr::Known for Found<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Value> {
        let request = self.request;
        let question = &request.question;
        Some(match (name, args) {
            ("group", [Value::Text(name)]) => self.groups_by_name().get(name).cloned().unwrap_or(Value::text("")),
            ("group", [Value::Int(at)]) => self.groups_by_name().get(&at.to_string()).cloned().unwrap_or(Value::text("")),
            ("incidr", [Value::Text(ip), Value::Text(net)]) => {
                Value::Bool(net.parse::<IpNet>().ok()?.contains(&ip.parse::<std::net::IpAddr>().ok()?))
            }
            ("metadata", [Value::Text(label)]) => {
                Value::Text(request.metadata.as_ref().and_then(|known| known.value(label)).unwrap_or_default())
            }
            ("type", []) => Value::text(Type(question.qtype).to_string()),
            ("name", []) => Value::text(self.name),
            ("class", []) => Value::text(Class(question.qclass).to_string()),
            ("proto", []) => Value::text(if request.tcp { "tcp" } else { "udp" }),
            ("client_ip", []) => Value::text(self.remote()),
            ("port", []) => Value::text(request.client.port().to_string()),
            ("server_ip", []) => Value::text(request.local.ip().to_canonical().to_string()),
            ("server_port", []) => Value::text(request.local.port().to_string()),
            ("id", []) => Value::Int(request.id.into()),
            // No other comes here.
            ("opcode", []) => Value::Int(0),
            ("do", []) => Value::Bool(request.dnssec_ok),
            ("bufsize", []) => Value::Int(request.limit as i64),
            ("size", []) => Value::Int(request.size as i64),
            _ => return None,
        })
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
    fn variables_and_conditions_are_reckoned_from_the_question() {
        let template = "IN A example {
            match ^(?P<ip>[0-9]+(-[0-9]+){3})[.]example[.]$
            var ip replace(group('ip'), '-', '.')
            var end split(ip, '.')[3]
            expr \"any(['10.0.0.0/8', '192.168.0.0/16'], incidr(ip, #))\"
            expr type() == 'A' && client_ip() == '10.2.0.1'
            answer \"{{ .Name }} 60 IN A {{ .Var.ip }}\" \"{{ .Name }} 60 IN TXT {{ index .Var `end` }}\"
            fallthrough
        }";
        check(template, "10-1-2-3.example. A", "NOERROR\n10-1-2-3.example. 60 A 10.1.2.3\n10-1-2-3.example. 60 TXT \"3\"\n");
        check(template, "192-1-2-3.example. A", "REFUSED\n");
        check(&template.replace("fallthrough", ""), "192-1-2-3.example. A", "SERVFAIL\n");
        check(template, "300-1-2-3.example. A", "SERVFAIL\n");
        assert_eq!(
            mistakes("template IN A {\n var len 1\n var a\n expr nothing\n var b 1 +\n}"),
            [
                "`var len`: no name, or one that means something already",
                "`var a`: an expression is missing",
                "`expr`: there is no `nothing`",
                "`var b`: a value is missing"
            ]
        );
    }

    #[test]
    fn templates_are_those_of_go() {
        let of = |text: &str| {
            format!("IN ANY example {{\n match ^(?P<a>[a-z]+)-(?P<n>[0-9a-f]+)[.]\n answer `{{{{.Name}}}} 60 IN TXT {text}`\n}}")
                .replace('`', "\"")
        };
        for (text, expected) in [
            ("{{ if eq .Group.a 'web' 'api' }}yes{{ else }}no{{ end }}", "yes"),
            ("{{ if eq .Group.a 'x' }}x{{ else if and (eq .Type 'A') (gt (len .Match) 2) }}y{{ end }}", "y"),
            ("{{ range .Match }}{{ len . }}.{{ end }}", "7.3.2."),
            ("{{ $n := parseInt .Group.n 16 8 -}} {{ printf '%03d-%x' $n $n }}", "016-10"),
            ("{{ with .Group.none }}{{ . }}{{ else }}none{{ end }}", "none"),
            ("{{ slice .Group.a 1 }}{{ .Group.a | printf '%s-%s' 'b' }}{{/* no */}}", "ebb-web"),
            ("{{ index .Group 'a' }}{{ not .Message.RecursionDesired }}{{ .Question.Qtype }}", "webfalse1"),
        ] {
            let template = of(&text.replace('\'', "\\\""));
            check(&template, "web-10.example. A", &format!("NOERROR\nweb-10.example. 60 TXT \"{expected}\"\n"));
        }
        for (text, told) in [
            ("{{ .Nme }}", "`.Nme`: the fields are .Name, "),
            ("{{ upper .Name }}", "`{{ upper .Name }}`: `upper`: the functions are and, "),
            ("{{ (.Name }}", "`{{ (.Name }}`: a `(` is never closed"),
            ("{{ end }}", "`{{ end }}`: an `else` or `end` that nothing was opened for"),
            ("{{ .Name", "`{{ .Name`: a `{{` is never closed"),
        ] {
            let found = mistakes(&format!("template IN A {{\n answer \"{text}\"\n}}"));
            assert!(found.len() == 1 && found[0].starts_with(told), "{text}: {found:?}");
        }
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
                "`{{ range .Match }}`: an `end` is missing",
                "template has no option `frob`; it has: match, var, expr, answer, authority, additional, rcode, ederror, fallthrough"
            ]
        );
    }
}
