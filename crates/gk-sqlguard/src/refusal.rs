//! Why a statement is refused.

use std::borrow::Cow;

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is no statement of this engine, or not one.
    #[error("the statement cannot be read: {0}")]
    Invalid(Cow<'static, str>),
    /// Plugins have to do without it.
    #[error("the statement is not permitted: {0}")]
    Denied(Cow<'static, str>),
    /// It is too large.
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
