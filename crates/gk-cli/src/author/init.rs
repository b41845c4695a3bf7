//! `gk init`: a new plugin that builds and runs at once.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use dialoguer::{Input, Select};
use gk_manifest::PluginName;

use super::scaffold::{self, Language, NewFile};
use super::sdk::Source;
use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// Kinds of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A program of its own. The protocol is net/rpc, in spite of the name.
    Grpc,
    /// WebAssembly; not there yet.
    Wasm,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The plugin's name, such as my-plugin.
    name: Option<String>,
    /// The kind of plugin: grpc, a native program.
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    #[command(flatten)]
    options: InitOptions,
}

/// As [`InitArgs`], with the kind as an argument.
#[derive(Debug, Args)]
pub(crate) struct PluginInitArgs {
    /// The plugin's name, such as my-plugin.
    name: Option<String>,
    /// The kind of plugin: grpc, a native program.
    #[arg(value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    #[command(flatten)]
    options: InitOptions,
}

/// Commands about plugins that are written.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Create a plugin, as `gk init` does.
    Init(PluginInitArgs),
}

#[derive(Debug, Args)]
struct InitOptions {
    /// The language; go, unless you are asked.
    #[arg(long, value_enum, value_name = "LANG")]
    lang: Option<Language>,
    /// Where to put it; ./NAME without this.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The SDK: a directory with its source, or a published version. Without this its source is put
    /// into the plugin.
    #[arg(long, value_name = "PATH|VERSION")]
    sdk: Option<String>,
    /// Write over files that are there.
    #[arg(long)]
    force: bool,
}

impl PluginCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        match self {
            PluginCommand::Init(args) => init(args.name, args.kind, args.options, terminal),
        }
    }
}

impl InitArgs {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        init(self.name, self.kind, self.options, terminal)
    }
}

fn init(
    name: Option<String>,
    kind: Option<Kind>,
    options: InitOptions,
    terminal: &Terminal,
) -> Result<(), Failure> {
    // Before anything is asked for: there is nothing to be made of it.
    if kind == Some(Kind::Wasm) {
        return Err(no_wasm());
    }
    let asked = name.is_none() || kind.is_none();
    let name = match name {
        Some(name) => checked(&name)?,
        None => ask_name(terminal)?,
    };
    let kind = match kind {
        Some(kind) => kind,
        None => ask_kind(terminal)?,
    };
    if kind == Kind::Wasm {
        return Err(no_wasm());
    }
    let language = match options.lang {
        Some(language) => language,
        None if asked => ask_language()?,
        None => Language::default(),
    };
    let source = Source::parse(options.sdk.as_deref())?;
    let directory = options.dir.unwrap_or_else(|| PathBuf::from(name.as_str()));
    let files = scaffold::files(&name, language, &source)?;
    let in_the_way = in_the_way(&directory, &files, options.force);
    if !in_the_way.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "nothing was written, because these files are there already:\n  {}",
                in_the_way.join("\n  ")
            ),
            "choose another directory with --dir, or write over them with --force",
        ));
    }
    for file in &files {
        let path = directory.join(&file.path);
        write(&path, file).map_err(|error| Failure::file("write", &path, &error))?;
        terminal.detail(path.display());
    }
    terminal.line(directory.display())?;
    let sdk = match (&source, language) {
        (Source::Version(_), Language::Go) => "  go mod tidy\n",
        _ => "",
    };
    terminal.say(format_args!(
        "{} files of the plugin {name} are in {}. Next:\n\n  cd {}\n{sdk}  gk build\n  gk validate",
        files.len(),
        directory.display(),
        directory.display(),
    ));
    Ok(())
}

fn no_wasm() -> Failure {
    Failure::new(
        Exit::Failed,
        "WASM plugins are coming; this version neither makes nor runs them",
        "make a native plugin, which can do all that the host offers: --type grpc",
    )
}

fn checked(name: &str) -> Result<PluginName, Failure> {
    PluginName::new(name).map_err(|error| {
        let help = match PluginName::suggest(name) {
            Some(suggestion) => format!("did you mean {suggestion}? {}", PluginName::RULE),
            None => PluginName::RULE.to_owned(),
        };
        Failure::new(Exit::Usage, error.to_string(), help)
    })
}

fn ask_name(terminal: &Terminal) -> Result<PluginName, Failure> {
    if !terminal.is_interactive() {
        return Err(missing("the plugin's name", "gk init NAME --type grpc"));
    }
    let prompt = Input::<String>::new()
        .with_prompt("Name of the plugin")
        .validate_with(|text: &String| {
            checked(text)
                .map(drop)
                .map_err(|failure| failure.help().to_owned())
        });
    checked(&prompt.interact_text().map_err(|error| unasked(&error))?)
}

fn ask_kind(terminal: &Terminal) -> Result<Kind, Failure> {
    if !terminal.is_interactive() {
        return Err(missing("the kind of plugin", "--type grpc"));
    }
    let kinds = ["grpc: a native program", "wasm: not there yet"];
    let chosen = Select::new()
        .with_prompt("Kind of plugin")
        .items(kinds)
        .default(0);
    Ok(match chosen.interact().map_err(|error| unasked(&error))? {
        0 => Kind::Grpc,
        _ => Kind::Wasm,
    })
}

fn ask_language() -> Result<Language, Failure> {
    let chosen = Select::new()
        .with_prompt("Language")
        .items(["Go", "Rust"])
        .default(0);
    Ok(match chosen.interact().map_err(|error| unasked(&error))? {
        0 => Language::Go,
        _ => Language::Rust,
    })
}

fn missing(what: &str, argument: &str) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("{what} is missing, and there is no terminal to ask on"),
        format!("say {argument}"),
    )
}

fn unasked(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("there was no answer: {error}"),
        "give it on the command line: gk init NAME --type grpc --lang go",
    )
}

/// Files that would be written over, and what cannot be a directory but has to be one. The latter
/// stay in the way, even with `force`.
fn in_the_way(directory: &Path, files: &[NewFile], force: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |path: &Path| {
        let text = path.display().to_string();
        if !found.contains(&text) {
            found.push(text);
        }
    };
    for file in files {
        let path = directory.join(&file.path);
        let parent = path
            .ancestors()
            .skip(1)
            .take_while(|parent| parent.starts_with(directory))
            .find(|parent| fs::symlink_metadata(parent).is_ok() && !parent.is_dir());
        if let Some(parent) = parent {
            add(parent);
        }
        match fs::symlink_metadata(&path) {
            Ok(there) if !force || there.is_dir() => add(&path),
            _ => {}
        }
    }
    found
}

/// Writes a new file and renames it, so that a link that is replaced is not followed.
fn write(path: &Path, file: &NewFile) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mode = if file.executable { 0o755 } else { 0o644 };
    let mut temporary = tempfile::Builder::new()
        .prefix(".gk-init-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(parent)?;
    io::Write::write_all(&mut temporary, &file.bytes)?;
    temporary.persist(path).map_err(|error| error.error)?;
    Ok(())
}
