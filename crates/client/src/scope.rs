//! Which objects of a kind somebody wants.

use api::Selector;

/// All of a kind, unless something here narrows it. The server filters, so that what is not wanted is never sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    pub namespace: Option<String>,
    pub labels: Selector,
    /// A field selector in its string form, `metadata.name=web`; empty for none.
    pub fields: String,
}

impl Scope {
    /// The selectors as query parameters, each with its leading `&`.
    pub(crate) fn query(&self) -> String {
        let mut query = String::new();
        if !self.labels.is_everything() {
            query.push_str("&labelSelector=");
            query.push_str(&escape(&self.labels.to_string()));
        }
        if !self.fields.is_empty() {
            query.push_str("&fieldSelector=");
            query.push_str(&escape(&self.fields));
        }
        query
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_become_query_parameters_that_no_value_can_break_out_of() {
        let labels = Selector::parse("app=web,tier in (a,b)").expect("a selector");
        let scope = Scope { labels, fields: "metadata.name=a&b".to_owned(), ..Scope::default() };
        assert_eq!(scope.query(), "&labelSelector=app%3Dweb%2Ctier%20in%20%28a%2Cb%29&fieldSelector=metadata.name%3Da%26b");
    }

    #[test]
    fn a_scope_of_everything_asks_for_nothing_special() {
        assert_eq!(Scope::default().query(), "");
    }
}
