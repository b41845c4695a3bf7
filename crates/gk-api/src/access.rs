//! Permission levels of endpoints.

/// Permission that a caller of an endpoint needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// No token is needed.
    Anybody,
    /// A token of any role is needed.
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
