//! `rewrite [continue|stop] FIELD ...`: questions are changed on their way in, answers on their way out.
//!
//! All directives of a block are one list, walked from the top; a rule that fits ends the walk unless it says `continue`. Source: CoreDNS's `rewrite`.

mod edns;
mod matcher;
mod options;

use std::sync::Arc;

pub use self::edns::Edns;
pub use self::matcher::Matcher;
pub(crate) use self::options::parse;
pub use self::options::{AnswerRule, Bounds, Options, Part, To, What};
use crate::name::Name;
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::{Message, Record};
use crate::wire::{Folded, Query, rcode, rtype};

/// All rules of a block at work.
pub(crate) struct Rewrite {
    rules: Arc<[Options]>,
}

/// What is to be done to the answer.
enum Undo<'r> {
    /// Names that are the new one, or below it, become the old one, in owners and in data.
    Name {
        new: Name,
        old: Name,
    },
    /// Ends of names that the rule put there are taken back.
    End {
        from: &'r str,
        to: &'r str,
    },
    Answer(&'r AnswerRule),
    Ttl(Bounds),
    Rcode(u8, u8),
    Cname(&'r Matcher, &'r str),
}

impl Rewrite {
    pub(crate) fn new(rules: Vec<Options>) -> Self {
        Self { rules: rules.into() }
    }

    /// The question as the plugins behind are to see it, and what to undo.
    ///
    /// # Errors
    /// What a rule made of a name, where that is none.
    fn ask(&self, request: &Request) -> Result<(Request, Vec<Undo<'_>>), String> {
        let mut asked = request.clone();
        let mut undo = Vec::new();
        for rule in &*self.rules {
            let name = asked.question.name.folded().to_string();
            let name = name.as_bytes();
            let fits = match &rule.what {
                What::Name { matcher, to, auto, answers } => match to.of(matcher, name, request) {
                    Some(new) => {
                        let new = Name::parse(&new).map_err(|_| new)?;
                        let old = std::mem::replace(&mut asked.question.name, new.clone());
                        match (auto, matcher, to) {
                            (true, Matcher::Suffix(from), To::Text(to)) => undo.push(Undo::End { from, to }),
                            (true, ..) => undo.push(Undo::Name { new, old }),
                            (false, ..) => {}
                        }
                        undo.extend(answers.iter().map(Undo::Answer));
                        true
                    }
                    None => false,
                },
                What::Type(from, to) => {
                    *from == asked.question.qtype && {
                        asked.question.qtype = *to;
                        true
                    }
                }
                What::Class(from, to) => {
                    *from == asked.question.qclass && {
                        asked.question.qclass = *to;
                        true
                    }
                }
                What::Edns(edns) => edns.apply(&mut asked),
                What::Ttl(matcher, bounds) => {
                    matcher.fits(name) && {
                        undo.push(Undo::Ttl(*bounds));
                        true
                    }
                }
                What::Rcode(matcher, from, to) => {
                    matcher.fits(name) && {
                        undo.push(Undo::Rcode(*from, *to));
                        true
                    }
                }
                What::Cname(matcher, to) => {
                    undo.push(Undo::Cname(matcher, to));
                    true
                }
            };
            if fits && rule.stop {
                break;
            }
        }
        Ok((asked, undo))
    }

