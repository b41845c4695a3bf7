//! What is taken, as other tools make it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use gk_package::{Archive, unpack};
use zip::write::SimpleFileOptions;

use crate::zipper::{item, manifest, zip};
use crate::{files, tree};

/// Go's archive/zip writes sizes after the data; Info-ZIP lists directories, and has extra fields
/// with times.
#[test]
fn packages_of_other_tools() {
    let directory = item("static/", "").with(|it| it.mode = 0o040_700);
    let times = b"\x55\x54\x05\0\x03\0\0\0\0".to_vec();
    let items = [
        manifest().deflated().with(|it| it.streamed = true),
        item("a", "#!/bin/sh\n").with(|it| it.mode = 0o100_755),
        directory.with(|it| it.extra = times.clone()),
        item("static/\u{fc}.css", vec![b'x'; 200_000])
            .deflated()
            .with(|it| (it.flags, it.extra, it.streamed) = (1 << 11, times, true)),
        item("empty", "").with(|it| it.mode = 0),
    ];
    let temp = tempfile::tempdir().unwrap();
    let archive = temp.path().join("a.zip");
    fs::write(&archive, zip(&items)).unwrap();
    let into = temp.path().join("into");
    fs::create_dir(&into).unwrap();
    unpack(&archive, &into).unwrap();
    let style = "x".repeat(200_000);
    let expected = files(&[
        ("plugin.yaml", "name: a\n", false),
        ("a", "#!/bin/sh\n", true),
        ("static/\u{fc}.css", &style, false),
        ("empty", "", false),
    ]);
    assert_eq!(tree(&into), expected);
    let mode = |path: &str| fs::metadata(into.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("static"), 0o755);
    assert_eq!((mode("a"), mode("empty")), (0o755, 0o644));
}

#[test]
fn packages_of_the_crate_zip() {
    let temp = tempfile::tempdir().unwrap();
    let archive = temp.path().join("a.zip");
    let mut writer = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
    let options = SimpleFileOptions::default();
    writer.start_file("plugin.yaml", options).unwrap();
    writer.write_all(b"name: a\n").unwrap();
    writer.add_directory("d", options).unwrap();
    let x = options.unix_permissions(0o700);
    writer.start_file("d/a", x).unwrap();
    writer.write_all(&[b'x'; 70_000]).unwrap();
    writer.finish().unwrap();
    let into = temp.path().join("into");
    fs::create_dir(&into).unwrap();
    unpack(&archive, &into).unwrap();
    let text = "x".repeat(70_000);
    let expected = files(&[("plugin.yaml", "name: a\n", false), ("d/a", &text, true)]);
    assert_eq!(tree(&into), expected);
}

/// Archives of other systems have no x bits.
#[test]
fn the_caller_may_name_executables() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a.zip");
    let binary = item("a", "#!/bin/sh\n").with(|it| (it.made_by, it.mode) = (0, 0));
    fs::write(&path, zip(&[manifest(), binary])).unwrap();
    let archive = Archive::open(&path).unwrap();
    assert!(!archive.entry("a").unwrap().is_executable());
    let into = temp.path().join("into");
    fs::create_dir(&into).unwrap();
    archive.unpack(&into, &["a"]).unwrap();
    assert!(tree(&into)["a"].1);
    assert!(!tree(&into)["plugin.yaml"].1);
}

/// Data that are little when compressed, data that are not, and lengths around the buffers' and
/// deflate's own.
#[test]
fn data_of_all_lengths() {
    let mut number = 1_u32;
    let noise = std::iter::repeat_with(|| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        number.to_le_bytes()[3]
    });
    let noise: Vec<u8> = noise.take(300_000).collect();
    let mut items = vec![manifest()];
    let edges = [1, 32_767, 32_768, 65_535, 65_536, 65_537, 131_072, 300_000];
    for length in edges.into_iter().chain((0..200_000).step_by(4001)) {
        items.push(item(format!("same{length}"), vec![b'x'; length]).deflated());
        items.push(item(format!("noise{length}"), &noise[..length]).deflated());
        let mixed: Vec<u8> = noise[..length / 2]
            .iter()
            .chain(&vec![0; length / 2])
            .copied()
            .collect();
        items.push(item(format!("mixed{length}"), mixed).deflated());
    }
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a.zip");
    fs::write(&path, zip(&items)).unwrap();
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.entries().len(), items.len());
    for item in &items {
        let name = String::from_utf8(item.name.clone()).unwrap();
        let content = archive.read(&name, u64::from(item.size)).unwrap();
        assert_eq!(crc32fast::hash(&content), item.crc, "{name}");
    }
}
