//! The files of a new plugin.

use gk_manifest::PluginName;

use super::sdk::{self, GoModule, Source};
use crate::failure::Failure;

/// Languages with an SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Language {
    /// Go, on HashiCorp's go-plugin.
    #[default]
    Go,
    /// Rust.
    Rust,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewFile {
    /// Relative to the plugin's directory.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) executable: bool,
}

/// What stands for `{{key}}` in the templates.
type Words<'a> = [(&'a str, &'a str)];

fn fill(template: &str, words: &Words<'_>) -> String {
    let mut text = template.to_owned();
    for (key, value) in words {
        text = text.replace(&format!("{{{{{key}}}}}"), value);
    }
    text
}

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../templates/", $path))
    };
}

/// All files of a new plugin, in the order in which they are listed to a person.
pub(crate) fn files(
    name: &PluginName,
    language: Language,
    source: &Source,
) -> Result<Vec<NewFile>, Failure> {
    let name = name.as_str();
    let title = title(name);
    let krate = crate_name(name);
    let lib = krate.replace('-', "_");
    let (repository, rust_version) = (sdk::repository(), sdk::rust_version());
    let words = [
        ("name", name),
        ("title", &*title),
        ("crate", &*krate),
        ("lib", &*lib),
        ("repository", &*repository),
        ("rust_version", &*rust_version),
        ("gk_version", env!("CARGO_PKG_VERSION")),
    ];
    let mut files = Vec::new();
    let mut add = |path: &str, text: String, executable: bool| {
        files.push(NewFile {
            path: path.to_owned(),
            bytes: text.into_bytes(),
            executable,
        });
    };
    add(
        "plugin.yaml",
        fill(template!("common/plugin.yaml"), &words),
        false,
    );
    let sdk_files = match language {
        Language::Go => {
            let module = GoModule::new(name, source)?;
            add("main.go", fill(template!("go/main.go"), &words), false);
            add(
                "main_test.go",
                fill(template!("go/main_test.go"), &words),
                false,
            );
            add("go.mod", module.module, false);
            if let Some(sums) = module.sums {
                add("go.sum", sums, false);
            }
            add("build.sh", fill(template!("go/build.sh"), &words), true);
            add("README.md", fill(template!("go/README.md"), &words), false);
            add(".gitignore", fill(template!("go/gitignore"), &words), false);
            add(
                ".github/workflows/ci.yml",
                fill(template!("go/ci.yml"), &words),
                false,
            );
            sdk::go_files()
        }
        Language::Rust => {
            let own = ["gk-plugin"]
                .map(|name| rust_dependency(name, source))
                .concat();
            let tests = ["gk-manifest", "gk-protocol"].map(|name| rust_dependency(name, source));
            let tests = tests.concat();
            // Both are in the plugin's directory, and the SDK is a workspace of its own.
            let workspace = match source {
                Source::Embedded => "\n[workspace]\nexclude = [\"sdk\"]",
                _ => "\n[workspace]",
            };
            let more = [
                ("sdk_dependencies", &*own),
                ("sdk_dev_dependencies", &*tests),
                ("workspace", workspace),
            ];
            let words = [&words[..], &more].concat();
            add("src/lib.rs", fill(template!("rust/lib.rs"), &words), false);
            add(
                "src/main.rs",
                fill(template!("rust/main.rs"), &words),
                false,
            );
            add(
                "tests/plugin.rs",
                fill(template!("rust/plugin_test.rs"), &words),
                false,
            );
            add(
                "Cargo.toml",
                fill(template!("rust/Cargo.toml.in"), &words),
                false,
            );
            if *source == Source::Embedded {
                let direct = [
                    "gk-plugin",
                    "gk-manifest",
                    "gk-protocol",
                    "serde",
                    "serde_json",
                    "tokio",
                    "tracing",
                ];
                add("Cargo.lock", sdk::cargo_lock(&krate, &direct)?, false);
            }
            add("build.sh", fill(template!("rust/build.sh"), &words), true);
            add(
                "README.md",
                fill(template!("rust/README.md"), &words),
                false,
            );
            add(
                ".gitignore",
                fill(template!("rust/gitignore"), &words),
                false,
            );
            add(
                ".github/workflows/ci.yml",
                fill(template!("rust/ci.yml"), &words),
                false,
            );
            sdk::rust_files()?
        }
    };
    add(
        ".gkignore",
        fill(template!("common/gkignore"), &words),
        false,
    );
    if *source == Source::Embedded {
        for (path, bytes) in sdk_files {
            files.push(NewFile {
                path: format!("sdk/{path}"),
                bytes,
                executable: false,
            });
        }
    }
    Ok(files)
}

