//! Output: data to stdout in the format that was asked for, messages to stderr.

use std::borrow::Cow;
use std::fmt::Write as _;
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

/// The sequences that styles consist of: this command's own, and those of annotated sources. All
/// that they can do is to make a text bold, dim or coloured.
const STYLES: &[&str] = &[
    "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[91m", "\x1b[92m",
    "\x1b[93m", "\x1b[94m", "\x1b[96m", "\x1b[97m",
];

/// A text that no terminal takes for an order: control characters, and those that turn the
/// direction of text, are written as `\u001b`. Line feeds, tabs and styles stay.
///
/// Names, descriptions, errors and logs come from plugins, hosts and indexes, which may be hostile.
/// All output passes here, in all formats: JSON has these characters in its strings alone, where
/// `\u009b` is the same character.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let is_order = |char: char| {
        (char.is_control() && !matches!(char, '\n' | '\t'))
            || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_order) {
        return Cow::Borrowed(text);
    }
    let (mut rest, mut cleaned) = (text, String::with_capacity(text.len()));
    while let Some(at) = rest.find(is_order) {
        let (plain, order) = rest.split_at(at);
        cleaned.push_str(plain);
        rest = if let Some(style) = STYLES.iter().find(|style| order.starts_with(**style)) {
            cleaned.push_str(style);
            order.get(style.len()..).unwrap_or_default()
        } else {
            let mut chars = order.chars();
            for char in chars.by_ref().take(1) {
                // Writing to a String does not fail.
                let _ = write!(cleaned, "\\u{:04x}", u32::from(char));
            }
            chars.as_str()
        };
    }
    cleaned.push_str(rest);
    Cow::Owned(cleaned)
}

/// A text in a style; the streams of a [`Terminal`] take the style away where there are no colours.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Data that can be printed as rows of a table.
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
            // This function knows NO_COLOR, CLICOLOR and CLICOLOR_FORCE.
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

    /// Returns `true` if a person may be asked, and watches.
    pub(crate) fn is_interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal() && !self.quiet
    }

    /// Data as text, to stdout.
    ///
    /// # Errors
    /// If stdout is closed early that is no failure: whoever read it has enough.
    pub(crate) fn print(&self, text: impl std::fmt::Display) -> Result<(), Failure> {
        written(
            anstream::stdout()
                .lock()
                .write_all(clean(&text.to_string()).as_bytes()),
        )
    }

    /// A line of data, to stdout.
    pub(crate) fn line(&self, text: impl std::fmt::Display) -> Result<(), Failure> {
        self.print(format_args!("{text}\n"))
    }

    /// Empties the screen of a terminal.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        // Back to the corner, and away with what stands below.
        written(io::stdout().lock().write_all(b"\x1b[H\x1b[J"))
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
        self.line(yaml(data).map_err(|error| unprintable(&error))?)
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
    let text = format!("{text}\n");
    let _ = anstream::stderr().lock().write_all(clean(&text).as_bytes());
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

/// Data as YAML.
fn yaml<T: Serialize + ?Sized>(data: &T) -> Result<String, Box<dyn std::error::Error>> {
    // Through JSON's data model, so that both formats have the same keys and values.
    let value = serde_json::to_value(data)?;
    let text = serde_saphyr::to_string(&value)?;
    match clean(&text) {
        Cow::Borrowed(_) => Ok(text.trim_end().to_owned()),
        // Without quotes an escape is not read as one; and JSON is YAML, too.
        Cow::Owned(_) => Ok(serde_json::to_string_pretty(&value)?),
    }
}

fn unprintable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the data cannot be printed: {error}"),
        "please report this",
    )
}

/// A table without lines: columns two blanks apart. On a terminal long cells are wrapped to its
/// width; elsewhere a row is one line.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(headings.to_vec());
    // Before the columns are measured.
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| clean(cell))));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_gives_a_terminal_no_orders() {
        for (text, expected) in [
            // A title, the screen, the clipboard, a line that is written over.
            ("\x1b]0;x\x07", "\\u001b]0;x\\u0007"),
            ("\x1b[2J\x1b[H", "\\u001b[2J\\u001b[H"),
            ("\x1b]52;c;eA==\x1b\\", "\\u001b]52;c;eA==\\u001b\\"),
            ("failed\rok", "failed\\u000dok"),
            // Hidden, and in black.
            ("\x1b[8mx\x1b[30m", "\\u001b[8mx\\u001b[30m"),
            ("\u{9b}2J\u{7f}", "\\u009b2J\\u007f"),
            ("a\u{202e}b\u{2066}", "a\\u202eb\\u2066"),
            ("two\nlines,\tGrüße ✓", "two\nlines,\tGrüße ✓"),
        ] {
            assert_eq!(clean(text), expected);
        }
        for style in [BOLD, DIM, GOOD, WARN, BAD] {
            let text = styled(style, "x");
            assert_eq!(clean(&text), text);
        }
        // JSON stays JSON, and the same.
        let data = serde_json::json!(["\u{9b}\u{1b}", "a\u{202e}b", "\u{7f}", "a\u{2066}: b"]);
        let text = data.to_string();
        let cleaned = clean(&text);
        assert_ne!(cleaned, text);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&cleaned).unwrap(),
            data
        );
        let text = yaml(&data).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&clean(&text)).unwrap();
        assert_eq!(read, data);
        // A cell is as wide as it looks.
        let rows = [vec!["\x1b[2J".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["A", "B"], &rows), "A          B\n\\u001b[2J  x\n");
    }
}
