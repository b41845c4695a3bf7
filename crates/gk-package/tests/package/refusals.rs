//! Each refusal. Every attack is one change to a file that is taken without it, and most of them
//! are files that the crate `zip` reads to the end: it is the rule that refuses them, not a file
//! that is broken anyway.

use std::fs;
use std::io::{Cursor, Read as _};

use gk_package::limits::{ARCHIVE_BYTES_MAX, DIRECTORIES_MAX, FILES_MAX};
use gk_package::{Archive, OpenError, Problem, UnpackError, read_file, unpack};

use crate::tree;
use crate::zipper::{Item, item, manifest, zip};

/// Returns `true` if the crate `zip` reads every entry of it.
fn zip_reads(bytes: &[u8]) -> bool {
    let Ok(mut archive) = zip::ZipArchive::new(Cursor::new(bytes)) else {
        return false;
    };
    (0..archive.len()).all(|number| {
        let mut content = Vec::new();
        archive
            .by_index(number)
            .is_ok_and(|mut file| file.read_to_end(&mut content).is_ok())
    })
}

/// What unpacking says; nothing is left in the directory, and nothing appears beside it.
fn refused(bytes: &[u8]) -> String {
    let temp = tempfile::tempdir().unwrap();
    let archive = temp.path().join("a.zip");
    let directory = temp.path().join("into");
    fs::write(&archive, bytes).unwrap();
    fs::create_dir(&directory).unwrap();
    let error = unpack(&archive, &directory).unwrap_err();
    assert_eq!(tree(&directory).len(), 0, "{error}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "{error}");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "{error}");
    let text = error.to_string();
    text.replace(&format!("{}/", temp.path().display()), "")
}

fn with(items: Vec<Item>) -> Vec<u8> {
    zip(&[vec![manifest()], items].concat())
}

/// One entry, changed.
fn one(change: impl FnOnce(&mut Item)) -> Vec<u8> {
    with(vec![item("f", "content").with(change)])
}

#[test]
fn the_file_without_an_attack_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    let archive = temp.path().join("a.zip");
    fs::write(&archive, one(|_| {})).unwrap();
    let directory = temp.path().join("into");
    fs::create_dir(&directory).unwrap();
    unpack(&archive, &directory).unwrap();
    assert_eq!(tree(&directory).len(), 2);
}

