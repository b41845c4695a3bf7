//! Which routes may be about the same paths at all: a table is built anew whenever a plugin comes or goes, and comparing
//! each route with every other one of a thousand plugins would hold up all else for seconds.

use std::collections::HashMap;

/// Where a plugin's name is the third part, and not the second.
const OWN: &str = "/api/plugins/";

/// The routes of a table by how their paths begin.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Those whose first parts are plain text, by these.
    fixed: HashMap<String, Vec<usize>>,
    /// The others: they may meet any.
    open: Vec<usize>,
    count: usize,
}

impl Places {
    /// The next route of the table has this path.
    pub(crate) fn push(&mut self, path: &str) {
        match place(path) {
            Some(place) => self
                .fixed
                .entry(place.to_owned())
                .or_default()
                .push(self.count),
            None => self.open.push(self.count),
        }
        self.count += 1;
    }

    /// The numbers of all routes whose paths may overlap with this one; others do not.
    pub(crate) fn near(&self, path: &str) -> Vec<usize> {
        let Some(place) = place(path) else {
            return (0..self.count).collect();
        };
        let same = self.fixed.get(place).into_iter().flatten();
        let mut near: Vec<usize> = same.chain(&self.open).copied().collect();
        near.sort_unstable();
        near
    }
}

/// How a path begins, unless that is open. Two paths that begin differently have no path in common: they differ in a part
/// that is plain text in both, or one of them is over where the other goes on with one.
fn place(path: &str) -> Option<&str> {
    let parts = if path.starts_with(OWN) { 4 } else { 3 };
    let end = path.match_indices('/').nth(parts - 1);
    let place = &path[..end.map_or(path.len(), |(at, _)| at)];
    let is_open = place.split('/').any(|part| part.starts_with([':', '*']));
    (!is_open).then_some(place)
}

/// Whether some path would be both routes'.
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

    /// The routes of a large host are compared with their own plugin's, and with the few that are open.
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
