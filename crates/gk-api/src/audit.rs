//! The audit log: who changed what.

use serde::{Deserialize, Serialize};

/// Origin of a change: the caller and the way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Actor {
    /// The login of the token, or `uid:N` of a caller on the local socket.
    pub login: String,
    /// The number of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<i64>,
    /// The user's id on this machine, of a caller on the local socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The client's address; null on a Unix socket.
    pub address: Option<String>,
}

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A package was installed or replaced.
    Install,
    /// A plugin was removed.
    Uninstall,
    /// A plugin's files were looked at.
    Reload,
    /// A plugin was started anew.
    Restart,
    /// A plugin was allowed to run.
    Enable,
    /// A plugin was forbidden to run.
    Disable,
    /// A plugin's crashes were forgotten.
    ResetCrashes,
    /// A plugin's version before was brought back.
    RollBack,
    /// A policy was stored.
    SetPolicy,
    /// A stored policy was removed.
    ResetPolicy,
    /// A token was made.
    CreateToken,
    /// A token was deleted.
    DeleteToken,
    /// A job was run by hand.
    RunJob,
    /// A job was suspended.
    SuspendJob,
    /// A suspended job was resumed.
    ResumeJob,
    /// Settings of a job were stored.
    SetJob,
    /// The host read its configuration again.
    Reconfigure,
}

impl Change {
    /// All of them.
    pub const ALL: [Change; 17] = [
        Change::Install,
        Change::Uninstall,
        Change::Reload,
        Change::Restart,
        Change::Enable,
        Change::Disable,
        Change::ResetCrashes,
        Change::RollBack,
        Change::SetPolicy,
        Change::ResetPolicy,
        Change::CreateToken,
        Change::DeleteToken,
        Change::RunJob,
        Change::SuspendJob,
        Change::ResumeJob,
        Change::SetJob,
        Change::Reconfigure,
    ];

    /// The word for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Install => "install",
            Change::Uninstall => "uninstall",
            Change::Reload => "reload",
            Change::Restart => "restart",
            Change::Enable => "enable",
            Change::Disable => "disable",
            Change::ResetCrashes => "reset_crashes",
            Change::RollBack => "roll_back",
            Change::SetPolicy => "set_policy",
            Change::ResetPolicy => "reset_policy",
            Change::CreateToken => "create_token",
            Change::DeleteToken => "delete_token",
            Change::RunJob => "run_job",
            Change::SuspendJob => "suspend_job",
            Change::ResumeJob => "resume_job",
            Change::SetJob => "set_job",
            Change::Reconfigure => "reconfigure",
        }
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Number of the entry; later changes have higher ones.
    pub id: i64,
    /// When it was asked for, RFC 3339.
    pub at: String,
    /// The host that was asked, where several share their state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The caller who asked for the change, and the caller's address.
    pub actor: Actor,
    /// Kind of the change.
    pub change: Change,
    /// Object of the change: a plugin's name, or a token's number.
    pub target: String,
    /// State before the change.
    #[serde(default)]
    pub before: serde_json::Value,
    /// State after the change; null if the change failed or has no state.
    #[serde(default)]
    pub after: serde_json::Value,
    /// `done`, `failed`, or `unknown` while it is under way and where the host ended meanwhile.
    pub outcome: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Id of the request that asked for the change.
    #[serde(default)]
    pub request_id: String,
}

/// Entries of the audit log, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct AuditPage {
    /// Entries, newest first.
    pub entries: Vec<AuditEntry>,
    /// Value of `before` for the next, older page; null on the last page.
    pub next: Option<i64>,
}
