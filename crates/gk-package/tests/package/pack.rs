//! What is selected, and what bytes come of it.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use gk_package::{Archive, Packed, Selection, pack};

use crate::{Files, files, tree, write};

fn sample() -> Files {
    let text = "a line of text that repeats itself\n".repeat(3000);
    files(&[
        ("plugin.yaml", "name: my-plugin\n", false),
        ("my-plugin", &text, true),
        ("assets/z.txt", "z", false),
        ("assets/a/\u{fc}.txt", "", false),
        ("Readme", "r", false),
    ])
}

fn packed(directory: &Path, out: &Path) -> Packed {
    pack(&Selection::of(directory).unwrap(), out).unwrap()
}

#[test]
fn the_bytes_depend_on_the_files_alone() {
    let temp = tempfile::tempdir().unwrap();
    let (one, two) = (temp.path().join("one"), temp.path().join("second/place"));
    write(&one, &sample());
    // Another order of creation, other times and modes.
    for (path, file) in sample().into_iter().rev() {
        write(&two, &[(path.clone(), file)].into());
        let path = two.join(path);
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let open = fs::File::options().write(true).open(&path).unwrap();
        open.set_modified(old).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let wide = if mode & 0o100 != 0 { 0o777 } else { 0o666 };
        fs::set_permissions(&path, fs::Permissions::from_mode(wide)).unwrap();
    }
    let (a, b) = (temp.path().join("a.zip"), temp.path().join("b.zip"));
    assert_eq!(packed(&one, &a), packed(&two, &b));
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
}

/// If this fails after an update of `miniz_oxide`, packages made before and after differ: say so in
/// the changelog.
#[test]
fn the_bytes_are_fixed() {
    let temp = tempfile::tempdir().unwrap();
    let directory = temp.path().join("p");
    write(&directory, &sample());
    let packed = packed(&directory, &temp.path().join("p.zip"));
    let digest: String = packed
        .sha256
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        (packed.size, &*digest),
        (
            880,
            "821c0d1ad2752780492af266d4cac9edec925db075fbd759561df2c3b94d7603"
        )
    );
}

/// The crate `zip` reads the same as this one.
#[test]
fn another_reader_agrees() {
    let temp = tempfile::tempdir().unwrap();
    let (directory, out) = (temp.path().join("p"), temp.path().join("p.zip"));
    write(&directory, &sample());
    packed(&directory, &out);
    let mut archive = zip::ZipArchive::new(fs::File::open(&out).unwrap()).unwrap();
    let mut found = Files::new();
    for number in 0..archive.len() {
        let mut file = archive.by_index(number).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let executable = match file.unix_mode() {
            Some(0o100_755) => true,
            Some(0o100_644) => false,
            mode => panic!("{mode:?}"),
        };
        found.insert(file.name().unwrap().into_owned(), (bytes, executable));
    }
    assert_eq!(found, sample());
    let ours = Archive::open(&out).unwrap();
    assert_eq!(ours.entries().len(), archive.len());
}

#[test]
fn what_belongs_to_a_package() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    let list = [
        "plugin.yaml",
        "plugin.sig",
        "p",
        "main.go",
        "sdk/go.mod",
        "assets/a.css",
        "assets/target",
        "ui/node_modules/x",
        "target/release/p",
        ".git/config",
        "assets/.DS_Store",
        ".gkignore",
        "dist/p-1.zip",
        "dist/p-1.zip.sig",
        "p.zip",
        "dist/app.js",
        "notes.txt",
        "deep/dist/data.zip",
    ];
    write(
        root,
        &list
            .iter()
            .map(|path| ((*path).to_owned(), (Vec::new(), false)))
            .collect(),
    );
    fs::write(root.join(".gkignore"), "").unwrap();
    symlink("nowhere", root.join(".hidden-link")).unwrap();
    let selected = || -> Vec<String> {
        let selection = Selection::of(root).unwrap();
        selection
            .files()
            .iter()
            .map(|file| file.path.clone())
            .collect()
    };
    assert_eq!(
        selected(),
        [
            "assets/a.css",
            "deep/dist/data.zip",
            "dist/app.js",
            "main.go",
            "notes.txt",
            "p",
            "plugin.sig",
            "plugin.yaml",
            "sdk/go.mod"
        ]
    );
    fs::write(
        root.join(".gkignore"),
        "# source\n/sdk/\n*.go\n*.txt\n!notes.txt\ndist\n",
    )
    .unwrap();
    assert_eq!(
        selected(),
        [
            "assets/a.css",
            "notes.txt",
            "p",
            "plugin.sig",
            "plugin.yaml"
        ]
    );
    // Only what is named; manifest and signature cannot be left out.
    fs::write(root.join(".gkignore"), "/*\n!/p\n!/assets/\n").unwrap();
    assert_eq!(
        selected(),
        ["assets/a.css", "p", "plugin.sig", "plugin.yaml"]
    );
}

#[test]
fn what_cannot_be_selected() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    let error = || Selection::of(root).unwrap_err().to_string();
    assert!(
        error().contains("there is no plugin.yaml at the top"),
        "{}",
        error()
    );
    fs::write(root.join("plugin.yaml"), "name: a\n").unwrap();
    Selection::of(root).unwrap();
    symlink("plugin.yaml", root.join("link")).unwrap();
    assert!(error().contains("link is a symbolic link"), "{}", error());
    fs::write(root.join(".gkignore"), "link\nfifo\n").unwrap();
    Selection::of(root).unwrap();
    fs::write(root.join(".gkignore"), "link\n").unwrap();
    let fifo = rustix::fs::CWD;
    rustix::fs::mknodat(
        fifo,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert!(
        error().contains("fifo is not a regular file"),
        "{}",
        error()
    );
    fs::write(root.join(".gkignore"), "link\nfifo\na{b\n").unwrap();
    assert!(error().contains(".gkignore: line 3: "), "{}", error());
    fs::write(root.join(".gkignore"), "link\nfifo\n").unwrap();
    fs::create_dir_all(root.join(vec!["d"; 17].join("/"))).unwrap();
    assert!(
        error().contains("more than 512 bytes or 16 parts"),
        "{}",
        error()
    );
}

#[test]
fn a_failure_leaves_the_package_before() {
    let temp = tempfile::tempdir().unwrap();
    let (directory, out) = (temp.path().join("p"), temp.path().join("p.zip"));
    write(&directory, &sample());
    packed(&directory, &out);
    let before = fs::read(&out).unwrap();
    let selection = Selection::of(&directory).unwrap();
    fs::remove_file(directory.join("my-plugin")).unwrap();
    symlink("/etc/passwd", directory.join("my-plugin")).unwrap();
    let error = pack(&selection, &out).unwrap_err().to_string();
    assert!(error.contains("my-plugin cannot be read"), "{error}");
    assert_eq!(fs::read(&out).unwrap(), before);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
}

#[test]
fn copies_no_longer_change() {
    let temp = tempfile::tempdir().unwrap();
    let (directory, copy) = (temp.path().join("p"), temp.path().join("copy"));
    write(&directory, &sample());
    fs::create_dir(&copy).unwrap();
    let copied = Selection::of(&directory).unwrap().copy_to(&copy).unwrap();
    fs::write(directory.join("plugin.yaml"), "changed").unwrap();
    assert_eq!(tree(&copy), sample());
    assert_eq!(copied.files(), Selection::of(&copy).unwrap().files());
}
