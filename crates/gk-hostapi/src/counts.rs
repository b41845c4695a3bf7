//! Metrics of requests to the host API, through the `metrics` facade. Labels are plugin names that
//! the host knows, names of the host's own methods, and kinds of errors: never a plugin's words.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gk_manifest::PluginName;
use metrics::{Counter, Histogram};

use crate::error::{ErrorKind, HostError};

const REQUESTS: &str = "gk_hostapi_requests_total";
const SECONDS: &str = "gk_hostapi_request_duration_seconds";
const REFUSED: &str = "gk_hostapi_refused_total";

/// Describes the metrics, for recorders that show descriptions.
pub(crate) fn describe() {
    metrics::describe_counter!(
        REQUESTS,
        "Requests of plugins to the host API, by method and outcome."
    );
    metrics::describe_histogram!(
        SECONDS,
        metrics::Unit::Seconds,
        "How long requests to the host API took that a policy let through."
    );
    metrics::describe_counter!(
        REFUSED,
        "Requests to the host API that a policy or a rate refused."
    );
}

/// Counters of one plugin's requests that succeeded, by method. A counter is made with the first
/// request of its method; after that a request takes one look-up and no lock.
#[derive(Debug, Default)]
pub(crate) struct Succeeded(ArcSwap<HashMap<&'static str, Counter>>);

impl Succeeded {
    /// Counts a request that has ended.
    pub(crate) fn count<T>(
        &self,
        plugin: &PluginName,
        method: &'static str,
        outcome: &Result<T, HostError>,
    ) {
        match outcome {
            Err(error) => counter(plugin, method, error.kind().as_str()).increment(1),
            Ok(_) => match self.0.load().get(method) {
                Some(counter) => counter.increment(1),
                None => self.first(plugin, method).increment(1),
            },
        }
    }

    /// Makes the counter of a method.
    fn first(&self, plugin: &PluginName, method: &'static str) -> Counter {
        let made = counter(plugin, method, "ok");
        self.0.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(method, made.clone());
            Arc::new(known)
        });
        made
    }
}

/// Counts a request that was refused before its method was asked, or that has no method.
pub(crate) fn refused(plugin: &PluginName, method: &'static str, kind: ErrorKind) {
    counter(plugin, method, kind.as_str()).increment(1);
}

fn counter(plugin: &PluginName, method: &'static str, outcome: &'static str) -> Counter {
    metrics::counter!(
        REQUESTS,
        "plugin" => plugin.to_string(), "method" => method, "outcome" => outcome
    )
}

/// Returns the histogram of a method's durations.
pub(crate) fn seconds(method: &'static str) -> Histogram {
    metrics::histogram!(SECONDS, "method" => method)
}

/// Records how long a request took.
pub(crate) fn took(seconds: &Histogram, took: Duration) {
    seconds.record(took.as_secs_f64());
}

/// Counts a refusal by a policy or a rate.
pub(crate) fn denied(plugin: &PluginName, method: &'static str) {
    metrics::counter!(REFUSED, "plugin" => plugin.to_string(), "method" => method).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_made_once_for_each_method() {
        let plugin = PluginName::new("goat").unwrap();
        let succeeded = Succeeded::default();
        for _ in 0..3 {
            succeeded.count(&plugin, "time_now", &Ok(()));
        }
        succeeded.count(&plugin, "kv_get", &Ok(()));
        let failed: Result<(), _> = Err(HostError::limit("x"));
        succeeded.count(&plugin, "kv_set", &failed);
        let known = succeeded.0.load();
        let mut methods: Vec<_> = known.keys().copied().collect();
        methods.sort_unstable();
        assert_eq!(methods, ["kv_get", "time_now"]);
    }
}
