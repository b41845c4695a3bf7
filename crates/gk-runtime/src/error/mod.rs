//! Errors of plugins, of starts and of calls.

mod call;
mod launch;
mod plugin;

use std::error::Error;

pub use self::call::CallError;
pub use self::launch::{ControlError, LaunchError, StartError};
pub use self::plugin::{PluginError, Printed, Step};

/// Returns an error and its sources in one line, for people.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some errors contain the text of their source.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}
