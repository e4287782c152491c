//! Lists of `name=value` pairs with quoted strings, as in RFC 7239 and in Envoy's header, split from the right.

use axum::http::HeaderMap;

/// The elements of all lines of a header as one list, the last one first. They are octets, not texts, so that what is no
/// text in one of them does not spoil those that were written behind it.
pub(crate) fn elements_from_right<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(|line| FromRight { rest: Some(line.as_bytes()), separator: b',' })
}

/// The pairs of an element, the last one first; a part without `=` and one that is no text are `None`.
pub(crate) fn pairs_from_right(element: &[u8]) -> impl Iterator<Item = Option<(&str, &str)>> {
    let parts = FromRight { rest: Some(element), separator: b';' };
    parts.map(|part| {
        let (name, value) = std::str::from_utf8(part).ok()?.split_once('=')?;
        Some((name.trim(), value.trim()))
    })
}

/// Splits at a separator outside of quoted strings, from the end. Reading backwards, a quote is escaped where an odd
/// number of backslashes stands before it: outside of quoted strings no well-formed element has a backslash.
struct FromRight<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for FromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let mut is_quoted = false;
        for at in (0..rest.len()).rev() {
            if rest[at] == b'"' && !is_escaped(&rest[..at]) {
                is_quoted = !is_quoted;
            } else if rest[at] == self.separator && !is_quoted {
                self.rest = Some(&rest[..at]);
                return Some(rest[at + 1..].trim_ascii());
            }
        }
        Some(rest.trim_ascii())
    }
}

fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// A value without its quotes and escapes (RFC 9110, section 5.6.4); `None` where the quotes do not fit together.
pub(crate) fn unquote(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains(['"', '\\'])).then(|| value.to_owned());
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(text),
            '\\' => text.push(characters.next()?),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x", line.parse().unwrap());
        }
        elements_from_right(&headers, "x").map(|element| String::from_utf8_lossy(element).into_owned()).collect()
    }

    #[test]
    fn several_lines_are_one_list_read_from_its_end() {
        assert_eq!(elements(&["a, b", "c"]), ["c", "b", "a"]);
        assert_eq!(elements(&["", ",a,"]), ["", "a", "", ""]);
        assert_eq!(elements(&[]), Vec::<String>::new());
    }

    #[test]
    fn separators_in_quoted_strings_separate_nothing() {
        assert_eq!(elements(&[r#"a="1,2", b="\",\\""#]), [r#"b="\",\\""#, r#"a="1,2""#]);
        let pairs: Vec<_> = pairs_from_right(br#"a="x;y=z"; B = c ;d"#).collect();
        assert_eq!(pairs, [None, Some(("B", "c")), Some(("a", r#""x;y=z""#))]);
    }

    #[test]
    fn what_stands_left_changes_nothing_in_what_stands_right() {
        for garbage in ["\"", "a=\"", "\\", "a=\"\\", "\"\\\"", ",\"", "for=\"1.2.3.4;by=\\\""] {
            let found = elements(&[&format!("{garbage}, for=\"[::1]:2\";by=x")]);
            assert_eq!(found[0], "for=\"[::1]:2\";by=x", "{garbage}");
        }
    }

    #[test]
    fn quotes_must_fit_together() {
        assert_eq!(unquote("plain").as_deref(), Some("plain"));
        assert_eq!(unquote(r#""a \"b\" \\""#).as_deref(), Some(r#"a "b" \"#));
        for broken in [r#""open"#, r#""a" b"#, r#"a"b"#, r"a\b", r#"""#, r#""\"#, r#""a\""#] {
            assert_eq!(unquote(broken), None, "{broken}");
        }
    }
}
