//! Where data and messages go: data to stdout in the format that was asked for, messages to stderr.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    #[default]
    Table,
    /// A table with all columns.
    Wide,
    /// JSON, as the API answers.
    Json,
    /// YAML, the same data.
    Yaml,
    /// Only the names, one a line.
    Name,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Options about output, which all commands have.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// How data is printed.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub(crate) output: Format,
    /// Print errors and data only.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Output"
    )]
    pub(crate) quiet: bool,
    /// Say more about what is done; twice for even more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
    /// When to use colours.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub(crate) color: Color,
}

/// Styles by meaning.
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// A text in a style; the streams of a [`Terminal`] take the style away where there are no colours.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// What can be printed as rows of a table.
pub(crate) trait Rows {
    /// The columns' headings; those of `wide` come last.
    fn headings(wide: bool) -> Vec<&'static str>;
    /// The cells of each row, and its name.
    fn rows(&self, wide: bool) -> Vec<(String, Vec<String>)>;
}

/// The streams of a command, and how they are to be used.
#[derive(Debug)]
pub(crate) struct Terminal {
    format: Format,
    quiet: bool,
    verbose: u8,
}

impl Terminal {
    pub(crate) fn new(args: &OutputArgs) -> Self {
        match args.color {
            // It knows NO_COLOR, CLICOLOR and CLICOLOR_FORCE.
            Color::Auto => {}
            Color::Always => anstream::ColorChoice::Always.write_global(),
            Color::Never => anstream::ColorChoice::Never.write_global(),
        }
        Terminal {
            format: args.output,
            quiet: args.quiet,
            verbose: args.verbose,
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether a person may be asked, and watches.
    pub(crate) fn is_interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal() && !self.quiet
    }

    /// Data as text, to stdout.
    ///
    /// # Errors
    /// If stdout is closed early that is no failure: whoever read it has enough.
    pub(crate) fn print(&self, text: impl std::fmt::Display) -> Result<(), Failure> {
        written(write!(anstream::stdout().lock(), "{text}"))
    }

    /// A line of data, to stdout.
    pub(crate) fn line(&self, text: impl std::fmt::Display) -> Result<(), Failure> {
        written(writeln!(anstream::stdout().lock(), "{text}"))
    }

    /// Data, in the format that was asked for.
    pub(crate) fn data<T: Serialize + Rows + ?Sized>(&self, data: &T) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(data),
            Format::Yaml => self.yaml(data),
            Format::Name => {
                let names: String = data
                    .rows(false)
                    .into_iter()
                    .map(|(name, _)| name + "\n")
                    .collect();
                self.print(names)
            }
            Format::Table | Format::Wide => {
                let wide = self.format == Format::Wide;
                let rows = data.rows(wide);
                let cells: Vec<_> = rows.into_iter().map(|(_, cells)| cells).collect();
                self.print(table(&T::headings(wide), &cells))
            }
        }
    }

    /// Data that people read as text: `text` for them, the data itself for programs.
    pub(crate) fn document<T: Serialize + ?Sized>(
        &self,
        data: &T,
        name: &str,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(data),
            Format::Yaml => self.yaml(data),
            Format::Name => self.line(name),
            Format::Table | Format::Wide => self.print(text()),
        }
    }

    /// Data as JSON, whatever format was asked for.
    pub(crate) fn json<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(data).map_err(|error| unprintable(&error))?;
        self.line(text)
    }

    fn yaml<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), Failure> {
        // Through JSON's data model, so that both formats have the same keys and values.
        let value = serde_json::to_value(data).map_err(|error| unprintable(&error))?;
        let text = serde_saphyr::to_string(&value).map_err(|error| unprintable(&error))?;
        self.line(text.trim_end())
    }

    /// Asks a person, who must say yes. Where nobody can be asked, `flag` must say it.
    pub(crate) fn confirm(&self, question: &str, flag: &str) -> Result<(), Failure> {
        if !self.is_interactive() {
            return Err(Failure::new(
                Exit::Usage,
                format!("{question} There is no terminal to ask"),
                format!("say it with {flag}"),
            ));
        }
        message(format_args!("{question} [y/N]"));
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        let said = answer.trim().to_ascii_lowercase();
        match read.is_ok() && matches!(said.as_str(), "y" | "yes") {
            true => Ok(()),
            false => Err(Failure::new(
                Exit::Failed,
                "not confirmed; nothing was changed",
                "answer y to go on",
            )),
        }
    }

    /// A message for a person, to stderr.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            message(format_args!("{text}"));
        }
    }

    /// Part of an error, to stderr, as it is.
    pub(crate) fn report(&self, text: impl std::fmt::Display) {
        message(format_args!("{text}"));
    }

    /// A message for those who asked for more.
    pub(crate) fn detail(&self, text: impl std::fmt::Display) {
        if self.verbose > 0 {
            message(format_args!("{}", styled(DIM, text)));
        }
    }

    /// A warning, to stderr.
    pub(crate) fn warn(&self, text: impl std::fmt::Display) {
        message(format_args!("{} {text}", styled(WARN, "warning:")));
    }

    /// Why the command failed, and what to do next.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.message().is_empty() {
            return;
        }
        message(format_args!(
            "{} {}",
            styled(BAD, "error:"),
            failure.message()
        ));
        if !failure.help().is_empty() {
            message(format_args!(
                "{} {}",
                styled(BOLD, " help:"),
                failure.help()
            ));
        }
    }
}

/// A closed stderr is no reason to fail.
fn message(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failed,
            format!("stdout cannot be written to: {error}"),
            "check where the output goes",
        )),
        _ => Ok(()),
    }
}

fn unprintable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the data cannot be printed: {error}"),
        "please report this",
    )
}

/// A table without lines: columns two blanks apart. On a terminal long cells are wrapped to its width; elsewhere a row
/// is one line.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(headings.to_vec());
    table.add_rows(rows.to_vec());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
