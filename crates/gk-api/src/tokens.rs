//! Tokens, without their text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Role of a caller: the set of endpoints and routes it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// The plugin API's reading part, and routes for agents.
    Agent,
    /// Routes for customers.
    Customer,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::Admin, Role::Agent, Role::Customer];

    /// `admin`, `agent` or `customer`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Agent => "agent",
            Role::Customer => "customer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleError(String);

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown role {:?}; admin, agent and customer exist",
            self.0
        )
    }
}

impl std::error::Error for RoleError {}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| RoleError(text.to_owned()))
    }
}

/// A token, without its text. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Token {
    /// Number of the token, which plugins know as the user's id.
    pub id: i64,
    /// The user's name.
    pub login: String,
    /// Role of its bearers.
    pub role: Role,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it is no longer valid; null if it stays valid.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// `true` if it is no longer valid.
    #[serde(default)]
    pub expired: bool,
    /// When it was used last, to the minute; null if it never was.
    #[serde(default)]
    pub last_used_at: Option<String>,
}

/// Description of a token that is to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// The user's name: 1 to 128 printable characters.
    pub login: String,
    /// Role of its bearers: `admin`, `agent` or `customer`.
    pub role: String,
    /// For how long it is valid, such as `720h`; without it, it stays valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    pub expires_in: Option<gk_manifest::GoDuration>,
}

/// A token that was created, with its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct NewTokenAnswer {
    /// Number of the token.
    pub id: i64,
    /// The user's name.
    pub login: String,
    /// Role of its bearers.
    pub role: Role,
    /// When it is no longer valid, RFC 3339.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Secret text of the token. This answer is the only place that has it.
    pub token: String,
}
