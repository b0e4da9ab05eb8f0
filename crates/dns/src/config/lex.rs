//! Words of a Corefile: white space apart, double quotes, `#` comments, `{$ENV}` and `{%ENV%}`.

use super::directive::Line;

/// One word and the line that it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub line: Line,
    /// The line on which it ends: a quoted word may hold line breaks.
    pub end: Line,
    pub text: String,
    /// Quoted words are never braces.
    quoted: bool,
}

impl Word {
    pub(crate) fn opens(&self) -> bool {
        !self.quoted && self.text == "{"
    }

    pub(crate) fn closes(&self) -> bool {
        !self.quoted && self.text == "}"
    }
}

/// Splits `text`, the file of that number, as Caddy's lexer does. `environment` gives a variable's value; an unset one is empty.
pub(crate) fn words(text: &str, file: u16, environment: &dyn Fn(&str) -> Option<String>) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    let mut line = Line { file, number: 1 };
    while let Some(&next) = rest.peek() {
        match next {
            '\n' => {
                line.number += 1;
                rest.next();
            }
            space if space.is_whitespace() => {
                rest.next();
            }
            '#' => while rest.next_if(|&c| c != '\n').is_some() {},
            '"' => {
                rest.next();
                let start = line;
                let mut text = String::new();
                while let Some(c) = rest.next().filter(|&c| c != '"') {
                    // Only quotes are escaped, and what stands behind a backslash never ends the word.
                    match (c, if c == '\\' { rest.next() } else { None }) {
                        (_, Some('"')) => text.push('"'),
                        (c, escaped) => text.extend([Some(c), escaped].into_iter().flatten()),
                    }
                }
                line.number += text.matches('\n').count();
                words.push(Word { line: start, end: line, text: expand(&text, environment), quoted: true });
            }
            _ => {
                let mut text = String::new();
                while let Some(c) = rest.next_if(|c| !c.is_whitespace() && *c != '#') {
                    text.push(c);
                }
                words.push(Word { line, end: line, text: expand(&text, environment), quoted: false });
            }
        }
    }
    words
}

fn expand(word: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = word;
    'next: while !rest.is_empty() {
        for (open, close) in [("{$", "}"), ("{%", "%}")] {
            if let Some((variable, after)) = rest.strip_prefix(open).and_then(|inner| inner.split_once(close)) {
                out.push_str(&environment(variable).unwrap_or_default());
                rest = after;
                continue 'next;
            }
        }
        let mut chars = rest.chars();
        out.extend(chars.next());
        rest = chars.as_str();
    }
    out
}
