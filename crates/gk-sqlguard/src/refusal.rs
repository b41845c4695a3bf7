//! Why a statement is refused.

use std::borrow::Cow;

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The text is no statement of this engine, or not exactly one.
    #[error("the statement cannot be read: {0}")]
    Invalid(Cow<'static, str>),
    /// The statement has a part that is not permitted, or not known, whatever is granted.
    #[error("the statement is not permitted: {0}")]
    Denied(Cow<'static, str>),
    /// The statement is over a limit.
    #[error("the statement is too large: {0}")]
    Large(Cow<'static, str>),
}

impl Refusal {
    pub(crate) fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(text.into())
    }

    pub(crate) fn denied(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Denied(text.into())
    }

    /// Something that engines and parsers may read in different ways.
    pub(crate) fn unclear(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Denied(text.into())
    }

    pub(crate) fn large(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Large(text.into())
    }
}

/// The outcome of a step that only checks.
pub(crate) type Outcome = Result<(), Refusal>;
