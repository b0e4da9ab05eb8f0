//! `var NAME EXPRESSION` and `expr EXPRESSION`: conditions and values reckoned from a question. Source: the language of expr-lang, which CoreDNS uses.
//!
//! Owns the syntax, the operators and the functions, but for those that know the question: these are asked of whoever evaluates.
//! Names that nobody knows are mistakes of the Corefile; values of the wrong kind show when a question comes.

use std::cmp::Ordering;

use regex::Regex;

use super::value::Value;

#[derive(Clone, Debug)]
pub struct Expr(Node);

#[derive(Clone, Debug)]
enum Node {
    Value(Value),
    Name(String),
    /// `#`: the member of a list that a predicate is about.
    Member,
    List(Vec<Node>),
    Call(String, Vec<Node>),
    /// `any(list, predicate)` and its like.
    Each(String, Box<Node>, Box<Node>),
    Not(Box<Node>),
    Minus(Box<Node>),
    Binary(String, Box<Node>, Box<Node>),
    /// A pattern that is known beforehand.
    Matches(Box<Node>, Box<Regex>),
    If(Box<[Node; 3]>),
    Index(Box<Node>, Box<Node>),
    Slice(Box<Node>, Option<Box<Node>>, Option<Box<Node>>),
}

/// What an expression may ask for.
pub(super) trait Known {
    fn variable(&self, name: &str) -> Option<Value>;

    /// `None` where there is no such function for these values.
    fn call(&self, name: &str, args: &[Value]) -> Option<Value>;
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Value(Value),
    Word(String),
    Sign(&'static str),
}

/// Longer ones first.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "**", "..", "??", "?.", "(", ")", "[", "]", "{", "}", ",", "?", ":", "<", ">", "+", "-", "*", "/",
    "%", "^", "!", "#", "|", ".",
];
const EACH: &[&str] = &["all", "any", "none", "one", "filter", "map", "count", "find", "findIndex"];
const FUNCTIONS: &[&str] = &[
    "len",
    "trim",
    "trimPrefix",
    "trimSuffix",
    "upper",
    "lower",
    "split",
    "replace",
    "repeat",
    "join",
    "indexOf",
    "lastIndexOf",
    "hasPrefix",
    "hasSuffix",
    "int",
    "float",
    "string",
    "abs",
    "min",
    "max",
    "first",
    "last",
    "get",
    "reverse",
    "concat",
];
/// Of the question.
const QUESTION: &[&str] = &[
    "group",
    "incidr",
    "metadata",
    "type",
    "name",
    "class",
    "proto",
    "size",
    "client_ip",
    "port",
    "id",
    "opcode",
    "do",
    "bufsize",
    "server_ip",
    "server_port",
];
const KEYWORDS: &[&str] =
    &["true", "false", "nil", "not", "and", "or", "in", "matches", "contains", "startsWith", "endsWith", "let", "if", "else"];

/// How strongly operators bind; all of them from left to right, but for `**`.
const STRENGTH: &[(&str, u8)] = &[
    ("|", 1),
    ("or", 10),
    ("and", 15),
    ("??", 18),
    ("==", 20),
    ("!=", 20),
    ("<", 20),
    (">", 20),
    ("<=", 20),
    (">=", 20),
    ("in", 20),
    ("not", 20),
    ("matches", 20),
    ("contains", 20),
    ("startsWith", 20),
    ("endsWith", 20),
    ("..", 25),
    ("+", 30),
    ("-", 30),
    ("*", 60),
    ("/", 60),
    ("%", 60),
    ("**", 100),
    ("^", 100),
];
const UNARY: u8 = 50;

type Outcome<T> = Result<T, String>;

/// Whether a variable may have this name.
pub(super) fn may_be_variable(name: &str) -> bool {
    let reserved = [EACH, FUNCTIONS, QUESTION, KEYWORDS].iter().any(|words| words.contains(&name));
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit()) && !reserved
}

// === impl Expr ===

impl Expr {
    /// Reads an expression in which these variables may be named.
    pub(super) fn parse(text: &str, variables: &[&str]) -> Outcome<Self> {
        let tokens = tokens(text)?;
        let mut reader = Reader { rest: &tokens, variables, inside: false };
        let node = reader.expression(0)?;
        match reader.rest.first() {
            None => Ok(Self(node)),
            Some(token) => Err(format!("`{}` stands where the end should be", token.shown())),
        }
    }

