//! Packages on a real file system: made, judged, unpacked, and attacked.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod fuzz_smoke;
mod pack;
mod properties;
mod refusals;
mod unpack;
mod zipper;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// By path: content, and whether there is an x bit.
type Files = BTreeMap<String, (Vec<u8>, bool)>;

fn files(list: &[(&str, &str, bool)]) -> Files {
    let file = |&(path, text, x): &(&str, &str, bool)| (path.to_owned(), (text.into(), x));
    list.iter().map(file).collect()
}

fn write(root: &Path, files: &Files) {
    for (path, (bytes, executable)) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let mode = if *executable { 0o700 } else { 0o600 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Everything below a directory; links and directories have no content.
fn tree(root: &Path) -> Files {
    let mut found = Files::new();
    let mut queue = vec![root.to_owned()];
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                queue.push(path);
                continue;
            }
            let inside = path.strip_prefix(root).unwrap();
            let bytes = fs::read(&path).unwrap_or_default();
            let executable = metadata.permissions().mode() & 0o111 != 0;
            found.insert(inside.to_str().unwrap().to_owned(), (bytes, executable));
        }
    }
    found
}
