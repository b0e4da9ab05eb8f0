//! ingress-nginx's annotations as typed options: one row of the table each.
//!
//! An annotation with our prefix that has no row is told as unsupported: better said than silently not done.

use model::route::RouteOptions;

use super::Fields;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Reads the value of one annotation into the options.
type Read = fn(&str, &mut RouteOptions, &mut Fields<'_>) -> Result<(), String>;

/// Sorted by name.
const TABLE: &[(&str, Read)] = &[
    ("force-ssl-redirect", |value, options, _| boolean(value).map(|it| options.force_ssl_redirect = it)),
    ("rewrite-target", |value, options, fields| {
        options.rewrite_target = Some(fields.text(value));
        Ok(())
    }),
    ("ssl-redirect", |value, options, _| boolean(value).map(|it| options.ssl_redirect = Some(it))),
    ("use-regex", |value, options, _| boolean(value).map(|it| options.use_regex = it)),
];

pub(super) fn lower(annotations: &api::Map, fields: &mut Fields<'_>) -> RouteOptions {
    let mut options = RouteOptions::default();
    for (key, value) in &annotations.0 {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let path = || format!("metadata.annotations[{key}]");
        match TABLE.binary_search_by_key(&name, |(name, _)| name) {
            Ok(row) => {
                if let Err(why) = TABLE[row].1(value.trim(), &mut options, fields) {
                    fields.invalid(path, why);
                }
            }
            Err(_) => fields.unsupported(path, "this annotation is not supported and has no effect"),
        }
    }
    options
}

/// As Go's `strconv.ParseBool`, which ingress-nginx reads them with.
fn boolean(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{value}` is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_by_name() {
        assert!(TABLE.is_sorted_by_key(|(name, _)| name));
    }
}
