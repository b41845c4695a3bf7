//! What changes are about.

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Policies of plugins.
    Policies,
    /// Tokens.
    Tokens,
    /// Which plugins are enabled.
    Plugins,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 3] = [Self::Policies, Self::Tokens, Self::Plugins];

    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policies => "policies",
            Self::Tokens => "tokens",
            Self::Plugins => "plugins",
        }
    }
}
