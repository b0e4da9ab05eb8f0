//! The text of a record, a template of Go's: text with actions in double braces. Source: Go's `text/template`.
//!
//! There are fields of a question, pipelines, `if`, `with`, `range`, variables and the built-in functions that make sense here. A field or function that does not exist is a mistake of
//! the Corefile; a value that is not there makes a record that is none.

use super::Found;
use super::value::Value;
use crate::wire::flag;

#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    nodes: Vec<Node>,
    /// As it was written, for the metrics.
    shown: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Plain(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
}

#[derive(Clone, Debug, PartialEq)]
struct Branch {
    pipe: Pipe,
    then: Vec<Node>,
    otherwise: Vec<Node>,
}

/// `[$x :=] command | command`.
#[derive(Clone, Debug, PartialEq)]
struct Pipe {
    /// The variable that it sets, and whether it is a new one.
    sets: Option<(String, bool)>,
    commands: Vec<Vec<Operand>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Value(Value),
    /// `.`, or a field of it.
    Dot(Vec<String>),
    /// `$` is the question, whatever `.` is.
    Variable(String, Vec<String>),
    Paren(Pipe),
    Function(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Operand(Operand),
    Open,
    Close,
    Bar,
    Assign(bool),
}

/// What stands in one action.
enum Action {
    Pipe(Pipe),
    If(Pipe),
    With(Pipe),
    Range(Pipe),
    /// `else`, with the condition of an `else if`.
    Else(Option<Pipe>),
    End,
    Comment,
}

const FIELDS: &[&str] = &["Name", "Zone", "Class", "Type", "Remote", "Regex", "Match", "Group", "Var", "Meta", "Question", "Message"];
const FUNCTIONS: &[&str] =
    &["and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf", "println", "parseInt"];

type Outcome<T> = Result<T, String>;

// === impl Text ===

impl Text {
    /// Reads a template; says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let mut pieces = pieces(text)?.into_iter();
        let (nodes, end) = nodes(&mut pieces, text)?;
        match end {
            None => check(&nodes).map(|()| Self { nodes, shown: text.replace("{{ ", "{{").replace(" }}", "}}") }),
            Some(_) => Err(format!("`{text}`: an `else` or `end` that nothing was opened for")),
        }
    }

