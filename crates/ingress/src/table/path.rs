//! Paths as rules see them: percent-decoded, `//` merged, `.` and `..` resolved. For matching alone; what travels upstream is the
//! path as it came, unless a rewrite makes a new one.

use std::borrow::Cow;

/// The path that rules are compared with; `None` if it is none (a broken `%`, a NUL, a way above the root): 400.
///
/// Source: nginx, `ngx_http_parse_complex_uri` with `merge_slashes on`.
pub(crate) fn normalise(path: &str) -> Option<Cow<'_, [u8]>> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return None;
    }
    let plain = !bytes.contains(&b'%') && !bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.");
    if plain {
        return Some(Cow::Borrowed(bytes));
    }
    let decoded = decode(bytes)?;
    let mut out: Vec<u8> = Vec::with_capacity(decoded.len());
    let mut segments = decoded[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." if !last => {}
            b"" | b"." => out.push(b'/'),
            b".." => {
                let parent = out.iter().rposition(|&byte| byte == b'/')?;
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
            segment => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    Some(Cow::Owned(out))
}

fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            out.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else { return None };
        let byte = hex(*high)? << 4 | hex(*low)?;
        if byte == 0 {
            return None;
        }
        out.push(byte);
        rest = tail;
    }
    Some(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_decoded_merged_and_resolved() {
        let rows = [
            ("/", "/"),
            ("/foo/bar", "/foo/bar"),
            ("/foo/", "/foo/"),
            ("//foo///bar", "/foo/bar"),
            ("/foo//", "/foo/"),
            ("/foo/.", "/foo/"),
            ("/foo/./bar", "/foo/bar"),
            ("/foo/..", "/"),
            ("/foo/../bar", "/bar"),
            ("/foo/bar/../", "/foo/"),
            ("/x/%2e%2e/pre/y", "/pre/y"),
            ("/a%2Fb", "/a/b"),
            ("/%C3%A4", "/ä"),
            ("/foo/.hidden", "/foo/.hidden"),
            ("/foo/...", "/foo/..."),
            ("/a%20b", "/a b"),
        ];
        for (path, expected) in rows {
            let normal = normalise(path).map(|path| String::from_utf8_lossy(&path).into_owned());
            assert_eq!(normal.as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["", "*", "foo", "/..", "/foo/../..", "/%", "/%2", "/%zz", "/%00"] {
            assert_eq!(normalise(path), None, "{path}");
        }
    }
}
