//! Tests of whole manifests.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::resources::{Access, PermissionKind};

const TUTORIAL: &str = r#"name: my-plugin
version: "1.0.0"
runtime: grpc
binary: my-plugin
resources:
  memory_mb: 512
  call_timeout: 30s
  permissions:
    - type: db
      access: read
    - type: cache
      access: readwrite
    - type: http
      scope: ["api.example.com"]
"#;

fn parse(text: &str) -> Result<(Manifest, Vec<Diagnostic>), ManifestError> {
    Manifest::parse("plugins/dir-name/plugin.yaml", text.as_bytes())
}

/// The findings, whatever the outcome, one a line, without the file's name.
fn findings(text: &str) -> Vec<String> {
    let diagnostics = match parse(text) {
        Ok((_, diagnostics)) => diagnostics,
        Err(error) => error.diagnostics().to_vec(),
    };
    diagnostics
        .iter()
        .map(|d| {
            d.to_string()
                .replacen("plugins/dir-name/plugin.yaml:", "", 1)
        })
        .collect()
}

#[test]
fn the_tutorials_manifest() {
    let (manifest, warnings) = parse(TUTORIAL).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(manifest.name, "my-plugin");
    assert_eq!(manifest.version, "1.0.0");
    assert_eq!(manifest.binary, Path::new("my-plugin"));
    assert_eq!(manifest.resources.memory_bytes(), Some(512 << 20));
    assert_eq!(
        manifest.resources.call_timeout(),
        Some(Duration::from_secs(30))
    );
    let permissions = &manifest.resources.permissions;
    assert_eq!(permissions[1].kind(), Some(PermissionKind::Cache));
    assert_eq!(permissions[1].access(), Some(Access::ReadWrite));
    assert_eq!(permissions[2].scope, ["api.example.com"]);
}

#[test]
fn every_field() {
    let (manifest, warnings) = parse(
        r"
name: all-fields
version: 2.1.0-rc.1
runtime: grpc
binary: ./bin/all
wasm: all.wasm
description: |
  Two
  lines.
author: A
license: MIT
homepage: https://example.org
icon: fa-star
type: theme
dependencies: [one, two >= 1.2]
reload: {strategy: recreate, wait: 10s}
resources:
  init_timeout: 1m30s
  shutdown_timeout: 2s
  max_file_storage_bytes: 1048576
sidecars:
  - name: db
    image: postgres:16
    ports: ['5432']
    env: {A: b, C: 1}
    volumes: [data:/var/lib]
    privileged: true
    cpu_millis: 500
    healthcheck:
      command: [pg_isready]
",
    )
    .unwrap();
    assert_eq!(warnings, []);
    assert_eq!(manifest.binary, Path::new("bin/all"));
    assert_eq!(manifest.description, "Two\nlines.\n");
    assert_eq!(manifest.kind, PluginKind::Theme);
    assert_eq!(
        manifest.dependencies,
        ["one", "two >= 1.2"].map(|text| Dependency::parse(text).unwrap())
    );
    assert_eq!(manifest.reload.strategy, ReloadStrategy::Recreate);
    assert_eq!(manifest.reload.wait(), Some(Duration::from_secs(10)));
    assert_eq!(
        manifest.resources.init_timeout(),
        Some(Duration::from_secs(90))
    );
    assert_eq!(manifest.resources.file_storage_bytes(), Some(1 << 20));
    let sidecar = &manifest.sidecars[0];
    assert_eq!(
        (sidecar.memory_mb, sidecar.cpu_millis, sidecar.privileged),
        (128, 500, true)
    );
    assert_eq!(sidecar.env["C"], "1");
    assert_eq!(sidecar.healthcheck.as_ref().unwrap().interval, "10s");
}

#[test]
fn defaults() {
    let (manifest, warnings) = parse("runtime: grpc\n").unwrap();
    assert_eq!(manifest.name, "dir-name");
    assert_eq!(manifest.binary, Path::new("dir-name"));
    assert_eq!(manifest.resources, ResourceRequest::default());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let error = Manifest::parse("plugins/Bad Dir/plugin.yaml", b"runtime: grpc\n").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("\"Bad Dir\" is not a plugin name"),
        "{error}"
    );
}

