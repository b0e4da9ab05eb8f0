//! Label selectors: parsed from `app=web,tier in (a,b),!old` or made from a `LabelSelector`, and matched against labels.
//!
//! Source: apimachinery's pkg/labels/selector.go; kubernetes.io "Labels and Selectors".

use std::fmt;

use crate::value::Map;

/// All of its requirements must hold; none holds for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: Box<str>,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    DoesNotExist,
    In(Vec<Box<str>>),
    /// Also holds where the label is missing.
    NotIn(Vec<Box<str>>),
    GreaterThan(i64),
    LessThan(i64),
}

message! {
    /// A selector as objects hold it.
    pub struct LabelSelector {
        1 "matchLabels" match_labels: Map,
        2 "matchExpressions" match_expressions: Vec<Expression>,
    }

    pub struct Expression {
        1 "key" key: Box<str>,
        2 "operator" operator: Box<str>,
        3 "values" values: Vec<Box<str>>,
    }
}

/// A selector that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label selector {text:?}: {reason}")]
pub struct SelectorError {
    pub text: String,
    pub reason: String,
}

// === impl Selector ===

impl Selector {
    /// Parses the string form. The empty string selects everything.
    ///
    /// # Errors
    /// What was found where something else was expected, or a key or value that no label can have.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        let mut parser = Parser { rest: text };
        let requirements = parser.requirements();
        let requirements = requirements.map_err(|reason| SelectorError { text: text.to_owned(), reason })?;
        Ok(Selector { requirements })
    }

    pub fn matches(&self, labels: &Map) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = SelectorError;

    fn try_from(selector: &LabelSelector) -> Result<Selector, SelectorError> {
        let equal = selector.match_labels.iter().map(|(key, value)| requirement(key, Test::In(vec![value.clone()])));
        let expressions = selector.match_expressions.iter().map(|expression| {
            let values = || match expression.values.as_slice() {
                [] => Err(format!("operator {} needs values", expression.operator)),
                values => Ok(values.to_vec()),
            };
            let test = match &*expression.operator {
                "In" => Test::In(values()?),
                "NotIn" => Test::NotIn(values()?),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::DoesNotExist,
                other => return Err(format!("unknown operator {other:?}")),
            };
            requirement(&expression.key, test)
        });
        match equal.chain(expressions).collect() {
            Ok(requirements) => Ok(Selector { requirements }),
            Err(reason) => Err(SelectorError { text: format!("{selector:?}"), reason }),
        }
    }
}

impl fmt::Display for Selector {
    /// The form that [`Selector::parse`] and the API server read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, test }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::Exists => write!(f, "{key}")?,
                Test::DoesNotExist => write!(f, "!{key}")?,
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0])?,
                Test::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Test::GreaterThan(bound) => write!(f, "{key}>{bound}")?,
                Test::LessThan(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

// === impl Requirement ===

impl Requirement {
    fn matches(&self, labels: &Map) -> bool {
        let value = labels.get(&*self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Test::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Test::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

fn requirement(key: &str, test: Test) -> Result<Requirement, String> {
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    if name.is_empty() || name.len() > 63 || key.len() > 253 + 1 + 63 || !key.chars().all(is_label_char) {
        return Err(format!("{key:?} is no label key"));
    }
    if let Test::In(values) | Test::NotIn(values) = &test
        && let Some(value) = values.iter().find(|value| value.len() > 63 || !value.chars().all(is_label_char))
    {
        return Err(format!("{value:?} is no label value"));
    }
    Ok(Requirement { key: key.into(), test })
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

// === impl Parser ===

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut found = Vec::new();
        if self.at_end() {
            return Ok(found);
        }
        loop {
            found.push(self.requirement()?);
            if self.at_end() {
                return Ok(found);
            }
            self.expect(",")?;
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.eat("!") {
            return requirement(self.word(), Test::DoesNotExist);
        }
        let key = self.word();
        let test = if self.at_end() || self.rest.starts_with(',') {
            Test::Exists
        } else if self.eat("!=") {
            Test::NotIn(vec![self.word().into()])
        } else if self.eat("==") || self.eat("=") {
            Test::In(vec![self.word().into()])
        } else if self.eat(">") {
            Test::GreaterThan(self.number()?)
        } else if self.eat("<") {
            Test::LessThan(self.number()?)
        } else {
            match self.word() {
                "in" => Test::In(self.values()?),
                "notin" => Test::NotIn(self.values()?),
                _ => return Err(format!("expected an operator after {key:?}")),
            }
        };
        requirement(key, test)
    }

    fn values(&mut self) -> Result<Vec<Box<str>>, String> {
        self.expect("(")?;
        let mut values = vec![self.word().into()];
        while self.eat(",") {
            values.push(self.word().into());
        }
        self.expect(")")?;
        Ok(values)
    }

    fn number(&mut self) -> Result<i64, String> {
        let word = self.word();
        word.parse().map_err(|_| format!("{word:?} is no integer"))
    }

    /// Up to the next blank or operator; may be empty, as the value in `a=` is.
    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| c.is_whitespace() || "!=,()<>".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected {token:?} before {:?}", self.rest)) }
    }

    fn at_end(&self) -> bool {
        self.rest.trim_start().is_empty()
    }
}

#[cfg(test)]
mod tests;
