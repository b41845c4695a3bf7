//! Index of routes whose paths may overlap. A table is rebuilt whenever a plugin comes or goes, and
//! a comparison of each route with every other one of a thousand plugins would block everything
//! else for seconds.

use std::collections::HashMap;

/// Prefix after which the third part is a plugin's name, and not the second.
const OWN: &str = "/api/plugins/";

/// Routes of a table by the beginning of their paths.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Routes whose first parts are plain text, by these.
    fixed: HashMap<String, Vec<usize>>,
    /// Routes with a parameter in their first parts, which may overlap with any.
    open: Vec<usize>,
    count: usize,
}

impl Places {
    /// Adds the path of the table's next route.
    pub(crate) fn push(&mut self, path: &str) {
        match prefix(path) {
            Some(prefix) => self
                .fixed
                .entry(prefix.to_owned())
                .or_default()
                .push(self.count),
            None => self.open.push(self.count),
        }
        self.count += 1;
    }

    /// Returns the numbers of all routes whose paths may overlap with this one; others do not.
    pub(crate) fn near(&self, path: &str) -> Vec<usize> {
        let Some(prefix) = prefix(path) else {
            return (0..self.count).collect();
        };
        let same = self.fixed.get(prefix).into_iter().flatten();
        let mut near: Vec<usize> = same.chain(&self.open).copied().collect();
        near.sort_unstable();
        near
    }
}

/// Returns the beginning of a path, unless it contains a parameter. Two paths with different
/// beginnings have no path in common: they differ in a part that is plain text in both, or one of
/// them ends where the other has another part.
fn prefix(path: &str) -> Option<&str> {
    let parts = if path.starts_with(OWN) { 4 } else { 3 };
    let end = path.match_indices('/').nth(parts - 1);
    let prefix = &path[..end.map_or(path.len(), |(at, _)| at)];
    let is_open = prefix.split('/').any(|part| part.starts_with([':', '*']));
    (!is_open).then_some(prefix)
}

/// Returns true if some path would match both routes.
pub(crate) fn overlap(left: &str, right: &str) -> bool {
    let (mut left, mut right) = (left.split('/'), right.split('/'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(part), _) | (_, Some(part)) if part.starts_with('*') => return true,
            (Some(left), Some(right)) => {
                let open = left.starts_with(':') || right.starts_with([':', '*']);
                if right.starts_with('*') {
                    return true;
                }
                if !open && left != right {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_near() {
        let parts = ["", "a", "api", "plugins", "ui", ":x", "*y"];
        let mut paths = vec![String::new()];
        for _ in 0..3 {
            let longer = paths
                .iter()
                .flat_map(|path| parts.map(|part| format!("{path}/{part}")));
            paths = paths
                .iter()
                .cloned()
                .chain(longer.collect::<Vec<_>>())
                .collect();
            paths.sort();
            paths.dedup();
        }
        paths.extend(parts.map(|part| format!("/api/plugins/a/{part}")));
        paths.extend(parts.map(|part| format!("/api/plugins/{part}/a/{part}")));
        let mut places = Places::default();
        paths.iter().for_each(|path| places.push(path));
        for path in &paths {
            let near = places.near(path);
            let all = 0..paths.len();
            let missed = all
                .filter(|at| overlap(path, &paths[*at]) && near.binary_search(at).is_err())
                .map(|at| &paths[at])
                .next();
            assert_eq!(missed, None, "{path}");
        }
    }

    /// The routes of a large host are compared with those of the same plugin, and with the few that
    /// begin with a parameter.
    #[test]
    fn what_lies_elsewhere_is_not_near() {
        let mut places = Places::default();
        for plugin in 0..1000 {
            places.push(&format!("/api/plugins/p{plugin}/status"));
            places.push(&format!("/api/plugins/p{plugin}/items/:id"));
            places.push(&format!("/ui/p{plugin}/*rest"));
        }
        places.push("/shop/:id");
        assert_eq!(places.near("/api/plugins/p7/:other"), [21, 22, 3000]);
        assert_eq!(places.near("/ui/p7"), [23, 3000]);
        assert_eq!(places.near("/shop/cart"), [3000]);
        assert_eq!(places.near("/:any").len(), 3001);
    }
}
