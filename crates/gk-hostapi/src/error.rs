//! Why a request of a plugin failed.

use std::borrow::Cow;
use std::fmt;

/// Why a request failed, and with that what its caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The arguments are wrong: the plugin's mistake.
    Invalid,
    /// The policy does not grant it: the operator's decision.
    Denied,
    /// A rate, a quota or a size is used up.
    Limit,
    /// The thing that was asked for does not exist.
    NotFound,
    /// The service behind it does not work, or is not configured: the operator's to mend.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// The host has no such method.
    NotProvided,
    /// The service answered with an error of its own, such as a violated constraint.
    Failed,
}

impl ErrorKind {
    /// The kind's name, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::NotProvided => "not_provided",
            Self::Failed => "failed",
        }
    }
}

/// A failed request: its kind, and a text for the plugin's author. The text never holds a secret
/// of the host: no address, user or password of a server, no path outside the plugin's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError {
    kind: ErrorKind,
    text: Cow<'static, str>,
}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl HostError {
            $(
                #[doc = concat!("An error of kind [`ErrorKind::", stringify!($kind), "`].")]
                pub fn $name(text: impl Into<Cow<'static, str>>) -> Self {
                    Self { kind: ErrorKind::$kind, text: text.into() }
                }
            )*
        }
    };
}

constructors! {
    invalid => Invalid,
    denied => Denied,
    limit => Limit,
    not_found => NotFound,
    unavailable => Unavailable,
    timeout => Timeout,
    not_provided => NotProvided,
    failed => Failed,
}

impl HostError {
    /// The same error, with a text that says first where it happened.
    #[must_use]
    pub fn prefixed(self, place: &str) -> Self {
        Self {
            kind: self.kind,
            text: format!("{place}{}", self.text).into(),
        }
    }

    /// Why the request failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<gk_manifest::policy::PolicyError> for HostError {
    fn from(error: gk_manifest::policy::PolicyError) -> Self {
        HostError::invalid(error.to_string())
    }
}

impl From<gk_sqlguard::Refusal> for HostError {
    fn from(refusal: gk_sqlguard::Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            gk_sqlguard::Refusal::Invalid(_) => Self::invalid(text),
            gk_sqlguard::Refusal::Large(_) => Self::limit(text),
            // A kind that is not known here is a denial: nothing is permitted by mistake.
            _ => Self::denied(text),
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for HostError {}
