//! Comparing versions, as far as a plugin's `min_host_version` and two plugins of one name need it.

/// Returns true if a host of version `host` is at least `required`. Pre-release and build suffixes
/// do not count. An empty or unreadable requirement is always satisfied (validation reports the
/// latter).
pub(crate) fn satisfies(host: &str, required: &str) -> bool {
    match (numbers(host), numbers(required)) {
        (Some(host), Some(required)) => host >= required,
        _ => true,
    }
}

/// Returns major, minor and patch; `None` if the text is not a version.
pub(crate) fn numbers(version: &str) -> Option<[u64; 3]> {
    let core = version
        .trim()
        .trim_start_matches('v')
        .split(['-', '+'])
        .next()?;
    let mut numbers = [0; 3];
    for (index, part) in core.split('.').enumerate() {
        *numbers.get_mut(index)? = part.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::satisfies;

    #[test]
    fn versions_compare_by_number() {
        for (host, required, expected) in [
            ("0.10.0", "0.9.9", true),
            ("0.9.9", "0.10.0", false),
            ("1.2.3", "1.2.3", true),
            ("1.2.3", "v1.2", true),
            ("1.2.3-rc1", "1.2.3", true),
            ("1.2.3", "", true),
            ("1.2.3", "soon", true),
            ("1.2.3", "2", false),
        ] {
            assert_eq!(satisfies(host, required), expected, "{host} {required}");
        }
    }
}