    /// # Errors
    /// What could not be reckoned.
    pub(super) fn value(&self, known: &dyn Known) -> Outcome<Value> {
        value(&self.0, known, None)
    }
}

// === impl Token ===

impl Token {
    fn shown(&self) -> String {
        match self {
            Self::Value(value) => value.to_string(),
            Self::Word(word) => word.clone(),
            Self::Sign(sign) => (*sign).to_owned(),
        }
    }
}

fn tokens(text: &str) -> Outcome<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if matches!(first, '"' | '\'' | '`') {
            let (text, length) = quoted(rest, first).ok_or_else(|| format!("`{rest}`: a quote is never closed"))?;
            (Token::Value(Value::Text(text)), length)
        } else if first.is_ascii_digit() {
            let mut length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
            // `1..3` is a range.
            length = rest[..length].find("..").unwrap_or(length);
            let digits = rest[..length].replace('_', "");
            let hex = digits.strip_prefix("0x").and_then(|digits| i64::from_str_radix(digits, 16).ok());
            let number = hex.or_else(|| digits.parse().ok()).map(Value::Int).or_else(|| digits.parse().ok().map(Value::Float));
            (Token::Value(number.ok_or_else(|| format!("`{digits}` is no number"))?), length)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            (Token::Word(rest[..length].to_owned()), length)
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign)).ok_or_else(|| format!("`{first}` means nothing here"))?;
            (Token::Sign(sign), sign.len())
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A text in quotes, and how long it is with them; in backquotes a backslash is one.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    loop {
        match chars.next()? {
            (at, c) if c == quote => return Some((out, at + 1)),
            (_, '\\') if quote != '`' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                c => c,
            }),
            (_, c) => out.push(c),
        }
    }
}

struct Reader<'t> {
    rest: &'t [Token],
    variables: &'t [&'t str],
    /// A predicate, where `#` means something.
    inside: bool,
}

// === impl Reader ===

