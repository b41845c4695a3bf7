//! Callers of a plugin.

use serde_json::{Map, Value};

/// A caller of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub id: i64,
    /// Login name of the user.
    pub login: String,
    /// Role of the user.
    pub role: Role,
}

/// Role of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// The permissions of agents.
    Agent,
    /// The permissions of customers.
    Customer,
}

impl User {
    fn of(id: i64, login: &str, role: Role) -> Self {
        User {
            id,
            login: login.to_owned(),
            role,
        }
    }

    /// An administrator: 1, `admin@example.com`.
    #[must_use]
    pub fn admin() -> Self {
        User::of(1, "admin@example.com", Role::Admin)
    }

    /// An agent: 2, `agent@example.com`.
    #[must_use]
    pub fn agent() -> Self {
        User::of(2, "agent@example.com", Role::Agent)
    }

    /// A customer: 3, `customer@example.com`.
    #[must_use]
    pub fn customer() -> Self {
        User::of(3, "customer@example.com", Role::Customer)
    }

    /// The fields of a user that a plugin gets.
    pub(super) fn envelope(user: Option<&Self>) -> Map<String, Value> {
        let mut told = Map::new();
        let mut tell = |key: &str, value: Value| {
            told.insert(key.to_owned(), value);
        };
        let is_admin = user.is_some_and(|user| user.role == Role::Admin);
        tell("_is_admin", is_admin.into());
        if let Some(user) = user {
            let role = match user.role {
                Role::Admin => "Admin",
                Role::Agent => "Agent",
                Role::Customer => "Customer",
            };
            tell("_user_id", user.id.into());
            tell("_user_login", user.login.clone().into());
            tell("_user_role", role.into());
            if user.login.contains('@') {
                tell("_user_email", user.login.clone().into());
            }
            if user.role == Role::Customer {
                tell("_customer_login", user.login.clone().into());
            }
        }
        told
    }
}
