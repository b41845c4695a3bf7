//! Applies the results of operations to the state of the generation.

use std::sync::Arc;

use gk_manifest::{Diagnostic, Registration, ResourceRequest};

use super::Generation;
use super::operations::{StepOutput, VerifiedLaunch};
use crate::backend::{Connected, Started};
use crate::error::PluginError;
use crate::log::{Capture, LogLevel, WorkerOutput};
use crate::metrics;
use crate::timeouts::{self, Timeouts};
use crate::version;

impl Generation {
    /// Applies the result of an operation. An error is a failure of the plugin.
    pub(super) fn absorb(&mut self, product: StepOutput) -> Result<(), PluginError> {
        match product {
            StepOutput::Nothing => {}
            StepOutput::Launched(Started { worker, output }, launch_facts) => {
                self.take_launch(*launch_facts);
                self.status.pid = worker.pid();
                self.status.sandbox = worker.sandbox();
                if let Some(report) = &self.status.sandbox {
                    self.log_line(LogLevel::Info, format!("sandbox: {report}"));
                }
                self.worker = Some(worker);
                self.capture(output);
                self.publish();
            }
            StepOutput::Handshake(output) => self.capture(output),
            StepOutput::Connected(Connected { connection, output }) => {
                self.capture(output);
                self.connection = Some(connection);
            }
            StepOutput::Registered(registration) => self.take_registration(*registration)?,
        }
        Ok(())
    }

    /// Makes the verified manifest the plugin's.
    fn take_launch(&mut self, launch_facts: VerifiedLaunch) {
        let VerifiedLaunch { verified, limits } = launch_facts;
        let signature = verified.signature();
        if let Some(warning) = verified.artifact.warning()
            && self.registry.warned.first(&verified)
        {
            let text = format!("it runs, but would not if signatures were required: {warning}");
            self.log_line(LogLevel::Warn, text);
        }
        metrics::verified(self.owner.plugin.as_str(), signature.state.as_str());
        self.status.limits = Some(limits);
        self.limits = limits;
        self.take_resources(&verified.manifest.resources);
        self.status.signature = Some(signature);
        self.status.manifest = Some(Arc::clone(&verified.manifest));
        self.status.warnings = verified.warnings.clone().into();
        self.manifest = Arc::clone(&verified.manifest);
        self.plugin_dir.clone_from(&verified.dir);
        self.status.verified = Some(verified);
    }

    /// Puts into force the timeouts that the plugin asks for, within its policy.
    fn take_resources(&mut self, resources: &ResourceRequest) {
        self.call_timeout = Timeouts::from_resources(resources).call;
        self.status.timeouts = Timeouts::new(resources, &self.limits);
    }

    fn take_registration(&mut self, registration: Registration) -> Result<(), PluginError> {
        let manifest = Arc::clone(&self.manifest);
        if registration.name != manifest.name.as_str() {
            return Err(PluginError::NameMismatch {
                manifest: manifest.name.clone(),
                registered: crate::log::cut(&registration.name, 128).to_owned(),
            });
        }
        let (mut errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) = registration
            .validate()
            .into_iter()
            .partition(Diagnostic::is_error);
        // Only of well-formed jobs, whose number is limited: a calendar takes its time.
        if errors.is_empty() {
            errors = gk_jobs::check_all(&registration.jobs);
        }
        if !errors.is_empty() {
            return Err(PluginError::Registration {
                diagnostics: errors,
            });
        }
        let host = &self.registry.config.host_version;
        if !version::satisfies(host, &registration.min_host_version) {
            return Err(PluginError::HostTooOld {
                version: registration.version,
                required: registration.min_host_version,
                host: host.clone(),
            });
        }
        for warning in &warnings {
            self.log_line(LogLevel::Warn, format!("registration: {warning}"));
        }
        let resources = registration
            .resources
            .as_ref()
            .map(|own| own.or(&manifest.resources));
        let resources = resources.as_ref().unwrap_or(&manifest.resources);
        self.take_resources(resources);
        // The memory limit is the one in plugin.yaml: it was set before the process registered.
        let resources = ResourceRequest {
            memory_mb: manifest.resources.memory_mb,
            ..resources.clone()
        };
        for limit in timeouts::outside(&resources, &self.limits) {
            let text = format!("{limit}: this host gives no more and no less");
            self.log_line(LogLevel::Warn, text);
        }
        self.status.warnings = self
            .status
            .warnings
            .iter()
            .cloned()
            .chain(warnings)
            .collect();
        self.status.registration = Some(Arc::new(registration));
        Ok(())
    }

    /// Reads what the worker prints into the plugin's log, from now on.
    fn capture(&self, output: Vec<WorkerOutput>) {
        for output in output {
            let log = self.owner.log.clone();
            let capture = Capture::start(output, self.number, log);
            // The lock is held elsewhere only while the last output is collected, when there is
            // nothing to add.
            if let Ok(mut captures) = self.captures.try_lock() {
                captures.push(capture);
            }
        }
    }
}
