//! Patterns of names, in which `*` stands for any run of characters.

/// Returns whether a pattern matches the whole of a text. `*` stands for any run of characters,
/// also for none; every other character for itself.
///
/// Each part between two stars is looked for once, so that no pattern takes longer than its length
/// times the text's.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("*a*", "bab", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a**c", "abc", true),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxcxxb", false),
            ("*ab", "aab", true),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(128), &"b".repeat(256)));
    }
}
