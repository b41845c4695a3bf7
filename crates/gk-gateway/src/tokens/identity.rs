//! Who asks.

use std::sync::Arc;

use gk_api::Role;
use gk_hostapi::{User, UserRole};

/// Identity behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Number of the token, which stands for the user: 0 for the token of the host's environment,
    /// negative for users of this machine on the local socket.
    pub id: i64,
    /// Name of the user.
    pub login: Arc<str>,
    /// Role of the user.
    pub role: Role,
}

impl Identity {
    /// Returns the identity of a user of this machine, who came by the local socket.
    pub(crate) fn local(uid: u32) -> Self {
        Identity {
            id: -1 - i64::from(uid),
            login: format!("uid:{uid}").into(),
            role: Role::Admin,
        }
    }

    /// Returns the user id on this machine of a user who came by the local socket.
    pub(crate) fn uid(&self) -> Option<u32> {
        u32::try_from(-1 - self.id).ok()
    }

    /// Returns true for an administrator.
    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Returns the user, as plugins see them.
    pub(crate) fn user(&self) -> User {
        let role = match self.role {
            Role::Admin => UserRole::Admin,
            Role::Agent => UserRole::Agent,
            Role::Customer => UserRole::Customer,
        };
        User::new(self.id, Arc::clone(&self.login), role)
    }
}