#[test]
fn scalars_keep_the_text_as_written() {
    let (manifest, warnings) =
        parse("name: 123\nversion: 1.10\nruntime: grpc\nauthor: yes\n").unwrap();
    assert_eq!(manifest.name, "123");
    assert_eq!(manifest.version, "1.10");
    assert_eq!(manifest.author, "yes");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings
            .iter()
            .any(|d| d.remedy == "quote it: `version: \"1.10\"`")
    );
}

#[test]
fn findings_name_line_column_field_and_remedy() {
    for (text, expected) in [
        (
            "name: My Plugin\nruntime: grpc\nversion: 1.0.0\n",
            "1:7: error: name: \"My Plugin\" starts with 'M'; ",
        ),
        (
            "name: My Plugin\nruntime: grpc\nversion: 1.0.0\n",
            "(write `my-plugin`, for instance: ",
        ),
        (
            "name: a\n",
            "1:1: error: runtime: is missing (write `runtime: grpc`",
        ),
        (
            "runtime: grpc\nbinary: /bin/sh\n",
            "2:9: error: binary: \"/bin/sh\" is an absolute path (put the",
        ),
        (
            "runtime: grpc\nbinary: a/../../b\n",
            "2:9: error: binary: \"a/../../b\" leaves the plugin's directory",
        ),
        (
            "runtime: grpc\nbinary: bin/\n",
            "2:9: error: binary: \"bin/\" names a directory",
        ),
        (
            "runtime: grpc\nbinary: [a]\n",
            "2:9: error: binary: is a list, where a text is expected",
        ),
        (
            "runtime: grpc\nmemory: 3\nresources:\n  memori_mb: 3\n",
            "4:3: error: resources.memori_mb: unknown key (did you mean `memory_mb`?)",
        ),
        (
            "runtime: grpc\nresources:\n  memory_mb: 512MB\n",
            "3:14: error: resources.memory_mb: \"512MB\" is not a whole number",
        ),
        (
            "runtime: grpc\nresources:\n  memory_mb: -1\n",
            "3:14: error: resources.memory_mb: -1 MiB is not between",
        ),
        (
            "runtime: grpc\nresources:\n  call_timeout: 30\n",
            "3:17: error: resources.call_timeout: \"30\" is not a duration: a number has no unit",
        ),
        (
            "runtime: grpc\nresources:\n  call_timeout: -3s\n",
            "3:17: error: resources.call_timeout: -3s is negative",
        ),
        (
            "runtime: grpc\nresources:\n  call_timeout: 25h\n",
            "3:17: error: resources.call_timeout: 25h0m0s is more than 24 hours",
        ),
        (
            "runtime: grpc\nresources: 5\n",
            "2:12: error: resources: is a number, where a mapping",
        ),
        (
            "runtime: grpc\nresources:\n  permissions:\n    - type: dbb\n      access: read\n",
            "4:13: error: resources.permissions[0].type: unknown permission type \"dbb\" (did you mean `db`?)",
        ),
        (
            "runtime: grpc\nresources:\n  permissions:\n    - type: db\n      access: all\n",
            "5:15: error: resources.permissions[0].access: unknown access for db \"all\"",
        ),
        (
            "runtime: grpc\nresources:\n  permissions:\n    - access: read\n",
            "4:7: error: resources.permissions[0].type: the permission has no type",
        ),
        (
            "runtime: grpc\nresources:\n  permissions:\n    - type: http\n      scope: api.example.com\n",
            "5:14: error: resources.permissions[0].scope: is a text, where a list is expected",
        ),
        (
            "runtime: grpc\ndependencies: [x, Y]\n",
            "2:19: error: dependencies[1]: \"Y\" starts with 'Y'",
        ),
        (
            "runtime: grpc\ndependencies: [dir-name]\n",
            "2:16: error: dependencies[0]: the plugin depends on itself",
        ),
        (
            "runtime: grpc\ndependencies: [\"x 1.2\"]\n",
            "2:16: error: dependencies[0]: \"1.2\" is no comparison of versions (write a plugin's name",
        ),
        (
            "runtime: grpc\nreload: {strategy: blue-green}\n",
            "2:20: error: reload.strategy: \"blue-green\" is neither",
        ),
        (
            "runtime: grpc\nreload: {wait: 2m}\n",
            "2:16: error: reload.wait: is not between",
        ),
        (
            "runtime: grpc\nreload: {wait: soon}\n",
            "2:16: error: reload.wait: \"soon\" is not a duration",
        ),
        (
            "runtime: grpc\ntype: plug\n",
            "2:7: error: type: \"plug\" is neither",
        ),
        (
            "runtime: grpc\nsidecars: [{name: x}]\n",
            "2:12: error: sidecars[0].image: is empty",
        ),
        (
            "runtime: grpc\nname: a\nname: b\n",
            "3:1: error: name: the key occurs twice: first in line 2 (remove one of the two)",
        ),
        ("- a\n- b\n", "1:1: error: is a list, where a mapping"),
        ("hello", "1:1: error: is a text, where a mapping"),
        ("", " error: the file is empty"),
        ("# only a comment\n", " error: the file is empty"),
        (
            "runtime: grpc\n---\nname: b\n",
            "error: the file holds more than one YAML document",
        ),
        (
            "runtime: grpc\nresources:\n\tmemory_mb: 5\n",
            "(indent with spaces, not tabs)",
        ),
        (
            "runtime: [grpc\n",
            "1:10: error: not valid YAML: unclosed bracket",
        ),
        (
            "runtime: grpc\nauthor: *nobody\n",
            "2:9: error: not valid YAML: alias references unknown anchor",
        ),
        ("a: &a [*a]\n", "error: aliases expand too far"),
        (
            "runtime: grpc\n? [a]\n: 1\n",
            "2:3: error: a key is not a text",
        ),
        (
            "runtime: grpc\nauthor: \"a\\u0007b\"\n",
            "2:9: error: author: \"a\\u{7}b\" contains",
        ),
    ] {
        let found = findings(text);
        assert!(
            found.iter().any(|finding| finding.contains(expected)),
            "{text:?}\nexpected {expected}\ngot {found:#?}"
        );
    }
}