impl Reader<'_> {
    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first.clone())
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = matches!(self.rest.first(), Some(Token::Sign(next)) if *next == sign);
        if is {
            self.rest = &self.rest[1..];
        }
        is
    }

    fn expect(&mut self, sign: &str) -> Outcome<()> {
        if self.takes(sign) { Ok(()) } else { Err(format!("`{sign}` is missing")) }
    }

    /// The operator that comes next.
    fn operator(&self) -> Option<(&'static str, u8)> {
        let name = match self.rest.first()? {
            Token::Sign("&&") => "and",
            Token::Sign("||") => "or",
            Token::Sign(sign) => sign,
            Token::Word(word) => word.as_str(),
            Token::Value(_) => return None,
        };
        STRENGTH.iter().find(|(known, _)| *known == name).copied()
    }

    fn expression(&mut self, least: u8) -> Outcome<Node> {
        let mut left = self.prefix()?;
        while let Some((operator, strength)) = self.operator().filter(|(_, strength)| *strength >= least) {
            self.next();
            if operator == "|" {
                left = self.piped(left)?;
                continue;
            }
            let negated = operator == "not";
            let operator = match (negated, self.next_word_if(negated)) {
                (false, _) => operator.to_owned(),
                (true, Some(word)) if STRENGTH.contains(&(word.as_str(), 20)) => word,
                _ => return Err("`not` stands in front of `in`, `contains` and their like".to_owned()),
            };
            let right = self.expression(if matches!(operator.as_str(), "**" | "^") { strength } else { strength + 1 })?;
            left = match (operator.as_str(), right) {
                ("matches", Node::Value(Value::Text(pattern))) => {
                    let pattern = Regex::new(&pattern).map_err(|error| crate::config::directive::reason(&error))?;
                    Node::Matches(left.into(), pattern.into())
                }
                (_, right) => Node::Binary(operator, left.into(), right.into()),
            };
            if negated {
                left = Node::Not(left.into());
            }
        }
        if least == 0 && self.takes("?") {
            let then = self.expression(0)?;
            self.expect(":")?;
            return Ok(Node::If([left, then, self.expression(0)?].into()));
        }
        Ok(left)
    }

    fn next_word_if(&mut self, wanted: bool) -> Option<String> {
        let Some(Token::Word(word)) = self.rest.first().filter(|_| wanted) else { return None };
        let word = word.clone();
        self.next();
        Some(word)
    }

    fn prefix(&mut self) -> Outcome<Node> {
        let node = match self.next().ok_or("a value is missing")? {
            Token::Value(value) => Node::Value(value),
            Token::Word(word) => match word.as_str() {
                "true" => Node::Value(Value::Bool(true)),
                "false" => Node::Value(Value::Bool(false)),
                "nil" => Node::Value(Value::Nil),
                "not" => return Ok(Node::Not(self.expression(UNARY)?.into())),
                _ => self.named(word, None)?,
            },
            Token::Sign("!") => return Ok(Node::Not(self.expression(UNARY)?.into())),
            Token::Sign("-") => return Ok(Node::Minus(self.expression(UNARY)?.into())),
            Token::Sign("+") => return self.expression(UNARY),
            Token::Sign("(") => {
                let node = self.expression(0)?;
                self.expect(")")?;
                node
            }
            Token::Sign("[") => Node::List(self.list("]")?),
            Token::Sign("#") if self.inside => Node::Member,
            Token::Sign("#") => return Err("`#` stands for a member of a list, in `any(list, ...)` and its like".to_owned()),
            Token::Sign(sign) => return Err(format!("`{sign}` stands where a value should be")),
        };
        self.postfix(node)
    }

    /// What stands behind a value in brackets.
    fn postfix(&mut self, mut node: Node) -> Outcome<Node> {
        while self.takes("[") {
            let from = if matches!(self.rest.first(), Some(Token::Sign(":"))) { None } else { Some(Box::new(self.expression(1)?)) };
            if self.takes(":") {
                let to = if matches!(self.rest.first(), Some(Token::Sign("]"))) { None } else { Some(Box::new(self.expression(1)?)) };
                node = Node::Slice(node.into(), from, to);
            } else {
                node = Node::Index(node.into(), from.ok_or("an index is missing")?);
            }
            self.expect("]")?;
        }
        Ok(node)
    }

    /// Values between commas, up to a sign.
    fn list(&mut self, end: &str) -> Outcome<Vec<Node>> {
        let mut members = Vec::new();
        while !self.takes(end) {
            if !members.is_empty() {
                self.expect(",")?;
                if self.takes(end) {
                    break;
                }
            }
            members.push(self.expression(0)?);
        }
        Ok(members)
    }

    /// `list | any(# > 1)` is `any(list, # > 1)`.
    fn piped(&mut self, first: Node) -> Outcome<Node> {
        match self.next() {
            Some(Token::Word(word)) => {
                let node = self.named(word, Some(first))?;
                self.postfix(node)
            }
            _ => Err("a function stands behind `|`".to_owned()),
        }
    }

    /// A variable, or a call of a function.
    fn named(&mut self, word: String, first: Option<Node>) -> Outcome<Node> {
        if !self.takes("(") {
            return match self.variables.contains(&word.as_str()) && first.is_none() {
                true => Ok(Node::Name(word)),
                false => Err(format!("there is no `{word}`")),
            };
        }
        if EACH.contains(&word.as_str()) {
            let list = match first {
                Some(list) => list,
                None => {
                    let list = self.expression(0)?;
                    self.expect(",")?;
                    list
                }
            };
            let outer = std::mem::replace(&mut self.inside, true);
            let braced = self.takes("{");
            let predicate = self.expression(0)?;
            if braced {
                self.expect("}")?;
            }
            self.inside = outer;
            self.expect(")")?;
            return Ok(Node::Each(word, list.into(), predicate.into()));
        }
        if !FUNCTIONS.contains(&word.as_str()) && !QUESTION.contains(&word.as_str()) {
            return Err(format!("there is no function `{word}`"));
        }
        let args = first.into_iter().chain(self.list(")")?).collect();
        Ok(Node::Call(word, args))
    }
}

