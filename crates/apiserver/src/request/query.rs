//! The query of a URL.

/// Names and values in their order, decoded.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(text: &str) -> Query {
        let pair = |part: &str| match part.split_once('=') {
            Some((name, value)) => (decode_form(name), decode_form(value)),
            None => (decode_form(part), String::new()),
        };
        Query { pairs: text.split('&').filter(|part| !part.is_empty()).map(pair).collect() }
    }

    /// The first value under a name; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.pairs.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(found, _)| found == name)
    }

    /// Go's reading of a flag in a query: there, and neither `false` nor `0`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.has(name) && !matches!(self.text(name), "false" | "0" | "False" | "FALSE" | "f" | "F")
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn decode_form(text: &str) -> String {
    decode(&text.replace('+', " "))
}

/// Percent-decoding; what is no UTF-8 afterwards becomes U+FFFD, what is no escape stays.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |c: u8| (c as char).to_digit(16).unwrap_or_default() as u8;
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
