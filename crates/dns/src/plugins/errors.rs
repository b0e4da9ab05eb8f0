//! `errors { consolidate DURATION REGEX [LEVEL] [show_first] ... }`: a line for each question that could not be answered.
//!
//! Owns the lines and how those that are alike become one. What failed is told by whoever failed, with its answer. Source: CoreDNS's
//! `errors`, whose lines these are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use regex::Regex;
use runtime::log::Format;

use crate::config::directive::{Directive, Mistakes, duration, duration_text, reason};
use crate::plugins::log::{Lines, json_line};
use crate::server::chain::{Answering, Next, Plugin, Request};
use crate::wire::message::Message;
use crate::wire::{Query, Type};

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub consolidate: Vec<Consolidate>,
}

/// Errors that fit `pattern` are counted, and told once `every` so often.
#[derive(Clone, Debug)]
pub struct Consolidate {
    pub every: Duration,
    pub pattern: Regex,
    pub level: Level,
    /// The first of them is told at once.
    pub show_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warning,
    Info,
    /// Said to nobody: CoreDNS without its `debug`.
    Debug,
}

pub(crate) fn parse(directive: &Directive, mistakes: &mut Mistakes) -> Option<Options> {
    match directive.args.as_slice() {
        [] => {}
        [only] if only == "stdout" => {}
        _ => mistakes.add(directive.line, "`errors` takes nothing but `stdout`"),
    }
    let mut options = Options::default();
    for property in &directive.body {
        match property.name.as_str() {
            // What a panic says here is written in any case.
            "stacktrace" => property.bare(mistakes),
            "consolidate" => options.consolidate.extend(consolidate(property, mistakes)),
            _ => mistakes.unknown(property, "errors", &["consolidate", "stacktrace"]),
        }
    }
    Some(options)
}

fn consolidate(property: &Directive, mistakes: &mut Mistakes) -> Option<Consolidate> {
    let [every, pattern, rest @ ..] = property.args.as_slice() else {
        mistakes.add(property.line, "`consolidate` takes a duration and a regular expression");
        return None;
    };
    let period = duration(every);
    if period.is_none() {
        mistakes.add(property.line, format!("`consolidate {every}`: not a duration such as 5m"));
    }
    let pattern = Regex::new(pattern);
    if let Err(error) = &pattern {
        mistakes.add(property.line, format!("`consolidate`: {}", reason(error)));
    }
    let rest: Vec<_> = rest.iter().map(String::as_str).collect();
    let (level, show_first) = match rest.as_slice() {
        [] => (Some(Level::Error), false),
        ["show_first"] => (Some(Level::Error), true),
        [level] => (Level::parse(level), false),
        [level, "show_first"] => (Level::parse(level), true),
        _ => (None, false),
    };
    if level.is_none() {
        mistakes.add(property.line, format!("`consolidate ... {}`: a level and `show_first` may stand there", rest.join(" ")));
    }
    Some(Consolidate { every: period?, pattern: pattern.ok()?, level: level?, show_first })
}

/// The plugin at work, around all that may fail.
pub(crate) struct Errors {
    groups: Vec<Arc<Group>>,
    lines: Lines,
}

/// Errors that are alike.
struct Group {
    rule: Consolidate,
    count: AtomicU32,
}

// === impl Level ===

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "error" => Self::Error,
            "warning" => Self::Warning,
            "info" => Self::Info,
            "debug" => Self::Debug,
            _ => return None,
        })
    }

    fn line(self, text: &str) -> Option<String> {
        // What CoreDNS calls it in lines for people, and in those for collectors.
        let (shown, json) = match self {
            Self::Error => ("ERROR", "ERROR"),
            Self::Warning => ("WARNING", "WARN"),
            Self::Info => ("INFO", "INFO"),
            Self::Debug => return None,
        };
        Some(match runtime::log::format() {
            Format::Text => format!("[{shown}] plugin/errors: {text}\n"),
            Format::Json => json_line(json, "errors", text, ""),
        })
    }
}

// === impl Errors ===

impl Errors {
    pub(crate) fn new(options: Options, lines: Lines) -> Self {
        let groups = options.consolidate.into_iter().map(|rule| Arc::new(Group { rule, count: AtomicU32::new(0) }));
        Self { groups: groups.collect(), lines }
    }