fn value(node: &Node, known: &dyn Known, member: Option<&Value>) -> Outcome<Value> {
    let of = |node: &Node| value(node, known, member);
    let truth = |node: &Node| match of(node)? {
        Value::Bool(truth) => Ok(truth),
        other => Err(format!("{other} is neither true nor false")),
    };
    Ok(match node {
        Node::Value(value) => value.clone(),
        Node::Name(name) => known.variable(name).ok_or_else(|| format!("there is no {name}"))?,
        Node::Member => member.cloned().unwrap_or(Value::Nil),
        Node::List(members) => Value::List(members.iter().map(of).collect::<Outcome<_>>()?),
        Node::Call(name, args) => {
            let args = args.iter().map(of).collect::<Outcome<Vec<_>>>()?;
            let found = if QUESTION.contains(&name.as_str()) { known.call(name, &args) } else { call(name, &args) };
            found.ok_or_else(|| format!("{name} of {}", Value::List(args)))?
        }
        Node::Each(name, list, predicate) => {
            let Value::List(list) = of(list)? else { return Err(format!("{name} goes over lists")) };
            each(name, list, |member| value(predicate, known, Some(member)))?
        }
        Node::Not(node) => Value::Bool(!truth(node)?),
        Node::Minus(node) => match of(node)? {
            Value::Int(number) => Value::Int(-number),
            Value::Float(number) => Value::Float(-number),
            other => return Err(format!("-{other}")),
        },
        Node::Binary(operator, left, right) => match operator.as_str() {
            "and" => Value::Bool(truth(left)? && truth(right)?),
            "or" => Value::Bool(truth(left)? || truth(right)?),
            "??" => match of(left)? {
                Value::Nil => of(right)?,
                value => value,
            },
            operator => {
                let (left, right) = (of(left)?, of(right)?);
                binary(operator, &left, &right).ok_or_else(|| format!("{left} {operator} {right}"))?
            }
        },
        Node::Matches(node, pattern) => match of(node)? {
            Value::Text(text) => Value::Bool(pattern.is_match(&text)),
            other => return Err(format!("{other} matches {pattern}")),
        },
        Node::If(parts) => of(if truth(&parts[0])? { &parts[1] } else { &parts[2] })?,
        Node::Index(node, at) => {
            let (value, at) = (of(node)?, of(at)?);
            let slot = place(&value, &at).filter(|slot| value.len().is_some_and(|length| *slot < length));
            match (&value, slot) {
                (Value::List(list), Some(slot)) => list[slot].clone(),
                (text @ Value::Text(_), Some(slot)) => text.slice(slot, slot + 1).unwrap_or(Value::Nil),
                _ => return Err(format!("{value}[{at}]")),
            }
        }
        Node::Slice(node, from, to) => {
            let value = of(node)?;
            let length = value.len().ok_or_else(|| format!("{value} has no parts"))?;
            let bound = |bound: &Option<Box<Node>>, open| match bound {
                None => Ok(open),
                Some(node) => of(node).map(|at| place(&value, &at).unwrap_or(length).min(length)),
            };
            let (from, to) = (bound(from, 0)?, bound(to, length)?);
            value.slice(from.min(to), to).ok_or_else(|| format!("no such part of {value}"))?
        }
    })
}

/// The place that an index means: a negative one counts from the end.
fn place(value: &Value, at: &Value) -> Option<usize> {
    let (length, at) = (value.len()? as i64, at.as_int()?);
    usize::try_from(if at < 0 { length + at } else { at }).ok()
}

fn binary(operator: &str, left: &Value, right: &Value) -> Option<Value> {
    let texts = || left.as_text().zip(right.as_text());
    let numbers = || left.number().zip(right.number());
    let order = || left.order(right);
    Some(match operator {
        "==" => Value::Bool(left.same(right)),
        "!=" => Value::Bool(!left.same(right)),
        "<" => Value::Bool(order()? == Ordering::Less),
        ">" => Value::Bool(order()? == Ordering::Greater),
        "<=" => Value::Bool(order()? != Ordering::Greater),
        ">=" => Value::Bool(order()? != Ordering::Less),
        "in" => Value::Bool(right.as_list()?.iter().any(|member| member.same(left))),
        "contains" => texts().map(|(text, part)| Value::Bool(text.contains(part)))?,
        "startsWith" => texts().map(|(text, part)| Value::Bool(text.starts_with(part)))?,
        "endsWith" => texts().map(|(text, part)| Value::Bool(text.ends_with(part)))?,
        "matches" => texts().and_then(|(text, pattern)| Some(Value::Bool(Regex::new(pattern).ok()?.is_match(text))))?,
        ".." => {
            let (from, to) = left.as_int().zip(right.as_int())?;
            // As many members as there may be addresses in a network, and no more.
            (to - from <= 65_536).then(|| Value::List((from..=to).map(Value::Int).collect()))?
        }
        "+" if texts().is_some() => texts().map(|(one, other)| Value::Text(one.to_owned() + other))?,
        "+" | "-" | "*" | "%" => match (left, right) {
            (Value::Int(one), Value::Int(other)) => Value::Int(match operator {
                "+" => one.checked_add(*other)?,
                "-" => one.checked_sub(*other)?,
                "*" => one.checked_mul(*other)?,
                _ => one.checked_rem(*other)?,
            }),
            _ => numbers().and_then(|(one, other)| {
                Some(Value::Float(match operator {
                    "+" => one + other,
                    "-" => one - other,
                    "*" => one * other,
                    _ => return None,
                }))
            })?,
        },
        "/" => numbers().map(|(one, other)| Value::Float(one / other))?,
        "**" | "^" => numbers().map(|(one, other)| Value::Float(one.powf(other)))?,
        _ => return None,
    })
}

