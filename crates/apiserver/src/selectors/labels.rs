//! `labelSelector`: `a=b,c in (d,e),!f`.
//!
//! Source: apimachinery's pkg/labels/selector.go, whose tokens and error texts are kept. Crate `api` reads selectors too, but need not say
//! what the API server says about a wrong one.

use super::Index;
use crate::validate::names;

/// A parsed `labelSelector`. All of its requirements must hold; none holds for everything.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Exists,
    DoesNotExist,
    In(Vec<String>),
    /// Holds where the label is missing too.
    NotIn(Vec<String>),
    GreaterThan(i64),
    LessThan(i64),
}

// === impl Labels ===

impl Labels {
    /// Parses the string form. The empty string selects everything.
    ///
    /// # Errors
    /// The API server's text, for a 400 BadRequest.
    pub fn parse(text: &str) -> Result<Labels, String> {
        let mut parser = Parser { tokens: tokens(text), position: 0 };
        Ok(Labels { requirements: parser.requirements()? })
    }

    pub fn matches(&self, object: &Index) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(object.label(&requirement.key)))
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl Requirement {
    fn holds(&self, label: Option<&str>) -> bool {
        let number = || label.and_then(|label| label.parse::<i64>().ok());
        match &self.test {
            Test::Exists => label.is_some(),
            Test::DoesNotExist => label.is_none(),
            Test::In(values) => label.is_some_and(|label| values.iter().any(|value| value == label)),
            Test::NotIn(values) => label.is_none_or(|label| values.iter().all(|value| value != label)),
            Test::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Test::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

// === tokens ===

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// One of `! ( ) , = == != < >`.
    Symbol(&'static str),
    /// Symbols that are none.
    Odd(String),
    End,
}

const SYMBOLS: [&str; 9] = ["==", "!=", "!", "(", ")", ",", "=", "<", ">"];

fn tokens(text: &str) -> Vec<Token> {
    let is_symbol = |c: char| "=!(),><".contains(c);
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut tokens = Vec::new();
    // A NUL ends the text, as it does for the API server.
    let mut rest = text.split('\0').next().unwrap_or_default().trim_start_matches(is_blank);
    while let Some(first) = rest.chars().next() {
        if is_symbol(first) {
            let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol));
            let length = symbol.map_or(first.len_utf8(), str::len);
            tokens.push(symbol.map_or_else(|| Token::Odd(first.to_string()), Token::Symbol));
            rest = &rest[length..];
        } else {
            let end = rest.find(|c| is_symbol(c) || is_blank(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start_matches(is_blank);
    }
    tokens.push(Token::End);
    tokens
}

impl Token {
    fn literal(&self) -> &str {
        match self {
            Token::Word(text) | Token::Odd(text) => text,
            Token::Symbol(symbol) => symbol,
            Token::End => "",
        }
    }
}

// === impl Parser ===

struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.position).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.position += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut found = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(found),
                Token::Word(_) | Token::Symbol("!") => {}
                other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.literal())),
            }
            found.push(self.requirement().map_err(|reason| format!("unable to parse requirement: {reason}"))?);
            match self.next() {
                Token::End => return Ok(found),
                Token::Symbol(",") => match self.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => return Err(format!("found '{}', expected: identifier after ','", other.literal())),
                },
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.literal())),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = *self.peek() == Token::Symbol("!");
        if negated {
            self.position += 1;
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.literal())),
        };
        let faults = names::label_key(&key);
        if !faults.is_empty() {
            return Err(format!("<nil>: Invalid value: {}: {}", names::quote(&key), faults.join("; ")));
        }
        if negated {
            return Ok(Requirement { key, test: Test::DoesNotExist });
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(Requirement { key, test: Test::Exists });
        }
        let test = match self.next() {
            Token::Word(word) if word == "in" => Test::In(self.values()?),
            Token::Word(word) if word == "notin" => Test::NotIn(self.values()?),
            Token::Symbol("=" | "==") => Test::In(vec![self.value()?]),
            Token::Symbol("!=") => Test::NotIn(vec![self.value()?]),
            Token::Symbol(">") => Test::GreaterThan(self.bound(&key)?),
            Token::Symbol("<") => Test::LessThan(self.bound(&key)?),
            other => return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.literal())),
        };
        if let Test::In(values) | Test::NotIn(values) = &test {
            for (index, value) in values.iter().enumerate() {
                let faults = names::label_value(value);
                if !faults.is_empty() {
                    let value = names::quote(value);
                    return Err(format!("values[{index}][{key}]: Invalid value: {value}: {}", faults.join("; ")));
                }
            }
        }
        Ok(Requirement { key, test })
    }

    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(format!("found '{}', expected: identifier", other.literal())),
        }
    }

    fn bound(&mut self, key: &str) -> Result<i64, String> {
        let value = self.value()?;
        let quoted = names::quote(&value);
        value.parse().map_err(|_| {
            let fault = format!("values[0]: Invalid value: {quoted}: for 'Gt', 'Lt' operators, the value must be an integer");
            match names::label_value(&value).as_slice() {
                [] => fault,
                others => format!("[{fault}, values[0][{key}]: Invalid value: {quoted}: {}]", others.join("; ")),
            }
        })
    }

    /// `(a,b)`; an empty place is the empty value.
    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.literal())),
        }
        match self.peek() {
            Token::Word(_) | Token::Symbol("," | ")") => {}
            other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.literal())),
        }
        let mut values = std::collections::BTreeSet::new();
        let mut open = true;
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.insert(word);
                    open = false;
                    match self.peek() {
                        Token::Symbol("," | ")") => {}
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.literal())),
                    }
                }
                Token::Symbol(",") => {
                    if open {
                        values.insert(String::new());
                    }
                    open = true;
                }
                Token::Symbol(")") => {
                    if open {
                        values.insert(String::new());
                    }
                    return Ok(values.into_iter().collect());
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.literal())),
            }
        }
    }
}
