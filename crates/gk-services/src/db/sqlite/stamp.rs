//! Points in time: SQLite has no type for them, only columns that are declared so.

/// Which columns of a result are declared as points in time.
pub(super) struct Stamps(Vec<bool>);

impl Stamps {
    pub(super) fn is_stamp(&self, index: usize) -> bool {
        self.0.get(index).copied().unwrap_or_default()
    }
}

/// Looks for columns of a table whose type is TIMESTAMP or DATETIME, in any spelling that begins
/// so.
pub(super) fn columns(statement: &rusqlite::Statement<'_>) -> Stamps {
    let is_stamp = |ty: &str| {
        ["TIMESTAMP", "DATETIME"].iter().any(|known| {
            ty.get(..known.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(known))
        })
    };
    let columns = statement.columns();
    let types = columns.iter().map(rusqlite::Column::decl_type);
    Stamps(types.map(|ty| ty.is_some_and(is_stamp)).collect())
}

/// A text in the form that SQLite's own functions write, `2026-01-31 13:30:00`, as RFC 3339. It is
/// taken for UTC, as CURRENT_TIMESTAMP is. `None` for a text of any other form, which is left
/// alone.
pub(super) fn rfc3339(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digits = |range: std::ops::Range<usize>| {
        let digits = bytes.get(range);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
    };
    let is_sign = |at: usize, sign: &[u8]| bytes.get(at).is_some_and(|byte| sign.contains(byte));
    let has_minutes = is_digits(0..4)
        && is_sign(4, b"-")
        && is_digits(5..7)
        && is_sign(7, b"-")
        && is_digits(8..10)
        && is_sign(10, b" T")
        && is_digits(11..13)
        && is_sign(13, b":")
        && is_digits(14..16);
    if !has_minutes {
        return None;
    }
    let (mut seconds, mut at) = (":00".to_owned(), 16);
    if is_sign(16, b":") && is_digits(17..19) {
        at = 19;
        if is_sign(19, b".") {
            let digits = bytes[20..].iter().take_while(|byte| byte.is_ascii_digit());
            at = match digits.count() {
                0 => return None,
                count => 20 + count,
            };
        }
        seconds = text[16..at].to_owned();
    }
    let zone = match &bytes[at..] {
        [] | b"Z" | b"z" => "Z",
        [b'+' | b'-', ..]
            if bytes.len() == at + 6
                && is_digits(at + 1..at + 3)
                && is_sign(at + 3, b":")
                && is_digits(at + 4..at + 6) =>
        {
            &text[at..]
        }
        _ => return None,
    };
    Some(format!("{}T{}{seconds}{zone}", &text[..10], &text[11..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        for (text, expected) in [
            ("2026-11-27 01:13:50", Some("2026-11-27T01:13:50Z")),
            ("2026-11-27 01:13:50.25", Some("2026-11-27T01:13:50.25Z")),
            ("2026-11-27 01:13", Some("2026-11-27T01:13:00Z")),
            ("2026-11-27T01:13:50Z", Some("2026-11-27T01:13:50Z")),
            (
                "2026-11-27 01:13:50+02:00",
                Some("2026-11-27T01:13:50+02:00"),
            ),
            ("2026-11-27", None),
            ("2026-11-27 01:13:50.", None),
            ("2026-11-27 01:13:50 ", None),
            ("2026-11-27 01:13:50+2", None),
            ("2026-1-27 01:13:50", None),
            ("yesterday at about noon", None),
            ("", None),
            ("ää-11-27 01:13:50", None),
        ] {
            assert_eq!(rfc3339(text).as_deref(), expected, "{text}");
        }
    }
}
