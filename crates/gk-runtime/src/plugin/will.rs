//! What is wanted of a plugin, and by whom.

/// What is wanted of a plugin. It is to run unless somebody objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    enabled: bool,
    /// Its policy blocks it.
    pub(crate) blocked: bool,
    /// Its package is gone.
    pub(crate) gone: bool,
    /// The host ends.
    ending: bool,
    /// Why what runs is not trusted any more.
    pub(crate) distrusted: Option<String>,
    /// What others have to do before.
    pub(crate) hold: Option<Hold>,
}

/// Why a plugin that is wanted does not run, or not yet: what it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) reason: String,
    /// Whether what it waits for is on its way.
    pub(crate) is_passing: bool,
    /// Whether waiting does not help.
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

    /// Whether it is to run, as far as it alone is asked.
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

    /// The host ends: for good.
    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    /// Why it is not to run, for those that depend on it.
    pub(crate) fn objection(&self) -> &'static str {
        match self {
            Self { ending: true, .. } => "is stopped, as the host ends",
            Self { gone: true, .. } => "is removed",
            Self { blocked: true, .. } => "is blocked by its policy",
            Self { enabled: false, .. } => "is disabled",
            _ => "is not trusted any more",
        }
    }

    /// What is to be said of a change.
    pub(crate) fn said(&self, before: &Self) -> Option<String> {
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
