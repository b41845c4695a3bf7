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

impl NewFile {
    fn text(path: &str, text: String) -> Self {
        Self {
            path: path.to_owned(),
            bytes: text.into_bytes(),
            executable: false,
        }
    }

    fn executable(mut self) -> Self {
        self.executable = true;
        self
    }
}

/// Values of `{{key}}` in the templates.
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
    let common = NewFile::text("plugin.yaml", fill(template!("common/plugin.yaml"), &words));
    let mut files = vec![common];
    let sdk_files = match language {
        Language::Go => {
            files.extend(go_files(name, source, &words)?);
            sdk::go_files()
        }
        Language::Rust => {
            files.extend(rust_files(&krate, source, &words)?);
            sdk::rust_files()?
        }
    };
    let ignored = fill(template!("common/gkignore"), &words);
    files.push(NewFile::text(".gkignore", ignored));
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

/// The files of a plugin in Go, its SDK not among them.
fn go_files(name: &str, source: &Source, words: &Words<'_>) -> Result<Vec<NewFile>, Failure> {
    let filled = |path: &str, template| NewFile::text(path, fill(template, words));
    let module = GoModule::new(name, source)?;
    let mut files = vec![
        filled("main.go", template!("go/main.go")),
        filled("main_test.go", template!("go/main_test.go")),
        NewFile::text("go.mod", module.module),
    ];
    files.extend(module.sums.map(|sums| NewFile::text("go.sum", sums)));
    files.extend([
        filled("build.sh", template!("go/build.sh")).executable(),
        filled("README.md", template!("go/README.md")),
        filled(".gitignore", template!("go/gitignore")),
        filled(".github/workflows/ci.yml", template!("go/ci.yml")),
    ]);
    Ok(files)
}

/// The files of a plugin in Rust, its SDK not among them.
fn rust_files(krate: &str, source: &Source, words: &Words<'_>) -> Result<Vec<NewFile>, Failure> {
    let own = rust_dependency("gk-plugin", source);
    let tests = ["gk-manifest", "gk-protocol"].map(|name| rust_dependency(name, source));
    let tests = tests.concat();
    // The plugin's directory has both, and the SDK is a workspace of its own.
    let workspace = match source {
        Source::Embedded => "\n[workspace]\nexclude = [\"sdk\"]",
        _ => "\n[workspace]",
    };
    let more = [
        ("sdk_dependencies", &*own),
        ("sdk_dev_dependencies", &*tests),
        ("workspace", workspace),
    ];
    let words = [words, &more].concat();
    let filled = |path: &str, template| NewFile::text(path, fill(template, &words));
    let mut files = vec![
        filled("src/lib.rs", template!("rust/lib.rs")),
        filled("src/main.rs", template!("rust/main.rs")),
        filled("tests/plugin.rs", template!("rust/plugin_test.rs")),
        filled("Cargo.toml", template!("rust/Cargo.toml.in")),
    ];
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
        let lock = sdk::cargo_lock(krate, &direct)?;
        files.push(NewFile::text("Cargo.lock", lock));
    }
    files.extend([
        filled("build.sh", template!("rust/build.sh")).executable(),
        filled("README.md", template!("rust/README.md")),
        filled(".gitignore", template!("rust/gitignore")),
        filled(".github/workflows/ci.yml", template!("rust/ci.yml")),
    ]);
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
    // Keywords, crates that come with the compiler or that the plugin imports, and what cargo calls
    // its directories.
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
