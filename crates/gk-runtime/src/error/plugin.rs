//! Errors of plugins.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use gk_manifest::{Diagnostic, PluginName};
use gk_sandbox::SpawnError;

use super::launch::LaunchError;

/// A step of a plugin's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Reading its files and judging their signature.
    Verify,
    /// Starting the process.
    Launch,
    /// Printing the handshake line.
    Handshake,
    /// Connecting to its socket and opening its streams.
    Connect,
    /// Answering GKRegister.
    Register,
    /// Answering Init.
    Init,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Verify => "checking its files",
            Step::Launch => "starting the process",
            Step::Handshake => "waiting for the handshake line",
            Step::Connect => "connecting to its socket",
            Step::Register => "GKRegister",
            Step::Init => "Init",
        })
    }
}

/// Failure of a plugin. The report on it adds the plugin's name, its exit status and its last
/// output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The plugin's files did not pass the verification.
    #[error(transparent)]
    Unverified(#[from] gk_sign::VerifyError),
    /// The list of revocations cannot be used, so the plugin may be revoked.
    #[error("the list of revocations cannot be used, and until it is mended no plugin starts")]
    Revocations(#[source] gk_sign::TrustError),
    /// The plugin's directory cannot be used.
    #[error("its directory {dir} cannot be used", dir = .dir.display())]
    Files {
        /// The directory.
        dir: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The signed manifest is not valid.
    #[error("its signed manifest cannot be used")]
    Manifest {
        /// Error in the manifest.
        #[source]
        source: Box<gk_manifest::ManifestError>,
    },
    /// The signed manifest is not the one of this plugin, or of this signature.
    #[error(
        "{file}: its {what} is {read:?}, but it was signed and discovered as {signed:?}; have the package signed again",
        file = .file.display()
    )]
    Claims {
        /// Path of the manifest.
        file: PathBuf,
        /// Name of the field that differs.
        what: &'static str,
        /// Value in the signature, or in the discovered manifest.
        signed: String,
        /// Value in the signed manifest.
        read: String,
    },
    /// The process was not started, or its socket is not one to connect to.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The first output of the process is not a handshake.
    #[error(
        "{why}; the first line on stdout must be the handshake, like 1|1|unix|<socket>|netrpc| (anything else has to go to stderr), {printed}"
    )]
    Handshake {
        /// Error in the handshake.
        why: String,
        /// Output of the process.
        printed: Printed,
    },
    /// The protocol could not be started on its socket.
    #[error("the connection failed")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// A step took too long.
    #[error("{step} took longer than {after:?}; {remedy}", remedy = timeout_remedy(*.step))]
    TimedOut {
        /// Step that took too long.
        step: Step,
        /// Time limit of the step.
        after: Duration,
    },
    /// GKRegister or Init answered with an error.
    #[error("{step} failed")]
    Rpc {
        /// Step that failed.
        step: Step,
        /// Error from the plugin.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The registration's name is not the manifest's.
    #[error(
        "it registers as {registered:?}, but its plugin.yaml says \"{manifest}\"; make the two names equal"
    )]
    NameMismatch {
        /// Name in the manifest.
        manifest: PluginName,
        /// Name in the registration.
        registered: String,
    },
    /// The registration is not valid.
    #[error("its registration is not valid: {}", list(.diagnostics))]
    Registration {
        /// Errors in the registration.
        diagnostics: Vec<Diagnostic>,
    },
    /// The plugin requires a newer host.
    #[error(
        "version {version} of it requires a host of version {required} or newer, and this is {host}; update the host or install an older version of the plugin"
    )]
    HostTooOld {
        /// Version of the plugin.
        version: String,
        /// Host version that the plugin requires.
        required: String,
        /// Version of this host.
        host: String,
    },
    /// The host API does not let it start: its policy, or what it registers.
    #[error("it must not start: {reason}")]
    Refused {
        /// Reason of the refusal.
        reason: String,
    },
    /// The process ended, or its connection broke, by itself.
    #[error("it crashed{}: {reason}", step.map(|step| format!(" during {step}")).unwrap_or_default())]
    Crashed {
        /// Step of the start; `None` while the plugin was running.
        step: Option<Step>,
        /// Observed failure.
        reason: String,
    },
    /// The plugin was verified before, and is not trusted any more.
    #[error("it is no longer trusted: {reason}")]
    Distrusted {
        /// The revoked key or digest, or the missing signature.
        reason: String,
    },
    /// The plugin runs, and does not answer probes.
    #[error("it did not answer {misses} health probes in a row, the last one because {reason}")]
    Unresponsive {
        /// Number of probes missed in a row.
        misses: u32,
        /// Error of the last probe.
        reason: String,
    },
    /// The plugin runs, and does not answer calls.
    #[error("its last {calls} calls or more all timed out, and its policy restarts it then")]
    TimingOut {
        /// Minimum number of calls that timed out.
        calls: u32,
    },
    /// The host stopped it while it started.
    #[error("it was stopped while it started")]
    Stopped,
}

impl PluginError {
    /// Returns true if the same start may succeed another time: the cause is neither the package
    /// nor a decision.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unverified(_)
            | Self::Manifest { .. }
            | Self::Claims { .. }
            | Self::NameMismatch { .. }
            | Self::Registration { .. }
            | Self::HostTooOld { .. }
            | Self::Refused { .. }
            | Self::Stopped
            | Self::Distrusted { .. }
            | Self::Launch(LaunchError::Refused { .. } | LaunchError::Socket(_)) => false,
            // The system may grant later a request that it refuses now; an error in the program
            // stays.
            Self::Launch(LaunchError::Spawn(error)) => matches!(
                error,
                SpawnError::TextBusy { .. } | SpawnError::Step { .. } | SpawnError::Sandbox { .. }
            ),
            Self::Revocations(_)
            | Self::Files { .. }
            | Self::Launch(_)
            | Self::Handshake { .. }
            | Self::Connect(_)
            | Self::TimedOut { .. }
            | Self::Rpc { .. }
            | Self::Crashed { .. }
            | Self::TimingOut { .. }
            | Self::Unresponsive { .. } => true,
        }
    }
}

fn timeout_remedy(step: Step) -> &'static str {
    match step {
        Step::Handshake => {
            "is it a GoatKit plugin? It must call the SDK's serve function at once and do slow work later"
        }
        Step::Register => "raise resources.init_timeout in plugin.yaml, or move slow work to Init",
        Step::Init => {
            "raise resources.init_timeout in plugin.yaml, or do slow work in the background"
        }
        Step::Verify => {
            "make the package smaller; if it is small, the machine is overloaded or its disk fails"
        }
        Step::Launch | Step::Connect => {
            "restart the plugin; if it stays so, the machine is overloaded or the plugin does not accept connections"
        }
    }
}

fn list(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Output of a plugin on stdout in place of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed(pub Vec<u8>);

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::limits::SHOWN_OUTPUT_BYTES_MAX;
        if self.0.is_empty() {
            return f.write_str("but it printed nothing");
        }
        let shown = &self.0[..self.0.len().min(SHOWN_OUTPUT_BYTES_MAX)];
        write!(f, "but it printed \"{}\"", shown.escape_ascii())?;
        if shown.len() < self.0.len() {
            write!(f, " and more")
        } else {
            Ok(())
        }
    }
}