    fn note(&self, answer: &Message, error: &str) {
        let mut level = Level::Error;
        if let Some(group) = self.groups.iter().find(|group| group.rule.pattern.is_match(error)) {
            let first = group.count.fetch_add(1, Ordering::Relaxed) == 0;
            if first {
                let (group, lines) = (group.clone(), self.lines.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(group.rule.every).await;
                    group.tell(&lines);
                });
            }
            if !(first && group.rule.show_first) {
                return;
            }
            level = group.rule.level;
        }
        let question = &answer.question;
        let text = format!("{} {} {}: {error}", answer.rcode, question.name.folded(), Type(question.qtype));
        level.line(&text).into_iter().for_each(|line| self.lines.send(line));
    }
}

impl Drop for Errors {
    /// What was counted last is told before a changed Corefile's rules take over.
    fn drop(&mut self) {
        self.groups.iter().for_each(|group| group.tell(&self.lines));
    }
}

impl Group {
    fn tell(&self, lines: &Lines) {
        let n = self.count.swap(0, Ordering::Relaxed);
        if n > u32::from(self.rule.show_first) {
            let text = format!("{n} errors like '{}' occurred in last {}", self.rule.pattern, duration_text(self.rule.every));
            self.rule.level.line(&text).into_iter().for_each(|line| lines.send(line));
        }
    }
}

impl Plugin for Errors {
    fn name(&self) -> &'static str {
        "errors"
    }

    fn knows_class(&self, _class: u16) -> bool {
        true
    }

    fn answer<'a>(&'a self, request: &'a Request, next: Next<'a>) -> Answering<'a> {
        Box::pin(async move {
            let mut answer = next.run(request).await;
            if let Some(error) = answer.error.take() {
                self.note(&answer, &error);
            }
            answer
        })
    }

    /// What is answered at once has not failed.
    fn passes(&self, _query: &Query<'_>) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::Spec;
    use crate::plugins::tests::{mistakes, request, spec};

    /// The lines about one error after the other, and at the end.
    fn check(directive: &str, errors: &[&str], expected: &[&str]) {
        let Spec::Errors(options) = spec(directive) else { panic!("errors") };
        let (lines, written) = Lines::kept();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let plugin = Errors::new(options, lines);
            errors.iter().for_each(|error| plugin.note(&request("A.example. A").failed(2), error));
        });
        assert_eq!(written.try_iter().collect::<Vec<_>>(), expected, "{directive}");
    }

    #[test]
    fn each_error_has_a_line_unless_it_is_like_others() {
        let timeouts = ["read udp 10.0.0.1:53: i/o timeout", "no next plugin found", "read udp 10.0.0.2:53: i/o timeout"];
        let line = "[ERROR] plugin/errors: 2 a.example. A: no next plugin found\n";
        check("errors", &timeouts[1..2], &[line]);
        let consolidate = |rest: &str| format!("errors {{\n consolidate 90s \".* timeout$\"{rest}\n}}");
        let two = "2 errors like '.* timeout$' occurred in last 1m30s\n";
        check(&consolidate(""), &timeouts, &[line, &format!("[ERROR] plugin/errors: {two}")]);
        check(&consolidate(" warning"), &timeouts, &[line, &format!("[WARNING] plugin/errors: {two}")]);
        check(&consolidate(" debug"), &timeouts, &[line]);
        let first = "[INFO] plugin/errors: 2 a.example. A: read udp 10.0.0.1:53: i/o timeout\n";
        check(&consolidate(" info show_first"), &timeouts[..2], &[first, line]);
        check(&consolidate(" info show_first"), &timeouts, &[first, line, &format!("[INFO] plugin/errors: {two}")]);
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(
            mistakes("errors {\n consolidate soon \"(\" loud\n consolidate 5m\n}"),
            [
                "`consolidate soon`: not a duration such as 5m",
                "`consolidate`: unclosed group",
                "`consolidate ... loud`: a level and `show_first` may stand there",
                "`consolidate` takes a duration and a regular expression"
            ]
        );
    }
}
