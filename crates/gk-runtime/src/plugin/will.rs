//! Conditions under which a plugin runs, by their source.

/// Conditions under which a plugin runs: it does unless one of them forbids it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    enabled: bool,
    /// The policy blocks the plugin.
    pub(crate) blocked: bool,
    /// The package was removed.
    pub(crate) gone: bool,
    /// The host ends.
    ending: bool,
    /// Reason why the running package is not trusted any more.
    pub(crate) distrusted: Option<String>,
    /// Obstacle in a dependency.
    pub(crate) hold: Option<Hold>,
}

/// Reason why a wanted plugin does not run, or not yet: the state of a dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) reason: String,
    /// The dependency is on its way, so that the hold will end.
    pub(crate) is_passing: bool,
    /// Waiting does not help.
    pub(crate) is_error: bool,
}

impl Will {
    pub(crate) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            blocked: false,
            gone: false,
            ending: false,
            distrusted: None,
            hold: None,
        }
    }

    /// Returns true if the plugin is to run, apart from its dependencies.
    pub(crate) fn wants(&self) -> bool {
        self.enabled && !self.blocked && !self.gone && !self.ending && self.distrusted.is_none()
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(crate) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending
    }

    /// Stops the plugin for good, as the host ends.
    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    /// Returns the reason why the plugin is not to run, for those that depend on it.
    pub(crate) fn objection(&self) -> &'static str {
        match self {
            Self { ending: true, .. } => "is stopped, as the host ends",
            Self { gone: true, .. } => "is removed",
            Self { blocked: true, .. } => "is blocked by its policy",
            Self { enabled: false, .. } => "is disabled",
            _ => "is not trusted any more",
        }
    }

    /// Returns the log message about a change since `before`, if it needs one.
    pub(crate) fn change_message(&self, before: &Self) -> Option<String> {
        if self.blocked && !before.blocked {
            return Some("its policy has blocked it".to_owned());
        }
        if self.gone && !before.gone {
            return Some("its package is gone: it is stopped".to_owned());
        }
        if self.enabled != before.enabled {
            let word = if self.enabled { "enabled" } else { "disabled" };
            return Some(format!("the operator has {word} it"));
        }
        match &self.distrusted {
            Some(reason) if self.distrusted != before.distrusted => {
                Some(format!("it is stopped: {reason}"))
            }
            _ => None,
        }
    }
}