    async fn undo(undo: &[Undo<'_>], asked: &Request, answer: &mut Message, next: Next<'_>) {
        // The last change is the first to be taken back.
        for step in undo.iter().rev() {
            match step {
                Undo::Name { new, old } => rename(answer, true, true, |name| old.prefixed(name.split(new)?)),
                Undo::End { from, to } => rename(answer, true, true, |name| {
                    let text = name.to_string();
                    let front = text.len().checked_sub(to.len()).filter(|at| text[*at..].eq_ignore_ascii_case(to))?;
                    Name::parse(&(text[..front].to_owned() + from)).ok()
                }),
                Undo::Answer(rule) => {
                    let (owner, value) = if rule.value { (false, true) } else { (true, false) };
                    let new = |name: &Name| {
                        let text = name.to_string();
                        Name::parse(&rule.pattern.replace(text.as_bytes(), &rule.to)?).ok()
                    };
                    rename(answer, owner, value, new);
                }
                Undo::Ttl(bounds) => records(answer).for_each(|record| record.ttl = record.ttl.clamp(bounds.least, bounds.most)),
                Undo::Rcode(from, to) if answer.rcode == *from => answer.rcode = *to,
                Undo::Rcode(..) => {}
                Undo::Cname(matcher, to) => lead_elsewhere(matcher, to, asked, answer, next).await,
            }
        }
    }
}

// === impl To ===

impl To {
    /// What `name` becomes; `None` where the rule does not fit, or what it needs is not known.
    fn of(&self, matcher: &Matcher, name: &[u8], request: &Request) -> Option<String> {
        let parts = match self {
            Self::Text(to) => return matcher.replace(name, to),
            Self::Known(parts) => parts,
        };
        let Matcher::Regex(pattern) = matcher else { return None };
        let groups = pattern.captures(name)?;
        let part = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Group(at) => {
                Some(groups.get(*at).map_or("", |group| std::str::from_utf8(group.as_bytes()).unwrap_or_default()).to_owned())
            }
            Part::Label(label) => Some(request.metadata.as_ref()?.value(label)?.to_lowercase()).filter(|value| !value.is_empty()),
        };
        parts.iter().map(part).collect()
    }
}

/// The first alias to a name that fits leads to another one, and what that one is stands behind it.
async fn lead_elsewhere(matcher: &Matcher, to: &str, asked: &Request, answer: &mut Message, next: Next<'_>) {
    let target = |record: &Record| Name::parse(&matcher.replace(record.target()?.folded().to_string().as_bytes(), to)?).ok();
    let Some((at, target)) = answer.answers.iter().enumerate().find_map(|(at, record)| Some((at, target(record)?))) else { return };
    answer.answers[at].data = target.wire().to_vec();
    answer.answers.truncate(at + 1);
    let request = asked.renamed(target);
    let end = next.whole(&request).await;
    answer.answers.extend(end.answers);
    // Who asks for the alias has it, whatever its end is.
    if request.question.qtype != rtype::CNAME {
        answer.rcode = end.rcode;
        answer.authorities = end.authorities;
        answer.additionals.clear();
    }
}

fn records(answer: &mut Message) -> impl Iterator<Item = &mut Record> {
    answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals)
}

/// Gives names of all records new ones where `new` has one: their owners, and the names in their data.
fn rename(answer: &mut Message, owners: bool, values: bool, new: impl Fn(&Name) -> Option<Name>) {
    for record in records(answer) {
        if owners && let Some(name) = new(&record.name) {
            record.name = name;
        }
        if values {
            record.rename_data(&new);
        }
    }
}

impl Plugin for Rewrite {
    fn name(&self) -> &'static str {
        "rewrite"
    }

    fn knows_class(&self, _class: u16) -> bool {
        true
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            let (asked, undo) = match self.ask(request) {
                Ok(asked) => asked,
                Err(name) => {
                    return Message { error: Some(format!("invalid name after rewrite: {name}")), ..request.failed(rcode::SERVFAIL) };
                }
            };
            let mut answer = next.run(&asked).await;
            Self::undo(&undo, &asked, &mut answer, next).await;
            // The answer keeps the question as it became, for counters and logs; the reply has the client's in any case.
            answer
        })
    }

    fn passes(&self, query: &Query<'_>) -> bool {
        let mut buffer = [0; Folded::MAX_TEXT];
        let Some(name) = query.name.text(&mut buffer) else { return false };
        self.rules.iter().all(|rule| match &rule.what {
            What::Name { matcher, .. } | What::Ttl(matcher, _) | What::Rcode(matcher, ..) => !matcher.fits(name),
            What::Type(from, _) => *from != query.qtype,
            What::Class(from, _) => *from != query.qclass,
            What::Edns(_) | What::Cname(..) => false,
        })
    }
}

#[cfg(test)]
mod tests;