#[test]
fn several_findings_at_once_in_file_order() {
    let error =
        parse("name: A\nruntime: grpc\nbinary: /x\nresources:\n  call_timeout: x\n  colour: 1\n")
            .unwrap_err();
    let lines: Vec<_> = error
        .diagnostics()
        .iter()
        .map(|d| (d.line, d.severity))
        .collect();
    use crate::diagnostic::Severity::{Error, Warning};
    assert_eq!(
        lines,
        [
            (Some(1), Warning),
            (Some(1), Error),
            (Some(3), Error),
            (Some(5), Error),
            (Some(6), Error)
        ]
    );
    assert_eq!(error.to_string().lines().count(), 4, "{error}");
}

#[test]
fn other_runtimes_are_skipped_and_unknown_ones_are_errors() {
    for text in [
        "runtime: wasm\nname: NOT VALID\n",
        "runtime: template\n",
        "wasm: x.wasm\n",
    ] {
        match parse(text) {
            Err(error @ ManifestError::NotNative { .. }) => {
                assert!(error.is_not_native());
                let text = error.to_string();
                assert!(text.contains("is not a native plugin, skipped"), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for runtime in ["GRPC", "gprc", "docker", "netrpc"] {
        let text = format!("version: 1.0.0\nruntime: {runtime}\nname: a\n");
        let error = parse(&text).unwrap_err();
        assert!(!error.is_not_native());
        assert_eq!(error.diagnostics()[0].line, Some(2));
        let error = error.to_string();
        assert!(
            error.contains(runtime) && error.contains("runtime: grpc"),
            "{error}"
        );
    }
}

/// `scopes:` for `scope:` would ask for every table.
#[test]
fn a_typo_in_resources_is_an_error() {
    for (text, what) in [
        (
            "    - {type: db, access: read, scopes: [t]}",
            "did you mean `scope`?",
        ),
        (
            "    - {type: db, access: read, Scope: [t]}",
            "did you mean `scope`?",
        ),
        ("    - {type: dbb, access: read}", "did you mean `db`?"),
        ("    - {type: db, access: raed}", "did you mean `read`?"),
        ("    - {type: http, hosts: [a.example]}", "unknown key"),
    ] {
        let manifest =
            format!("version: 1.0.0\nruntime: grpc\nname: a\nresources:\n  permissions:\n{text}\n");
        let error = parse(&manifest).unwrap_err().to_string();
        assert!(
            error.contains("plugin.yaml:6:") && error.contains(what),
            "{error}"
        );
    }
    let manifest = "version: 1.0.0\nruntime: grpc\nname: a\nresources:\n  memori_mb: 3\n";
    let error = parse(manifest).unwrap_err().to_string();
    assert!(error.contains("did you mean `memory_mb`?"), "{error}");
}

#[test]
fn hostile_documents_are_refused_quickly() {
    let bomb: String = (b'b'..b'j')
        .map(|c| {
            let (own, other) = (char::from(c), char::from(c - 1));
            format!(
                "{own}: &{own} [{}]\n",
                vec![format!("*{other}"); 10].join(",")
            )
        })
        .collect();
    let wide = format!(
        "runtime: grpc\ndependencies: [{}]\n",
        vec!["a"; 60_000].join(",")
    );
    for (what, text) in [
        ("alias bomb", format!("a: &a [x,x,x,x,x,x,x,x,x,x]\n{bomb}")),
        (
            "deep lists",
            format!("runtime: grpc\na: {}", "[".repeat(100_000)),
        ),
        (
            "deep mappings",
            format!("runtime: grpc\na: {}", "{a: ".repeat(50_000)),
        ),
        (
            "deep block",
            (0..400).map(|i| format!("{}a:\n", " ".repeat(i))).collect(),
        ),
        ("wide list", wide),
        (
            "too large",
            format!(
                "# {}\nruntime: grpc\n",
                "x".repeat(limits::MANIFEST_BYTES_MAX)
            ),
        ),
        (
            "many keys",
            (0..20_000).map(|i| format!("k{i}: 1\n")).collect(),
        ),
    ] {
        let start = Instant::now();
        let error = parse(&text).expect_err(what);
        assert!(!error.diagnostics().is_empty(), "{what}");
        assert!(
            error.to_string().len() < 20_000,
            "{what}: {}",
            error.to_string().len()
        );
        // Not a measurement: quadratic or exponential work would take minutes.
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{what} took {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn not_utf8_names_the_line() {
    let error = Manifest::parse("p/plugin.yaml", b"name: a\nauthor: \xff\n").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not UTF-8 text: the first wrong byte is in line 2"),
        "{error}"
    );
}

#[test]
fn loading() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plugin.yaml");
    assert!(matches!(
        Manifest::load(&file),
        Err(ManifestError::Read { .. })
    ));
    std::fs::create_dir(&file).unwrap();
    assert!(matches!(
        Manifest::load(&file),
        Err(ManifestError::Read { .. })
    ));
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, TUTORIAL).unwrap();
    assert_eq!(Manifest::load(&file).unwrap().0.name, "my-plugin");
    std::fs::write(&file, vec![b'#'; limits::MANIFEST_BYTES_MAX + 10]).unwrap();
    assert!(
        Manifest::load(&file)
            .unwrap_err()
            .to_string()
            .contains("larger than 256 KiB")
    );
}

#[test]
fn the_size_limit_is_exact() {
    let head = "runtime: grpc\nversion: 1.0.0\n#";
    let fits = format!(
        "{head}{}",
        "x".repeat(limits::MANIFEST_BYTES_MAX - head.len())
    );
    assert!(parse(&fits).is_ok());
    assert!(parse(&format!("{fits}x")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mutated_manifests_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..12)) {
        let mut bytes = TUTORIAL.as_bytes().to_vec();
        for (at, what, byte) in edits {
            if bytes.is_empty() { break; }
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, b":-[]{}&*!|>'\"%@`#,? \t\n"[usize::from(byte) % 22]),
                _ => { let tail = bytes[at..].to_vec(); bytes.truncate(at); bytes.splice(0..0, tail); }
            }
        }
        match Manifest::parse("p/plugin.yaml", &bytes) {
            Ok((_, warnings)) => prop_assert!(warnings.iter().all(|d| !d.is_error())),
            Err(ManifestError::Invalid { diagnostics }) => prop_assert!(diagnostics.iter().any(Diagnostic::is_error)),
            Err(_) => {}
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[ \\n\\t:a-c&*\\[\\]{}|>!?,'\"#-]{0,200}") {
        let _ = parse(&text);
    }
}
