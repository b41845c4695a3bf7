use proptest::prelude::*;

use super::*;
use crate::v1::BinarySignature;

fn claims() -> Claims {
    let file = |path: &str, executable| SignedFile {
        path: path.into(),
        size: 5,
        executable,
        digest: Digest::of(path.as_bytes()),
    };
    Claims {
        name: "hello".into(),
        version: "1.0.0".into(),
        date: "2026-11-22T21:23:27Z".parse().unwrap(),
        key: SecretKey::generate().unwrap().public().id(),
        manifest: "plugin.yaml".into(),
        binary: "hello".into(),
        files: vec![
            file("assets/a b.css", false),
            file("hello", true),
            file("plugin.yaml", false),
        ],
    }
}

fn signed(mut claims: Claims) -> (SecretKey, Result<String, FormatProblem>) {
    let key = SecretKey::generate().unwrap();
    let text = claims.sign(&key);
    (key, text)
}

#[test]
fn what_was_signed_is_what_is_read() {
    let mut claims = claims();
    let key = SecretKey::generate().unwrap();
    let text = claims.sign(&key).unwrap();
    let signature = PackageSignature::parse(text.as_bytes()).unwrap();
    assert_eq!(signature.key(), key.public().id());
    assert_eq!(signature.verify(&key.public()), Ok(claims));
    let other = SecretKey::generate().unwrap().public();
    let signature = PackageSignature::parse(text.as_bytes()).unwrap();
    assert_eq!(signature.verify(&other), Err(BadSignature));
}

#[test]
fn every_byte_of_the_text_counts() {
    let (key, text) = signed(claims());
    let text = text.unwrap();
    for at in 0..text.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= flip;
            if let Ok(signature) = PackageSignature::parse(&bytes) {
                assert_eq!(signature.verify(&key.public()), Err(BadSignature), "{at}");
            }
        }
    }
    for cut in 0..text.len() {
        PackageSignature::parse(&text.as_bytes()[..cut]).unwrap_err();
    }
}

