//! A plugin that is started, and its calls.

use bytes::Bytes;
use gk_protocol::plugin::PluginHandler;
use gk_protocol::registration::Registration;
use serde::de::DeserializeOwned;

use super::state::{Running as RunningCall, Shared};
use crate::Error;
use crate::plugin::Running;

pub(super) struct Started {
    pub(super) state: Shared,
    pub(super) running: Running,
    pub(super) registration: Registration,
    /// Paths beside its own that it may serve.
    pub(super) granted: Vec<String>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started")
            .field("name", &self.registration.name)
            .finish_non_exhaustive()
    }
}

impl Started {
    /// The registration of the plugin, if a host takes it.
    pub(super) async fn register(running: &Running) -> Result<Registration, Error> {
        let registration = running.register().await.map_err(Error::new)?;
        let problems = registration.validate();
        let errors: Vec<_> = problems.iter().filter(|found| found.is_error()).collect();
        if errors.is_empty() {
            return Ok(registration);
        }
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let errors = errors.join("; ");
        Err(Error::new(format!("the registration: {errors}")))
    }

    /// Runs a function as the call that is described.
    pub(super) async fn run(&self, call: RunningCall, args: Bytes) -> Result<Bytes, Error> {
        /// Takes the call off the list, also where the test gives up the wait.
        struct Ends<'a>(&'a Shared, &'a str);

        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.lock().running.remove(self.1);
            }
        }

        let function = call.function.clone();
        let token = self.state.lock().begin(call);
        let _ends = Ends(&self.state, &token);
        self.running.run(&function, args, &token).await
    }
}

/// A result as a `T`; a function that answers nothing answers `null`.
pub(super) fn decode<T: DeserializeOwned>(function: &str, result: &[u8]) -> Result<T, Error> {
    let json = if result.is_empty() { b"null" } else { result };
    serde_json::from_slice(json).map_err(|error| {
        let shown = String::from_utf8_lossy(json);
        Error::new(format!("the result of {function}: {error}: {shown}"))
    })
}