/// A line of Cargo.toml.
fn rust_dependency(name: &str, source: &Source) -> String {
    match source {
        Source::Embedded => format!("{name} = {{ path = \"sdk/{name}\" }}\n"),
        Source::Version(version) => format!("{name} = \"{version}\"\n"),
        Source::Path(path) => {
            // The repository's root, or a directory `sdk` that `gk init` has made.
            let in_crates = path.join("crates").join(name);
            let place = match in_crates.is_dir() {
                true => in_crates,
                false => path.join(name),
            };
            format!("{name} = {{ path = {:?} }}\n", place.display().to_string())
        }
    }
}

/// `my-plugin` → `My Plugin`.
fn title(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    let capital = |word: &str| {
        let mut chars = word.chars();
        let first = chars.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    words.map(capital).collect::<Vec<_>>().join(" ")
}

/// The crate's name: the plugin's, unless cargo or the compiler has another use for that.
pub(crate) fn crate_name(name: &str) -> String {
    // Keywords, crates that come with the compiler or that the plugin imports, and what cargo calls its directories.
    const TAKEN: &[&str] = &[
        "abstract",
        "alloc",
        "as",
        "async",
        "await",
        "become",
        "box",
        "break",
        "build",
        "const",
        "continue",
        "core",
        "crate",
        "deps",
        "do",
        "dyn",
        "else",
        "enum",
        "examples",
        "extern",
        "false",
        "final",
        "fn",
        "for",
        "gen",
        "gk-manifest",
        "gk-plugin",
        "gk-protocol",
        "gk-wire",
        "if",
        "impl",
        "in",
        "incremental",
        "let",
        "loop",
        "macro",
        "match",
        "mod",
        "move",
        "mut",
        "override",
        "priv",
        "proc-macro",
        "proc_macro",
        "pub",
        "ref",
        "return",
        "self",
        "serde",
        "serde_json",
        "serde-json",
        "static",
        "std",
        "struct",
        "super",
        "test",
        "tokio",
        "tracing",
        "trait",
        "true",
        "try",
        "type",
        "typeof",
        "union",
        "unsafe",
        "unsized",
        "use",
        "virtual",
        "where",
        "while",
        "yield",
    ];
    let digit = name.starts_with(|first: char| first.is_ascii_digit());
    match digit || TAKEN.contains(&name) {
        true => format!("plugin-{name}"),
        false => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected, in_cargo) in [
            ("my-plugin", "My Plugin", "my-plugin"),
            ("a_b", "A B", "a_b"),
            ("9lives", "9lives", "plugin-9lives"),
            ("fn", "Fn", "plugin-fn"),
        ] {
            assert_eq!(title(name), expected);
            assert_eq!(crate_name(name), in_cargo);
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let name = PluginName::new("my-plugin").unwrap();
        for language in [Language::Go, Language::Rust] {
            for source in [Source::Embedded, Source::Version("1.0.0".into())] {
                for file in files(&name, language, &source).unwrap() {
                    let text = String::from_utf8_lossy(&file.bytes).into_owned();
                    let left = text
                        .split("{{")
                        .skip(1)
                        .find(|rest| rest.starts_with(|next: char| next.is_ascii_lowercase()));
                    assert_eq!(left.filter(|_| !file.path.starts_with("sdk/")), None);
                }
            }
        }
    }
}