fn each(name: &str, list: Vec<Value>, of: impl Fn(&Value) -> Outcome<Value>) -> Outcome<Value> {
    let values = list.iter().map(of).collect::<Outcome<Vec<_>>>()?;
    if name == "map" {
        return Ok(Value::List(values));
    }
    let truth = |value: &Value| match value {
        Value::Bool(truth) => Ok(*truth),
        other => Err(format!("{other} is neither true nor false")),
    };
    let truths = values.iter().map(truth).collect::<Outcome<Vec<_>>>()?;
    let n_true = truths.iter().filter(|truth| **truth).count();
    let first = truths.iter().position(|truth| *truth);
    Ok(match name {
        "all" => Value::Bool(n_true == truths.len()),
        "any" => Value::Bool(n_true > 0),
        "none" => Value::Bool(n_true == 0),
        "one" => Value::Bool(n_true == 1),
        "count" => Value::Int(n_true as i64),
        "findIndex" => first.map_or(Value::Nil, |at| Value::Int(at as i64)),
        "find" => first.map_or(Value::Nil, |at| list[at].clone()),
        _ => Value::List(list.into_iter().zip(truths).filter_map(|(member, is)| is.then_some(member)).collect()),
    })
}

fn call(name: &str, args: &[Value]) -> Option<Value> {
    use Value::{Bool, Float, Int, List, Text};
    let text = |text: &str| Some(Text(text.to_owned()));
    let place = |at: Option<usize>| Some(Int(at.map_or(-1, |at| at as i64)));
    match (name, args) {
        ("len", [value]) => Some(Int(match value {
            Text(text) => text.chars().count(),
            value => value.len()?,
        } as i64)),
        ("trim", [Text(of)]) => text(of.trim()),
        ("trim", [Text(of), Text(what)]) => text(of.trim_matches(|c| what.contains(c))),
        ("trimPrefix", [Text(of), Text(what)]) => text(of.strip_prefix(what.as_str()).unwrap_or(of)),
        ("trimSuffix", [Text(of), Text(what)]) => text(of.strip_suffix(what.as_str()).unwrap_or(of)),
        ("upper", [Text(of)]) => text(&of.to_uppercase()),
        ("lower", [Text(of)]) => text(&of.to_lowercase()),
        ("split", [Text(of), Text(at)]) => Some(List(of.split(at.as_str()).map(Value::text).collect())),
        ("split", [Text(of), Text(at), Int(n)]) if *n > 0 => {
            Some(List(of.splitn(usize::try_from(*n).ok()?, at.as_str()).map(Value::text).collect()))
        }
        ("replace", [Text(of), Text(what), Text(by)]) => text(&of.replace(what.as_str(), by)),
        ("repeat", [Text(of), Int(n)]) if (0..=255).contains(n) => text(&of.repeat(usize::try_from(*n).ok()?)),
        ("join", [List(list)]) => join(list, ""),
        ("join", [List(list), Text(between)]) => join(list, between),
        ("indexOf", [Text(of), Text(what)]) => place(of.find(what.as_str())),
        ("lastIndexOf", [Text(of), Text(what)]) => place(of.rfind(what.as_str())),
        ("hasPrefix", [Text(of), Text(what)]) => Some(Bool(of.starts_with(what.as_str()))),
        ("hasSuffix", [Text(of), Text(what)]) => Some(Bool(of.ends_with(what.as_str()))),
        ("int", [Text(of)]) => Some(Int(of.parse().ok()?)),
        ("int", [value]) => Some(Int(value.number()? as i64)),
        ("float", [Text(of)]) => Some(Float(of.parse().ok()?)),
        ("float", [value]) => Some(Float(value.number()?)),
        ("string", [value]) => Some(Text(value.to_string())),
        ("abs", [Int(number)]) => Some(Int(number.checked_abs()?)),
        ("abs", [Float(number)]) => Some(Float(number.abs())),
        ("min" | "max", [List(list)]) => extreme(name, list),
        ("min" | "max", numbers) => extreme(name, numbers),
        ("first", [List(list)]) => Some(list.first().cloned().unwrap_or(Value::Nil)),
        ("last", [List(list)]) => Some(list.last().cloned().unwrap_or(Value::Nil)),
        ("get", [List(list), Int(at)]) => Some(usize::try_from(*at).ok().and_then(|at| list.get(at)).cloned().unwrap_or(Value::Nil)),
        ("reverse", [List(list)]) => Some(List(list.iter().rev().cloned().collect())),
        ("concat", lists) => Some(List(lists.iter().map(Value::as_list).collect::<Option<Vec<_>>>()?.concat())),
        _ => None,
    }
}

