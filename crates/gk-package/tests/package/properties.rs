//! What holds for every package, and for every file that calls itself one.

use std::fs;

use gk_package::{Selection, pack, unpack};
use proptest::prelude::*;

use crate::{Files, tree, write};

fn contents() -> impl Strategy<Value = Files> {
    let path = proptest::collection::vec("[a-c][a-z0-9_ -]{0,8}", 1..4).prop_map(|it| it.join("/"));
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (any::<u8>(), 0_usize..200_000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let file = (bytes, any::<bool>());
    proptest::collection::btree_map(path, file, 0..12).prop_map(|mut files| {
        files.insert("plugin.yaml".to_owned(), (b"name: a\n".to_vec(), false));
        // A path cannot be a file and a directory.
        let paths: Vec<String> = files.keys().cloned().collect();
        files.retain(|path, _| {
            let inside = format!("{path}/");
            !paths.iter().any(|other| other.starts_with(&inside))
        });
        files
    })
}

/// A sound package to start from.
fn package() -> Vec<u8> {
    let temp = tempfile::tempdir().unwrap();
    let text = "text ".repeat(100);
    let files = crate::files(&[
        ("plugin.yaml", "name: a\n", false),
        ("a", &text, true),
        ("d/e/f", "x", false),
    ]);
    write(&temp.path().join("p"), &files);
    let out = temp.path().join("p.zip");
    pack(&Selection::of(&temp.path().join("p")).unwrap(), &out).unwrap();
    fs::read(out).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_is_unpacked(files in contents()) {
        let temp = tempfile::tempdir().unwrap();
        let (from, into) = (temp.path().join("from"), temp.path().join("into"));
        write(&from, &files);
        fs::create_dir(&into).unwrap();
        let out = temp.path().join("p.zip");
        pack(&Selection::of(&from).unwrap(), &out).unwrap();
        unpack(&out, &into).unwrap();
        prop_assert_eq!(tree(&into), files);
    }

    /// Either nothing is written, or files within the directory whose checksums are right.
    #[test]
    fn changed_bytes_never_get_out(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = package();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let temp = tempfile::tempdir().unwrap();
        let (archive, into) = (temp.path().join("a.zip"), temp.path().join("into"));
        fs::write(&archive, &bytes).unwrap();
        fs::create_dir(&into).unwrap();
        if unpack(&archive, &into).is_err() {
            prop_assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
        }
        prop_assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
    }
}
