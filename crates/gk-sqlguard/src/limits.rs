//! The limits of a statement.

/// The longest statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 16 * 1024;

/// The most words, signs and literals of a statement.
pub const TOKENS_MAX: usize = 4096;

/// The most parentheses inside each other.
pub const NESTING_MAX: usize = 32;

/// The most placeholders, and with them arguments, of a statement.
pub const PLACEHOLDERS_MAX: u16 = 999;

/// Why a statement is refused that recurses too deeply; the analysis recognises the text.
pub(crate) const TOO_DEEP: &str = "it is nested too deeply";
