//! Who may use an endpoint.

/// Who may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a token.
    Anybody,
    /// Whoever has a token.
    Token,
    /// Agents and administrators.
    Agent,
    /// Administrators.
    Admin,
}

impl Access {
    /// The word for it in the documentation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Anybody => "anybody",
            Access::Token => "whoever has a token",
            Access::Agent => "agent",
            Access::Admin => "admin",
        }
    }
}
