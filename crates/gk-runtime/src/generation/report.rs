//! The report on a failure: the error, how the process ended, what it printed last, what to do.

use gk_sandbox::{ExitStatus, SpawnError};

use super::{Failure, Generation, NOT_GRANTED};
use crate::error::{LaunchError, PluginError, Printed, Step, chain};
use crate::limits::SHOWN_STDERR_LINES;

impl Generation {
    /// Returns the kind of a failure: one that another start may overcome, or not.
    pub(super) fn failure(&self, error: &PluginError) -> Failure {
        if let Some(ExitStatus::MemoryLimit { .. }) = self.exit {
            return Failure::OutOfMemory;
        }
        // A program that printed something else and runs on is no plugin.
        let is_none = matches!(error, PluginError::Handshake { .. }) && !self.exited_by_itself;
        match error.may_pass() && !is_none {
            true => Failure::Crashed,
            false => Failure::Refused,
        }
    }

    /// Returns the full report on a failure: the error, the exit status, the last output, the
    /// remedy.
    pub(super) async fn report(&self, error: PluginError) -> String {
        let printed = || async {
            Printed(match &self.worker {
                Some(worker) => worker.printed().await,
                None => Vec::new(),
            })
        };
        let error = match error {
            PluginError::Crashed {
                step: Some(Step::Handshake),
                ..
            } => PluginError::Handshake {
                why: "it ended before its handshake".into(),
                printed: printed().await,
            },
            other => other,
        };
        let mut report = chain(&error);
        if matches!(
            error,
            PluginError::TimedOut {
                step: Step::Handshake,
                ..
            }
        ) {
            report.push_str("; the first line on stdout must be the handshake, ");
            report.push_str(&printed().await.to_string());
        }
        if let Some(exit) = self.exit.filter(|_| self.exited_by_itself) {
            let was = match exit {
                ExitStatus::MemoryLimit { .. } => "was ",
                _ => "",
            };
            report.push_str(&format!("; its process {was}{exit}"));
        }
        let stderr = self.owner.log.stderr_tail(self.number, SHOWN_STDERR_LINES);
        if !stderr.is_empty() {
            let lines: Vec<&str> = stderr
                .iter()
                .map(|line| crate::log::cut(line, 256))
                .collect();
            report.push_str(&format!("; its stderr ended with: {}", lines.join(" | ")));
            if stderr
                .iter()
                .any(|line| line.contains("This binary is a plugin"))
            {
                report.push_str("; it does not know this host's cookie: its handshake must use GOATKIT_PLUGIN=goatkit-v1, as the SDK does");
            }
        }
        report.push_str(&self.remedy(&error, &report));
        report
    }

    /// Returns the remedy, unless the error names one itself.
    fn remedy(&self, error: &PluginError, report: &str) -> String {
        let name = self.owner.plugin.as_str();
        let hints = self.registry.config.hints;
        if let Some(ExitStatus::MemoryLimit { .. }) = self.exit {
            return "; let it use less, or raise resources.memory_mb in plugin.yaml, or memory_mb in its policy: then it starts anew".into();
        }
        match error {
            PluginError::Rpc { .. } if report.contains(NOT_GRANTED) => format!(
                "; if it should have that, {}: then it starts anew",
                (hints.grant)(name)
            ),
            // The cause is in the plugin's own code.
            PluginError::Crashed { .. } | PluginError::Connect(_) | PluginError::Rpc { .. } => {
                format!("; mend the plugin: {}", (hints.logs)(name))
            }
            PluginError::Launch(LaunchError::Spawn(
                SpawnError::Missing { .. } | SpawnError::NotAFile { .. },
            )) => "; build the binary, or correct `binary` in plugin.yaml".into(),
            _ => String::new(),
        }
    }
}