#[test]
fn there_is_one_form_and_errors_name_the_line() {
    let (_, text) = signed(claims());
    let text = text.unwrap();
    let problem = |text: String| {
        let error = PackageSignature::parse(text.as_bytes()).unwrap_err();
        (error.line, error.problem)
    };
    let listed = |line: &str| line.ends_with(" x 5 hello");
    let hello = text.lines().position(listed).unwrap() + 1;
    for (from, to, expected) in [
        ("signature 2", "signature 3", (1, FormatProblem::Head)),
        ("name: hello", "name: Hello", (11, Value("name"))),
        ("name: hello", "Name: hello", (2, Expected("name"))),
        ("1.0.0", "1.0 .0", (11, Value("version"))),
        ("21:23:27Z", "21:23:27.5Z", (11, Value("date"))),
        ("21:23:27Z", "21:23:27.0Z", (4, NotCanonical)),
        ("21:23:27Z", "23:23:27+02:00", (4, NotCanonical)),
        ("21:23:27Z", "yesterday", (4, Value("date"))),
        (
            "manifest: plugin.yaml",
            "manifest: other.yaml",
            (11, FormatProblem::Role("manifest")),
        ),
        (
            "binary: hello",
            "binary: plugin.yaml",
            (11, FormatProblem::Role("binary")),
        ),
        (" x 5 hello", " x 05 hello", (hello, NotCanonical)),
        (" x 5 hello", " x +5 hello", (hello, NotCanonical)),
        (" x 5 hello", " s 5 hello", (hello, Value("mode"))),
        (" x 5 hello", " x -5 hello", (hello, Value("size"))),
        (
            " x 5 hello",
            " x 5 ../hello",
            (11, PathError::NotPlain.into()),
        ),
        (" x 5 hello", " x 5 aaa", (11, FormatProblem::Order)),
        (" x 5 hello", " x 5 plugin.yaml", (11, FormatProblem::Order)),
        (
            " x 5 hello",
            " x 5 hello\r",
            (11, PathError::Character.into()),
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let (line, what) = problem(text.replacen(from, to, 1));
        assert_eq!((line, what), expected, "{from} -> {to}");
    }
    assert_eq!(problem(format!("{text}\n")).1, NotCanonical);
    assert_eq!(problem(format!("{text}x")).1, NotCanonical);
    assert_eq!(problem(text.replace('\n', "\r\n")).1, FormatProblem::Head);
    let upper = text.replace(
        &text[text.len() - 20..],
        &text[text.len() - 20..].to_uppercase(),
    );
    if upper != text {
        assert_eq!(problem(upper).1, NotCanonical);
    }
}

#[test]
fn what_could_not_be_read_is_not_signed() {
    let check = |change: &dyn Fn(&mut Claims)| {
        let mut changed = claims();
        change(&mut changed);
        signed(changed).1.map(drop)
    };
    assert_eq!(check(&|_| {}), Ok(()));
    assert_eq!(check(&|c| c.name = "a".repeat(63)), Ok(()));
    assert_eq!(check(&|c| c.name = "a".repeat(64)), Err(Value("name")));
    assert_eq!(check(&|c| c.version = "1".repeat(128)), Ok(()));
    for version in ["", "1\n2", &"1".repeat(129), "1.0 beta"] {
        assert_eq!(
            check(&|c| c.version = version.into()),
            Err(Value("version"))
        );
    }
    assert_eq!(check(&|c| c.files[0].size = FILE_BYTES_MAX), Ok(()));
    let over = check(&|c| c.files[0].size = FILE_BYTES_MAX + 1);
    assert_eq!(over, Err(FormatProblem::TooMuch));
    let over = check(&|c| {
        c.files[0].size = FILE_BYTES_MAX;
        c.files[1].size = FILE_BYTES_MAX;
    });
    assert_eq!(over, Err(FormatProblem::TooMuch));
    let itself = check(&|c| c.files[2].path = PACKAGE_SIGNATURE.into());
    assert_eq!(itself, Err(FormatProblem::Role(PACKAGE_SIGNATURE)));
    let many = |count: usize| {
        check(&|c| {
            let file = c.files[0].clone();
            let more = (0..count - 3).map(|number| SignedFile {
                path: format!("a/{number:0>500}"),
                ..file.clone()
            });
            c.files.splice(0..0, more);
        })
    };
    // As many files as there may be, with long paths, fit into the signature's own limit.
    assert_eq!(many(FILES_MAX), Ok(()));
    assert_eq!(many(FILES_MAX + 1), Err(FormatProblem::TooMuch));
}

/// A message of one version is never one of the other, so neither is a signature.
#[test]
fn versions_do_not_pass_for_each_other() {
    let mut claims = claims();
    let key = SecretKey::generate().unwrap();
    let text = claims.sign(&key).unwrap();
    let signed = message(&claims.render());
    assert!(signed.len() > 32 && signed.starts_with(DOMAIN));
    // Version 2's signature as a version 1 signature of whatever it could be meant for.
    let hex = text.trim_end().rsplit(' ').next().unwrap();
    let as_v1 = BinarySignature::parse(hex.as_bytes()).unwrap();
    for binary in [&signed[..], claims.render().as_bytes(), text.as_bytes()] {
        assert_eq!(
            as_v1.verify(&key.public(), &Digest::of(binary)),
            Err(BadSignature)
        );
    }
    // Version 1's signature of a binary that is the text of version 2, put under that text.
    for binary in [&signed[..], claims.render().as_bytes()] {
        let v1 = BinarySignature::sign(&key, &Digest::of(binary)).to_hex();
        let as_v2 = PackageSignature::parse(text.replace(hex, &v1).as_bytes()).unwrap();
        assert_eq!(as_v2.verify(&key.public()), Err(BadSignature));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = PackageSignature::parse(&text);
    }

    #[test]
    fn broken_texts_are_read_or_refused(
        at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), insert in ".{0,9}",
    ) {
        let (_, text) = signed(claims());
        let text = text.unwrap();
        let (at, other) = (at.index(text.len()), other.index(text.len()));
        let mixed = format!("{}{insert}{}", &text[..at], &text[other..]);
        if let Ok(signature) = PackageSignature::parse(mixed.as_bytes()) {
            let hex = encode(&signature.signature);
            prop_assert_eq!(format!("{}signature: {hex}\n", signature.text), mixed);
        }
    }

    #[test]
    fn any_claims_are_refused_or_survive(
        name in "[a-z0-9_-]{0,70}", version in ".{0,40}", seconds in any::<i32>(),
        mut paths in prop::collection::btree_set("[a-zé./ ]{1,12}", 1..8), sizes in any::<u64>(),
    ) {
        paths.extend(["plugin.yaml".into(), "run".into()]);
        let mut claims = Claims {
            name, version,
            date: Timestamp::from_second(seconds.into()).unwrap(),
            files: paths.iter().map(|path| SignedFile {
                path: path.clone(), size: sizes >> 44, executable: true, digest: Digest::of(b""),
            }).collect(),
            binary: "run".into(),
            ..claims()
        };
        let key = SecretKey::generate().unwrap();
        if let Ok(text) = claims.sign(&key) {
            let signature = PackageSignature::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(signature.verify(&key.public()), Ok(claims));
        }
    }
}
