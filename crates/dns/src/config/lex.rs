//! Words of a Corefile: white space apart, double quotes, `#` comments, `{$ENV}` and `{%ENV%}`.

use super::directive::Line;

/// One word and the line that it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub line: Line,
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
    let mut rest = text.chars().peekable();
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
                while let Some(c) = rest.next() {
                    match c {
                        '"' => break,
                        '\\' if rest.peek() == Some(&'"') => text.extend(rest.next()),
                        c => {
                            line.number += usize::from(c == '\n');
                            text.push(c);
                        }
                    }
                }
                words.push(Word { line: start, text, quoted: true });
            }
            _ => {
                let mut text = String::new();
                while let Some(c) = rest.next_if(|c| !c.is_whitespace()) {
                    text.push(c);
                }
                words.push(Word { line, text: expand(&text, environment), quoted: false });
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