    /// The record's text.
    ///
    /// # Errors
    /// What could not be reckoned.
    pub(crate) fn fill(&self, found: &Found<'_>) -> Outcome<String> {
        let mut filling = Filling { found, variables: Vec::new(), out: String::new() };
        filling.nodes(&self.nodes, None)?;
        Ok(filling.out)
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

/// Text and actions in turn, with the blanks that `{{-` and `-}}` eat eaten.
fn pieces(text: &str) -> Outcome<Vec<Result<String, Action>>> {
    let mut pieces = Vec::new();
    let (mut rest, mut eats) = (text, false);
    loop {
        let (plain, behind) = rest.split_once("{{").map_or((rest, None), |(plain, behind)| (plain, Some(behind)));
        let plain = if eats { plain.trim_start() } else { plain };
        let Some(behind) = behind else {
            pieces.push(Ok(plain.to_owned()));
            return Ok(pieces);
        };
        let eaten = behind.strip_prefix('-').filter(|behind| behind.starts_with(char::is_whitespace));
        pieces.push(Ok(if eaten.is_some() { plain.trim_end() } else { plain }.to_owned()));
        let behind = eaten.unwrap_or(behind);
        let end = end_of_action(behind).ok_or_else(|| format!("`{text}`: a `{{{{` is never closed"))?;
        let inside = &behind[..end];
        let trimmed = inside.strip_suffix('-').filter(|inside| inside.ends_with(char::is_whitespace));
        eats = trimmed.is_some();
        pieces.push(Err(action(trimmed.unwrap_or(inside).trim()).map_err(|why| format!("`{{{{{inside}}}}}`: {why}"))?));
        rest = &behind[end + 2..];
    }
}

/// Where the `}}` stands that is not inside of quotes.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

fn action(inside: &str) -> Outcome<Action> {
    if inside.starts_with("/*") && inside.ends_with("*/") {
        return Ok(Action::Comment);
    }
    let (word, rest) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
    Ok(match word {
        "if" => Action::If(Pipe::parse(rest)?),
        "with" => Action::With(Pipe::parse(rest)?),
        "range" => Action::Range(Pipe::parse(rest)?),
        "end" => Action::End,
        "else" => Action::Else(match rest.trim().strip_prefix("if ") {
            Some(condition) => Some(Pipe::parse(condition)?),
            None if rest.trim().is_empty() => None,
            None => return Err("`else` stands alone, or in front of `if`".to_owned()),
        }),
        _ => Action::Pipe(Pipe::parse(inside)?),
    })
}

/// The nodes up to an `else` or `end` of an outer one, and that.
fn nodes(pieces: &mut std::vec::IntoIter<Result<String, Action>>, whole: &str) -> Outcome<(Vec<Node>, Option<Action>)> {
    let mut found = Vec::new();
    while let Some(piece) = pieces.next() {
        match piece {
            Ok(plain) => found.extend((!plain.is_empty()).then_some(Node::Plain(plain))),
            Err(Action::Comment) => {}
            Err(Action::Pipe(pipe)) => found.push(Node::Action(pipe)),
            Err(Action::If(pipe)) => found.push(Node::If(branch(pipe, pieces, whole)?)),
            Err(Action::With(pipe)) => found.push(Node::With(branch(pipe, pieces, whole)?)),
            Err(Action::Range(pipe)) => found.push(Node::Range(branch(pipe, pieces, whole)?)),
            Err(end @ (Action::Else(_) | Action::End)) => return Ok((found, Some(end))),
        }
    }
    Ok((found, None))
}

fn branch(pipe: Pipe, pieces: &mut std::vec::IntoIter<Result<String, Action>>, whole: &str) -> Outcome<Branch> {
    let unclosed = || format!("`{whole}`: an `end` is missing");
    let (then, end) = nodes(pieces, whole)?;
    let otherwise = match end.ok_or_else(unclosed)? {
        Action::Else(Some(condition)) => vec![Node::If(branch(condition, pieces, whole)?)],
        Action::Else(None) => match nodes(pieces, whole)? {
            (otherwise, Some(Action::End)) => otherwise,
            _ => return Err(unclosed()),
        },
        _ => Vec::new(),
    };
    Ok(Branch { pipe, then, otherwise })
}

/// Each field that is named has to be one.
fn check(nodes: &[Node]) -> Outcome<()> {
    nodes.iter().try_for_each(|node| match node {
        Node::Plain(_) => Ok(()),
        Node::Action(pipe) => pipe.check(),
        Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
            branch.pipe.check()?;
            check(&branch.then)?;
            check(&branch.otherwise)
        }
    })
}

// === impl Pipe ===

impl Pipe {
    fn check(&self) -> Outcome<()> {
        self.commands.iter().flatten().try_for_each(|operand| match operand {
            Operand::Paren(inner) => inner.check(),
            Operand::Dot(path) | Operand::Variable(_, path) => match path.first() {
                Some(field) if !FIELDS.contains(&field.as_str()) => Err(format!("`.{field}`: the fields are .{}", FIELDS.join(", ."))),
                _ => Ok(()),
            },
            Operand::Value(_) | Operand::Function(_) => Ok(()),
        })
    }

    fn parse(text: &str) -> Outcome<Self> {
        let tokens = tokens(text)?;
        let mut rest = tokens.as_slice();
        let mut sets = None;
        if let [Token::Operand(Operand::Variable(name, fields)), Token::Assign(new), behind @ ..] = rest
            && fields.is_empty()
        {
            (sets, rest) = (Some((name.clone(), *new)), behind);
        }
        let pipe = Self { sets, ..Self::commands(&mut rest)? };
        if rest.is_empty() { Ok(pipe) } else { Err("a `)` too many".to_owned()) }
    }

