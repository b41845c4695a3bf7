//! One attempt of a run: the call, and what comes of it.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::jobs::{Jobs, Ongoing, STORE_RETRY};
use crate::metrics;
use crate::runner::{RunAnswer, RunCall, RunFailure};
use crate::settings::JobSettings;
use crate::store::{Again, ERROR_BYTES_MAX, RESULT_BYTES_MAX, Run, RunEnd, RunState};

/// Wait before a run is tried again that did not reach its plugin.
const UNSENT_WAIT: Duration = Duration::from_secs(1);

impl Jobs {
    /// Notes a run that was taken from the queue. The result is cancelled when the run is given up.
    pub(crate) fn begin(&self, run: &Run) -> CancellationToken {
        let given_up = CancellationToken::new();
        let ongoing = Ongoing {
            plugin: run.key.plugin.clone(),
            given_up: given_up.clone(),
        };
        let mut state = self.inner.state.lock();
        if state.revoked.remove(&run.id) {
            given_up.cancel();
        }
        state.running.insert(run.id, ongoing);
        given_up
    }

    /// Runs an attempt that was taken from the queue, and stores its end.
    pub(crate) async fn execute(&self, run: Run, given_up: CancellationToken) {
        let inner = &self.inner;
        let settings = inner.state.lock().planner.settings(&run.key).cloned();
        let _running = metrics::running(&run.key);
        let begun = Instant::now();
        let answer = tokio::select! {
            biased;
            // The store has ended the run already.
            () = given_up.cancelled() => None,
            answer = self.call(&run, settings.as_ref()) => Some(answer),
        };
        match answer {
            Some(answer) => {
                let end = self.end_of(&run, settings.as_ref(), answer);
                if end.state.has_ended() {
                    metrics::ended(&run.key, end.state, begun.elapsed());
                }
                self.store_end(&run, &end).await;
            }
            None => {
                metrics::ended(&run.key, RunState::Replaced, begun.elapsed());
                tracing::info!(job = %run.key, run = %run.id, "given up: a later run took its place");
            }
        }
        let mut state = inner.state.lock();
        state.running.remove(&run.id);
        if !state.declared.contains_key(&run.key) {
            // What waits again for a plugin that has gone meanwhile is dropped.
            state.version.0 += 1;
            inner.changed.notify_one();
        }
        drop(state);
        // Its plugin may have room again.
        inner.here_changed.notify_one();
        // The receivers may be gone.
        let _ = inner.ended.send(run.id);
    }

    async fn call(&self, run: &Run, settings: Option<&JobSettings>) -> RunAnswer {
        let Some(settings) = settings else {
            let gone = "the plugin is not running, or has no such job any more";
            return RunAnswer {
                generation: None,
                outcome: Err(RunFailure::Gone(gone.to_owned())),
            };
        };
        let args = json!({
            "_job": run.key.job,
            "_tick": run.tick.to_string(),
            "_attempt": run.attempt,
        });
        let call = RunCall {
            key: run.key.clone(),
            handler: settings.handler.clone(),
            args: Bytes::from(args.to_string()),
            timeout: settings.timeout,
        };
        self.inner.config.runner.run(call).await
    }

    fn end_of(&self, run: &Run, settings: Option<&JobSettings>, answer: RunAnswer) -> RunEnd {
        let at = self.now();
        let (state, result, error) = match answer.outcome {
            Ok(result) => (RunState::Succeeded, kept(&result), None),
            Err(failure) => {
                let state = match &failure {
                    RunFailure::Failed(_) => RunState::Failed,
                    RunFailure::TimedOut(_) => RunState::TimedOut,
                    RunFailure::NotSent(_) => RunState::Waiting,
                    RunFailure::Gone(_) => RunState::Dropped,
                };
                (state, None, Some(cut(failure.to_string())))
            }
        };
        let again = match state {
            RunState::Waiting => at.checked_add(UNSENT_WAIT).ok().map(|at| Again {
                at,
                until: run.start_until,
                is_same_attempt: true,
            }),
            RunState::Failed | RunState::TimedOut if run.has_repetition() => {
                settings.and_then(|settings| {
                    let retry_at = at.checked_add(settings.retry_after(run.attempt)).ok()?;
                    Some(Again {
                        at: retry_at,
                        until: settings.start_until(run.tick, retry_at),
                        is_same_attempt: false,
                    })
                })
            }
            _ => None,
        };
        if let Some(error) = &error {
            let again = again.map(|again| tracing::field::display(again.at));
            match state {
                RunState::Waiting => {
                    tracing::debug!(job = %run.key, run = %run.id, again, error, "a run waits");
                }
                _ => tracing::warn!(
                    job = %run.key, run = %run.id, attempt = run.attempt, again, error,
                    "a job's run did not succeed"
                ),
            }
        }
        RunEnd {
            state,
            at,
            generation: answer.generation,
            result,
            error,
            again,
        }
    }

    /// Stores the end of an attempt, as often as it takes.
    async fn store_end(&self, run: &Run, end: &RunEnd) {
        let store = &self.inner.config.store;
        let mut is_failing = false;
        let is_stored = loop {
            match store.finish(run.id, run.attempt, end).await {
                Ok(is_stored) => break is_stored,
                Err(error) => {
                    metrics::store_failed();
                    if !std::mem::replace(&mut is_failing, true) {
                        self.inner.state.lock().unstored += 1;
                        tracing::error!(
                            job = %run.key, run = %run.id, %error,
                            "the end of a run cannot be stored; trying again each second"
                        );
                    }
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        };
        if is_failing {
            self.inner.state.lock().unstored -= 1;
            self.inner.changed.notify_one();
        }
        if !is_stored {
            metrics::refused(&run.key);
            tracing::warn!(
                job = %run.key, run = %run.id, attempt = run.attempt,
                "a late result is refused: the attempt was given up meanwhile"
            );
        }
    }
}

/// Returns a result as the store keeps it: JSON; of a longer one, and of other bytes, only the size.
fn kept(result: &Bytes) -> Option<String> {
    if result.is_empty() {
        return None;
    }
    let text = std::str::from_utf8(result).ok();
    let text = text.filter(|text| text.len() <= RESULT_BYTES_MAX);
    match text.filter(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()) {
        Some(text) => Some(text.to_owned()),
        None => Some(json!({ "bytes": result.len() }).to_string()),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    }
    text
}
