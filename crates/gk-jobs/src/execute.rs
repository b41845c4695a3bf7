//! One attempt of a run: the call, and what comes of it.

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::jobs::{Jobs, STORE_RETRY};
use crate::metrics;
use crate::runner::{RunAnswer, RunCall, RunFailure};
use crate::settings::JobSettings;
use crate::store::{ERROR_BYTES_MAX, RESULT_BYTES_MAX, Run, RunEnd, RunState};

impl Jobs {
    /// Runs an attempt that was taken from the queue, and stores its end.
    pub(crate) async fn execute(&self, run: Run) {
        let inner = &self.inner;
        let given_up = CancellationToken::new();
        let settings = {
            let mut state = inner.state.lock();
            state.running.insert(run.id, given_up.clone());
            state.planner.settings(&run.key).cloned()
        };
        let _running = metrics::running(&run.key);
        let begun = Instant::now();
        let answer = tokio::select! {
            biased;
            // The store has ended the run already.
            () = given_up.cancelled() => None,
            answer = self.call(&run, settings.as_ref()) => Some(answer),
        };
        inner.state.lock().running.remove(&run.id);
        match answer {
            Some(answer) => {
                let end = self.end_of(&run, settings.as_ref(), answer);
                metrics::ended(&run.key, end.state, begun.elapsed());
                self.store_end(&run, &end).await;
            }
            None => {
                metrics::ended(&run.key, RunState::Replaced, begun.elapsed());
                tracing::info!(job = %run.key, run = %run.id, "given up: a later run took its place");
            }
        }
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
                    RunFailure::Gone(_) => RunState::Dropped,
                };
                (state, None, Some(cut(failure.to_string())))
            }
        };
        let again = matches!(state, RunState::Failed | RunState::TimedOut);
        let wait = settings.filter(|_| again);
        let wait = wait.and_then(|settings| settings.retry_after(run.attempt));
        let retry_at = wait.and_then(|wait| at.checked_add(wait).ok());
        if let Some(error) = &error {
            let retry_at = retry_at.map(tracing::field::display);
            tracing::warn!(
                job = %run.key, run = %run.id, attempt = run.attempt, retry_at, error,
                "a job's run did not succeed"
            );
        }
        RunEnd {
            state,
            at,
            generation: answer.generation,
            result,
            error,
            retry_at,
        }
    }

    /// Stores the end of an attempt, as often as it takes.
    async fn store_end(&self, run: &Run, end: &RunEnd) {
        let store = &self.inner.config.store;
        loop {
            match store.finish(run.id, run.attempt, end).await {
                Ok(true) => return,
                Ok(false) => {
                    metrics::refused(&run.key);
                    tracing::warn!(
                        job = %run.key, run = %run.id, attempt = run.attempt,
                        "a late result is refused: the attempt was given up meanwhile"
                    );
                    return;
                }
                Err(error) => {
                    tracing::error!(
                        job = %run.key, run = %run.id, %error,
                        "the end of a run cannot be stored; trying again"
                    );
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
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