#[test]
fn what_other_readers_take() {
    let named = |name: &str| with(vec![item(name, "x")]);
    let long = "l".repeat(513);
    let deep = vec!["d"; 17].join("/");
    let zeros = |length: usize| item("f", vec![0; length]).deflated();
    for (bytes, expected) in [
        (named("../f"), r#""../f": the path is not relative"#),
        (named("a/../../f"), "the path is not relative"),
        (named("/etc/f"), r#""/etc/f": the path is not relative"#),
        (named("a//f"), "the path is not relative"),
        (named("./f"), "the path is not relative"),
        (named("a\\f"), "a backslash"),
        (named("a\nf"), "a control character"),
        (named("a\0f"), "a control character"),
        (named(&long), "more than 512 bytes or 16 parts"),
        (named(&deep), "more than 512 bytes or 16 parts"),
        (
            one(|it| it.name = b"\xff".to_vec()),
            "a name that is not UTF-8",
        ),
        (
            one(|it| it.name = "\u{fc}".into()),
            "or does not say that it is",
        ),
        (
            one(|it| it.mode = 0o120_777),
            r#""f": it is a symbolic link"#,
        ),
        (one(|it| it.mode = 0o010_644), "not a regular file"),
        (one(|it| it.mode = 0o020_644), "not a regular file"),
        (one(|it| it.mode = 0o040_755), "not a regular file"),
        (
            one(|it| (it.made_by, it.mode) = (0, 0o120_777)),
            "a symbolic link",
        ),
        (
            with(vec![item("F", "x"), item("f", "y")]),
            "the same file on some systems",
        ),
        (
            with(vec![item("d/a", "x"), item("D/b", "y")]),
            "the same file on some systems",
        ),
        (
            with(vec![item("d", "x"), item("d/f", "y")]),
            "also the directory of another",
        ),
        (
            with(vec![item("d/", "").with(|it| it.mode = 0), item("d", "x")]),
            "also the directory of another",
        ),
        (
            with(vec![item("p/plugin.yaml", "x")]),
            "a second plugin.yaml",
        ),
        (
            with(vec![item("p/PLUGIN.yaml", "x")]),
            "a second plugin.yaml",
        ),
        (
            with(vec![item("PLUGIN.yaml", "x")]),
            "the same file on some systems",
        ),
        (zip(&[item("p/plugin.yaml", "x")]), "not at the top"),
        (zip(&[item("f", "x")]), "there is no plugin.yaml at the top"),
        (
            one(|it| it.before = b"hidden".to_vec()),
            "bytes that belong to no entry",
        ),
        (
            with(vec![zeros(101 << 20)]),
            "a file of a package has at most",
        ),
        (
            with(
                (0..6)
                    .map(|n| zeros(90 << 20).with(|it| it.name = vec![b'a' + n]))
                    .collect(),
            ),
            "all files together have more than",
        ),
        (
            with((0..FILES_MAX).map(|n| item(format!("{n}"), "")).collect()),
            "more than 1000 files",
        ),
        (
            with(
                (0..=DIRECTORIES_MAX)
                    .map(|n| item(format!("{n}/"), "").with(|it| it.mode = 0o040_755))
                    .collect(),
            ),
            "more than 1000 directories",
        ),
        (
            [b"#!/bin/sh\n", &one(|_| {})[..]].concat(),
            "its directory is not where it says",
        ),
        (
            [&one(|_| {})[..], b"more"].concat(),
            "this is not a ZIP file",
        ),
    ] {
        let error = refused(&bytes);
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.starts_with("a.zip: "), "{error}");
        // A path with a NUL, and bytes after the end, are all that it does not take, either.
        let also_refused = ["control", "not a ZIP"]
            .iter()
            .any(|it| expected.contains(it));
        assert!(zip_reads(&bytes) || also_refused, "{expected}");
    }
}

#[test]
fn what_is_wrong_in_itself() {
    for (bytes, expected) in [
        (
            with(vec![item("f", "x"), item("f", "y")]),
            "\"f\" is there twice",
        ),
        (one(|it| it.flags = 1), "\"f\": it is encrypted"),
        (one(|it| it.flags = 1 << 13), "it is encrypted"),
        (one(|it| it.flags = 1 << 5), "a feature of the format"),
        (one(|it| it.method = 12), "compressed by method 12"),
        (
            one(|it| it.extra = b"\x75\x70\x01\0x".to_vec()),
            "a feature of the format",
        ),
        (one(|it| it.extra = b"\x01\0\0\0".to_vec()), "ZIP64"),
        (
            one(|it| it.extra = b"\x55\x54\x09\0x".to_vec()),
            "an extra field is cut off",
        ),
        (
            one(|it| it.extra = b"xx".to_vec()),
            "an extra field is cut off",
        ),
        // The size is a lie: stored data are as long as they are.
        (one(|it| it.size = 8), "declared size cannot be true"),
        (one(|it| it.size = u32::MAX), "ZIP64"),
        (one(|it| it.crc ^= 1), "\"f\": its checksum is wrong"),
        // A bomb that declares little, data that end early, and a size that deflate cannot reach.
        (
            one(|it| {
                *it = item("f", vec![0; 1 << 20])
                    .deflated()
                    .with(|it| it.size = 4096)
            }),
            "declared length",
        ),
        (
            one(|it| {
                *it = item("f", vec![7; 5000])
                    .deflated()
                    .with(|it| it.size = 5001)
            }),
            "declared length",
        ),
        (
            one(|it| {
                *it = item("f", vec![0; 99])
                    .deflated()
                    .with(|it| it.size = 99 << 20)
            }),
            "cannot be true",
        ),
        (
            one(|it| {
                *it = item("f", vec![7; 99])
                    .deflated()
                    .with(|it| it.data.extend(b"more"))
            }),
            "declared length",
        ),
        (
            one(|it| {
                *it = item("f", "some text")
                    .deflated()
                    .with(|it| it.data.truncate(5))
            }),
            "declared length",
        ),
        (
            one(|it| {
                *it = item("f", vec![7; 99])
                    .deflated()
                    .with(|it| it.data = vec![0xff; 99])
            }),
            "compressed data",
        ),
        // Two headers, two truths.
        (
            one(|it| it.local = |head| head[30] = b'g'),
            "two headers say different things",
        ),
        (
            one(|it| it.local = |head| head[22] = 1),
            "two headers say different things",
        ),
        (
            one(|it| it.local = |head| head[18] = 1),
            "two headers say different things",
        ),
        (
            one(|it| it.local = |head| head[14] ^= 1),
            "two headers say different things",
        ),
        (
            one(|it| it.local = |head| head[8] = 8),
            "two headers say different things",
        ),
        (
            one(|it| it.local = |head| head[6] = 2),
            "two headers say different things",
        ),
        (
            one(|it| it.local = |head| head[0] = b'X'),
            "two headers say different things",
        ),
        (
            one(|it| {
                it.streamed = true;
                it.local = |head| head[22] = 9;
            }),
            "two headers say different things",
        ),
        (
            // The descriptor's size: what it ends in lies before the next record.
            {
                let mut bytes = one(|it| it.streamed = true);
                let at = bytes.windows(4).position(|it| it == b"PK\x07\x08").unwrap();
                bytes[at + 12] ^= 1;
                bytes
            },
            "two headers say different things",
        ),
        // A bomb of entries that share their data.
        (
            with(vec![
                item("f", "x"),
                item("f", "x").with(|it| (it.shares, it.name) = (true, b"g".to_vec())),
            ]),
            "entries overlap",
        ),
        (
            one(|it| it.central = |record| record[20] = 200),
            "cannot be true",
        ),
        (
            one(|it| it.central = |record| record[42] = 1),
            "entries overlap",
        ),
        (
            one(|it| it.central = |record| record[34] = 1),
            "part of several files",
        ),
        (
            one(|it| it.central = |record| record[32] = 1),
            "its directory is cut off",
        ),
        (
            one(|it| it.central = |record| record[0] = 0),
            "its directory is cut off",
        ),
        (
            one(|it| it.central = |record| record.extend(b"more")),
            "its directory has more entries",
        ),
        (
            one(|it| it.central = |record| record[42..46].fill(0xff)),
            "ZIP64",
        ),
        (b"PK".to_vec(), "this is not a ZIP file"),
        (vec![0; 100], "this is not a ZIP file"),
        (zip(&[]), "there is no plugin.yaml at the top"),
    ] {
        let error = refused(&bytes);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// A gap before the directory, a directory of MS-DOS, one directory twice.
#[test]
fn what_lies_about_places_and_kinds() {
    let mut bytes = one(|_| {});
    let place = bytes.windows(4).position(|it| it == b"PK\x01\x02").unwrap();
    bytes.splice(place..place, *b"more");
    let at = bytes.len() - 6;
    bytes[at] += 4;
    assert!(refused(&bytes).contains("bytes that belong to no entry"));
    let bytes = one(|it| it.central = |record| record[38] = 0x10);
    assert!(refused(&bytes).contains("not a regular file"));
    let directory = item("d/", "").with(|it| it.mode = 0o040_755);
    let bytes = with(vec![directory.clone(), directory]);
    assert!(refused(&bytes).contains("a directory is listed twice"));
}

#[test]
fn a_file_that_is_larger_than_any_package() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(ARCHIVE_BYTES_MAX + 1).unwrap();
    let error = Archive::open(file.path()).unwrap_err();
    assert_eq!(error.problem(), Some(&Problem::TooLarge));
}

/// Bytes of the end record, from its start.
#[test]
fn the_end_record() {
    for (at, value, expected) in [
        (4, 1, "part of several files"),
        (8, 1, "part of several files"),
        (12, 1, "not where it says"),
        (16, 1, "not where it says"),
        (20, 1, "this is not a ZIP file"),
    ] {
        let mut bytes = one(|_| {});
        let place = bytes.len() - 22 + at;
        bytes[place] ^= value;
        let error = refused(&bytes);
        assert!(error.contains(expected), "{at}: {error}");
    }
    let mut bytes = one(|_| {});
    let place = bytes.len() - 22;
    bytes[place + 8..place + 12].fill(0xff);
    assert!(refused(&bytes).contains("ZIP64"));
    // A locator of ZIP64's end record: other readers would believe that record.
    let mut bytes = one(|_| {});
    let end = bytes.split_off(place);
    bytes.extend(b"PK\x06\x07");
    bytes.extend([0; 16]);
    bytes.extend(end);
    assert!(refused(&bytes).contains("ZIP64"));
}

#[test]
fn a_directory_that_is_not_fit() {
    let temp = tempfile::tempdir().unwrap();
    let archive = temp.path().join("a.zip");
    fs::write(&archive, one(|_| {})).unwrap();
    let directory = temp.path().join("into");
    let error = unpack(&archive, &directory).unwrap_err();
    assert!(matches!(error, UnpackError::Directory { .. }), "{error}");
    fs::create_dir(&directory).unwrap();
    let link = temp.path().join("link");
    std::os::unix::fs::symlink(&directory, &link).unwrap();
    let error = unpack(&archive, &link).unwrap_err();
    assert!(matches!(error, UnpackError::Directory { .. }), "{error}");
    fs::write(directory.join(".x"), "").unwrap();
    let error = unpack(&archive, &directory).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is not empty; unpack into a new directory")
    );
}

/// What fails on the way leaves nothing, also in directories.
#[test]
fn what_was_written_is_removed() {
    let mut items = vec![manifest()];
    items.extend((0..9).map(|n| item(format!("d{n}/e/f"), "content")));
    items.push(item("z", "content").with(|it| it.crc ^= 1));
    assert!(refused(&zip(&items)).contains("checksum"));
}

#[test]
fn one_file_is_read_within_a_bound() {
    let temp = tempfile::tempdir().unwrap();
    let archive = temp.path().join("a.zip");
    fs::write(&archive, one(|_| {})).unwrap();
    assert_eq!(read_file(&archive, "f", 7).unwrap(), b"content");
    let error = read_file(&archive, "f", 6).unwrap_err();
    assert!(error.to_string().ends_with("f has more than 6 bytes"));
    let error = read_file(&archive, "g", 6).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }));
    let error = Archive::open(temp.path()).unwrap_err();
    assert!(matches!(error, OpenError::Read { .. }));
    let error = Archive::open(&temp.path().join("none.zip")).unwrap_err();
    assert!(matches!(error, OpenError::Read { .. }));
}