    fn commands(rest: &mut &[Token]) -> Outcome<Self> {
        let mut commands = vec![Vec::new()];
        while let Some((token, behind)) = rest.split_first() {
            let last = commands.last_mut().expect("BUG: there is always one");
            match token {
                Token::Close => break,
                Token::Assign(_) => return Err("`=` stands behind a variable at the start".to_owned()),
                Token::Operand(operand) => last.push(operand.clone()),
                Token::Bar => commands.push(Vec::new()),
                Token::Open => {
                    *rest = behind;
                    let inner = Self::commands(rest)?;
                    let Some((Token::Close, _)) = rest.split_first() else { return Err("a `(` is never closed".to_owned()) };
                    last.push(Operand::Paren(inner));
                }
            }
            *rest = &rest[1..];
        }
        if commands.iter().any(Vec::is_empty) {
            return Err("a value is missing".to_owned());
        }
        Ok(Self { sets: None, commands })
    }
}

fn tokens(text: &str) -> Outcome<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Bar, 1),
            ':' if rest.starts_with(":=") => (Token::Assign(true), 2),
            '=' => (Token::Assign(false), 1),
            '`' => {
                let end = rest[1..].find('`').ok_or("a quote is never closed")?;
                (Token::Operand(Operand::Value(Value::text(&rest[1..=end]))), end + 2)
            }
            '"' => {
                let (text, length) = quoted(rest).ok_or("a quote is never closed")?;
                (Token::Operand(Operand::Value(Value::Text(text))), length)
            }
            _ => {
                let length = rest.find(|c: char| c.is_whitespace() || "()|\"`=".contains(c)).unwrap_or(rest.len());
                (Token::Operand(word(&rest[..length])?), length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A text in double quotes, and how long it is with them.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    loop {
        match chars.next()? {
            (at, '"') => return Some((out, at + 1)),
            (_, '\\') => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                c => c,
            }),
            (_, c) => out.push(c),
        }
    }
}

fn word(word: &str) -> Outcome<Operand> {
    let fields = |text: &str| text.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    if let Some(path) = word.strip_prefix('.') {
        return Ok(Operand::Dot(fields(path)));
    }
    if word.starts_with('$') {
        let (name, path) = word.split_once('.').unwrap_or((word, ""));
        return Ok(Operand::Variable(name.to_owned(), fields(path)));
    }
    Ok(match word {
        "true" => Operand::Value(Value::Bool(true)),
        "false" => Operand::Value(Value::Bool(false)),
        "nil" => Operand::Value(Value::Nil),
        function if FUNCTIONS.contains(&function) => Operand::Function(function.to_owned()),
        number => match (number.parse(), number.strip_prefix("0x").map(|hex| i64::from_str_radix(hex, 16)), number.parse()) {
            (Ok(number), ..) | (_, Some(Ok(number)), _) => Operand::Value(Value::Int(number)),
            (.., Ok(number)) => Operand::Value(Value::Float(number)),
            _ => return Err(format!("`{word}`: the functions are {}", FUNCTIONS.join(", "))),
        },
    })
}

/// A template on its way into a text.
struct Filling<'f> {
    found: &'f Found<'f>,
    variables: Vec<(String, Value)>,
    out: String,
}

// === impl Filling ===