fn join(list: &[Value], between: &str) -> Option<Value> {
    Some(Value::Text(list.iter().map(Value::as_text).collect::<Option<Vec<_>>>()?.join(between)))
}

fn extreme(name: &str, numbers: &[Value]) -> Option<Value> {
    let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
    let (first, rest) = numbers.split_first()?;
    first.number()?;
    rest.iter().try_fold(first, |best, next| Some(if next.order(best)? == wanted { next } else { best })).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Known for Nobody {
        fn variable(&self, name: &str) -> Option<Value> {
            (name == "ip").then(|| Value::text("10.1.2.3"))
        }

        fn call(&self, name: &str, _: &[Value]) -> Option<Value> {
            (name == "name").then(|| Value::text("web.example."))
        }
    }

    fn check(text: &str, expected: &str) {
        let found = Expr::parse(text, &["ip"]).and_then(|expr| expr.value(&Nobody));
        assert_eq!(found.map_or_else(|error| format!("! {error}"), |value| value.to_string()), expected, "{text}");
    }

    #[test]
    fn operators_bind_as_in_expr_lang() {
        for (text, expected) in [
            ("1 + 2 * 3 - 4", "3"),
            ("7 / 2", "3.5"),
            ("7 % 4 == 3 && !false", "true"),
            ("2 ** 3 ** 2", "512"),
            ("-2 + 3", "1"),
            ("not (1 > 2) or false", "true"),
            ("name() matches '^web\\\\.' ? 'yes' : 'no'", "yes"),
            ("name() not contains \"api\"", "true"),
            ("'A' in ['A', 'AAAA']", "true"),
            ("3 not in 1..3", "false"),
            ("name()[0:3] + `-` + ip", "web-10.1.2.3"),
            ("[1, 2, 3][-1]", "3"),
            ("nil ?? 'x'", "x"),
            ("split(ip, '.')[1]", "1"),
            ("split(ip, '.') | map(int(#) + 1) | join('.')", "! join of [[11 2 3 4] .]"),
            ("any(split(ip, '.'), # == '3')", "true"),
            ("count(1..10, {# % 2 == 0})", "5"),
            ("filter([1, 2, 3], # > 1) | len()", "2"),
            ("replace('10-0-0-1', '-', '.')", "10.0.0.1"),
            ("max(1, 2.5, 2)", "2.5"),
            ("1 < 'a'", "! 1 < a"),
            ("1 and true", "! 1 is neither true nor false"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, told) in [
            ("", "a value is missing"),
            ("1 +", "a value is missing"),
            ("foo", "there is no `foo`"),
            ("foo(1)", "there is no function `foo`"),
            ("(1", "`)` is missing"),
            ("1 2", "`2` stands where the end should be"),
            ("# > 1", "`#` stands for a member of a list, in `any(list, ...)` and its like"),
            ("'a", "`'a`: a quote is never closed"),
            ("name() matches '('", "unclosed group"),
        ] {
            assert_eq!(Expr::parse(text, &[]).expect_err(text), told, "{text}");
        }
        assert!(may_be_variable("my_ip2") && !may_be_variable("len") && !may_be_variable("2x") && !may_be_variable("true"));
    }
}