impl Filling<'_> {
    /// `dot`: what `.` stands for; `None` for the question.
    fn nodes(&mut self, nodes: &[Node], dot: Option<&Value>) -> Outcome<()> {
        for node in nodes {
            match node {
                Node::Plain(text) => self.out.push_str(text),
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.sets.is_none() {
                        self.out.push_str(&value.to_string());
                    }
                }
                Node::If(branch) => self.branch(branch, dot, |filling, _| filling.nodes(&branch.then, dot))?,
                Node::With(branch) => self.branch(branch, dot, |filling, value| filling.nodes(&branch.then, Some(&value)))?,
                Node::Range(branch) => self.branch(branch, dot, |filling, value| {
                    let Value::List(members) = value else { return Err("range goes over lists".to_owned()) };
                    members.iter().try_for_each(|member| filling.nodes(&branch.then, Some(member)))
                })?,
            }
        }
        Ok(())
    }

    fn branch(&mut self, branch: &Branch, dot: Option<&Value>, then: impl FnOnce(&mut Self, Value) -> Outcome<()>) -> Outcome<()> {
        let n_variables = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let done = if value.is_true() { then(self, value) } else { self.nodes(&branch.otherwise, dot) };
        self.variables.truncate(n_variables);
        done
    }

    fn pipe(&mut self, pipe: &Pipe, dot: Option<&Value>) -> Outcome<Value> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        let value = last.unwrap_or(Value::Nil);
        match &pipe.sets {
            None => {}
            Some((name, true)) => self.variables.push((name.clone(), value.clone())),
            Some((name, false)) => match self.variables.iter_mut().rfind(|(known, _)| known == name) {
                Some((_, known)) => *known = value.clone(),
                None => return Err(format!("no variable {name}")),
            },
        }
        Ok(value)
    }

    fn command(&mut self, command: &[Operand], dot: Option<&Value>, piped: Option<Value>) -> Outcome<Value> {
        let (first, args) = command.split_first().ok_or("a value is missing")?;
        let mut args = args.iter().map(|arg| self.operand(arg, dot)).collect::<Outcome<Vec<_>>>()?;
        args.extend(piped);
        match first {
            Operand::Function(name) => call(name, &args),
            Operand::Dot(path) if dot.is_none() && path.first().is_some_and(|field| field == "Meta") => self.meta(&args),
            Operand::Variable(name, path) if name == "$" && path.first().is_some_and(|field| field == "Meta") => self.meta(&args),
            operand if args.is_empty() => self.operand(operand, dot),
            _ => Err("only functions and .Meta take values".to_owned()),
        }
    }

    fn meta(&self, args: &[Value]) -> Outcome<Value> {
        let [Value::Text(label)] = args else { return Err(".Meta takes a label".to_owned()) };
        let known = self.found.request.metadata.as_ref().and_then(|known| known.value(label));
        Ok(Value::Text(known.unwrap_or_default()))
    }

    fn operand(&mut self, operand: &Operand, dot: Option<&Value>) -> Outcome<Value> {
        match operand {
            Operand::Value(value) => Ok(value.clone()),
            Operand::Paren(pipe) => self.pipe(pipe, dot),
            Operand::Function(name) => call(name, &[]),
            Operand::Dot(path) => match dot {
                None => self.field(path),
                Some(value) if path.is_empty() => Ok(value.clone()),
                Some(_) => Err(format!("`.{}` is no field of what `.` is here", path.join("."))),
            },
            Operand::Variable(name, path) if name == "$" => self.field(path),
            Operand::Variable(name, path) if path.is_empty() => {
                let known = self.variables.iter().rfind(|(known, _)| known == name);
                known.map(|(_, value)| value.clone()).ok_or_else(|| format!("no variable {name}"))
            }
            Operand::Variable(name, _) => Err(format!("{name} has no fields")),
        }
    }

    /// A field of the question; see [`FIELDS`].
    fn field(&self, path: &[String]) -> Outcome<Value> {
        let found = self.found;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let flag = |flag| Value::Bool(found.request.flags & flag != 0);
        Ok(match path.as_slice() {
            ["Name"] | ["Question", "Name"] => Value::text(found.name),
            ["Zone"] => Value::text(found.zone.to_string()),
            ["Class"] => Value::text(found.class()),
            ["Type"] => Value::text(found.of_type()),
            ["Remote"] => Value::text(found.remote()),
            ["Regex"] => Value::text(found.pattern()),
            ["Match"] => Value::List(found.groups().into_iter().map(Value::Text).collect()),
            ["Group"] => found.groups_by_name(),
            ["Group", name] => found.groups_by_name().get(name).cloned().unwrap_or(Value::Nil),
            ["Var"] => Value::Map(found.variables.clone()),
            ["Var", name] => found.variables.iter().find(|(known, _)| known == name).map_or(Value::Nil, |(_, value)| value.clone()),
            ["Question", "Qtype"] => Value::Int(found.request.question.qtype.into()),
            ["Question", "Qclass"] => Value::Int(found.request.question.qclass.into()),
            ["Message", "RecursionDesired"] => flag(flag::RD),
            ["Message", "CheckingDisabled"] => flag(flag::CD),
            other => return Err(format!("no field .{}", other.join("."))),
        })
    }
}

fn call(name: &str, args: &[Value]) -> Outcome<Value> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let wrong = || format!("{name} of {}", args.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    let order = || if let [one, other] = args { one.order(other) } else { None }.ok_or_else(wrong);
    Ok(match (name, args) {
        ("and", [.., last]) => args.iter().find(|value| !value.is_true()).unwrap_or(last).clone(),
        ("or", [.., last]) => args.iter().find(|value| value.is_true()).unwrap_or(last).clone(),
        ("not", [value]) => Value::Bool(!value.is_true()),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => Value::Bool(rest.iter().any(|other| first.same(other))),
        ("ne", [one, other]) => Value::Bool(!one.same(other)),
        ("lt", _) => Value::Bool(order()? == Less),
        ("le", _) => Value::Bool(order()? != Greater),
        ("gt", _) => Value::Bool(order()? == Greater),
        ("ge", _) => Value::Bool(matches!(order()?, Greater | Equal)),
        ("len", [value]) => Value::Int(value.len().ok_or_else(wrong)? as i64),
        ("index", [value]) => value.clone(),
        ("index", [Value::List(list), Value::Int(at)]) => usize::try_from(*at).ok().and_then(|at| list.get(at)).ok_or_else(wrong)?.clone(),
        ("index", [Value::Text(text), Value::Int(at)]) => {
            Value::Int(usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at)).copied().ok_or_else(wrong)?.into())
        }
        ("index", [map @ Value::Map(_), Value::Text(key)]) => map.get(key).cloned().unwrap_or(Value::text("")),
        ("slice", [value, bounds @ ..]) => {
            let bound = |at: usize, open: usize| match bounds.get(at) {
                None => Some(open),
                Some(value) => value.as_int().and_then(|at| usize::try_from(at).ok()),
            };
            let length = value.len().ok_or_else(wrong)?;
            bound(0, 0).zip(bound(1, length)).and_then(|(from, to)| value.slice(from, to)).ok_or_else(wrong)?
        }
        ("print", _) => Value::Text(args.iter().map(ToString::to_string).collect()),
        ("println", _) => Value::Text(args.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ") + "\n"),
        ("printf", [Value::Text(format), values @ ..]) => Value::Text(printf(format, values).ok_or_else(wrong)?),
        ("parseInt", [Value::Text(text), Value::Int(base), Value::Int(bits)]) => {
            let base = u32::try_from(*base).ok().filter(|base| (2..=36).contains(base)).ok_or_else(wrong)?;
            let number = i64::from_str_radix(text, base).ok().filter(|number| *number >= 0).ok_or_else(wrong)?;
            let most = if (1..63).contains(bits) { (1 << bits) - 1 } else { i64::MAX };
            if number > most {
                return Err(wrong());
            }
            Value::Int(number)
        }
        _ => return Err(wrong()),
    })
}

/// Go's verbs as far as names and numbers need them: `%s %v %d %x %X %o %b %q %c %%`, with a width and leading zeros.
fn printf(format: &str, values: &[Value]) -> Option<String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut width = String::new();
        let left = chars.next_if_eq(&'-').is_some();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            width.push(digit);
        }
        let verb = chars.next()?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next()?;
        let text = match (verb, value) {
            ('s' | 'v', value) => value.to_string(),
            ('d', Value::Int(number)) => number.to_string(),
            ('x', Value::Int(number)) => format!("{number:x}"),
            ('X', Value::Int(number)) => format!("{number:X}"),
            ('o', Value::Int(number)) => format!("{number:o}"),
            ('b', Value::Int(number)) => format!("{number:b}"),
            ('c', Value::Int(number)) => char::from_u32(u32::try_from(*number).ok()?)?.to_string(),
            ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('q', Value::Text(text)) => format!("{text:?}"),
            ('t', Value::Bool(truth)) => truth.to_string(),
            _ => return None,
        };
        let zeros = width.starts_with('0') && !left;
        let missing = width.parse::<usize>().unwrap_or(0).min(MAX_WIDTH).saturating_sub(text.chars().count());
        let fill = if zeros { "0" } else { " " }.repeat(missing);
        out += &if left { text + &fill } else { fill + &text };
    }
    Some(out)
}

/// No record has room for more.
const MAX_WIDTH: usize = 255;
