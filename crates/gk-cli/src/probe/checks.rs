//! Checks of a process that is spoken with directly: from its first line to its end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gk_manifest::{Manifest, Registration};
use gk_protocol::RpcError;
use gk_protocol::host::{FunctionError, PluginConnection};

use super::process::{Process, Said, Starter, Subject, chain, said, until};
use super::report::{Report, Verdict};
use super::stub::Stub;
use crate::terminal::Terminal;

/// Maximum time for Shutdown, and for the end of the process after it: a host's default.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Minimum time that a plugin must go on after Init.
const SETTLE_TIME: Duration = Duration::from_millis(1000);

/// Bytes of output without an end of line from which on it is no text.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A function that no plugin has.
const UNKNOWN_FUNCTION: &str = "gk_test_no_such_function";

/// The checks of a process, one after the other; what comes after a failure that ends them is not
/// reached.
pub(crate) struct Direct<'a> {
    pub(crate) starter: &'a Starter,
    pub(crate) subject: &'a Subject,
    pub(crate) manifest: &'a Manifest,
    pub(crate) terminal: &'a Terminal,
    /// Maximum time of each step.
    pub(crate) timeout: Duration,
}

/// The names of the checks, in their order.
const STEPS: &[&str] = &[
    "without a host it says that it is a plugin",
    "handshake",
    "connection",
    "registration",
    "registration is valid",
    "registration is of plugin.yaml",
    "init",
    "output is text",
    "goes on after init",
    "an unknown function is an error",
    "broken arguments do no harm",
    "shutdown in time",
    "nothing is left",
];

impl Direct<'_> {
    /// Runs all of them. Returns what the plugin registered, if it came so far.
    pub(crate) async fn run(&self, report: &mut Report) -> Option<Registration> {
        let before = report.findings.len();
        let registration = self.steps(report).await;
        let done: Vec<_> = report.findings[before..]
            .iter()
            .map(|finding| finding.name.clone())
            .collect();
        for step in STEPS
            .iter()
            .filter(|step| !done.iter().any(|name| name == *step))
        {
            report.add(
                self.terminal,
                *step,
                Verdict::NotReached,
                "",
                Duration::ZERO,
            );
        }
        registration
    }

    fn tell(
        &self,
        report: &mut Report,
        step: usize,
        started: Instant,
        result: &Result<String, String>,
    ) -> bool {
        let (verdict, detail) = match result {
            Ok(detail) => (Verdict::Passed, detail),
            Err(detail) => (Verdict::Failed, detail),
        };
        report.add(
            self.terminal,
            STEPS[step],
            verdict,
            detail,
            started.elapsed(),
        );
        result.is_ok()
    }

    async fn steps(&self, report: &mut Report) -> Option<Registration> {
        let started = Instant::now();
        let result = self.alone().await;
        self.tell(report, 0, started, &result);

        let started = Instant::now();
        let mut process = match self.starter.start(self.subject, true) {
            Ok(process) => process,
            Err(error) => {
                self.tell(report, 1, started, &Err(error));
                return None;
            }
        };
        let handshake = process.handshake(self.timeout).await;
        let shown = handshake
            .as_ref()
            .map(|(_, line)| line.clone())
            .map_err(Clone::clone);
        if !self.tell(report, 1, started, &shown) {
            return None;
        }
        let (handshake, _) = handshake.ok()?;

        let started = Instant::now();
        let stub = Arc::new(Stub::default());
        let connection = process
            .connect(&handshake, Arc::clone(&stub) as _, self.timeout)
            .await;
        let connection = match connection {
            Ok(connection) => {
                self.tell(report, 2, started, &Ok(String::new()));
                connection
            }
            Err(error) => {
                self.tell(
                    report,
                    2,
                    started,
                    &Err(format!("{error}{}", ended(&process))),
                );
                return None;
            }
        };

        let started = Instant::now();
        let registered = self.in_time("GKRegister", connection.register()).await;
        let registered = registered.and_then(|result| result.map_err(|error| chain(&error)));
        let told = registered.as_ref().map(|_| String::new());
        let told = told.map_err(|error| format!("{error}{}", ended(&process)));
        if !self.tell(report, 3, started, &told) {
            return None;
        }
        let registration = registered.ok()?;
        self.registration(report, &registration);
        self.init(report, &process, &connection, &stub).await;
        self.functions(report, &process, &connection).await;
        self.end(report, &mut process, &connection).await;
        Some(registration)
    }

    /// As somebody starts it by hand: it says what it is, and ends with an error.
    async fn alone(&self) -> Result<String, String> {
        let process = self.starter.start(self.subject, false)?;
        match process.end(self.timeout).await {
            None => Err("started by hand it goes on, as if a host spoke with it; serve it with the SDK, which checks the magic cookie".to_owned()),
            Some(status) if status.success() => {
                Err("started by hand it ends with 0, as if all were well; the SDK ends with 1 and says that it is a plugin".to_owned())
            }
            Some(_) => Ok(String::new()),
        }
    }

    /// Checks the registration by the rules of hosts, and against plugin.yaml.
    fn registration(&self, report: &mut Report, registration: &Registration) {
        let started = Instant::now();
        let findings = registration.validate();
        let errors: Vec<_> = findings
            .iter()
            .filter(|finding| finding.is_error())
            .map(ToString::to_string)
            .collect();
        let warnings: Vec<_> = findings
            .iter()
            .filter(|finding| !finding.is_error())
            .map(ToString::to_string)
            .collect();
        match (errors.is_empty(), warnings.is_empty()) {
            (true, true) => report.add(
                self.terminal,
                STEPS[4],
                Verdict::Passed,
                "",
                started.elapsed(),
            ),
            (true, false) => report.add(
                self.terminal,
                STEPS[4],
                Verdict::Warning,
                warnings.join("; "),
                started.elapsed(),
            ),
            (false, _) => report.add(
                self.terminal,
                STEPS[4],
                Verdict::Failed,
                errors.join("; "),
                started.elapsed(),
            ),
        }
        let (name, version) = (self.manifest.name.as_str(), self.manifest.version.as_str());
        let (verdict, detail) = match (
            registration.name == name,
            registration.version == version || version.is_empty(),
        ) {
            (false, _) => (
                Verdict::Failed,
                format!(
                    "it registers as {:?}, and plugin.yaml says {name:?}; make them the same",
                    registration.name
                ),
            ),
            (true, false) => (
                Verdict::Warning,
                format!(
                    "it registers version {:?}, and plugin.yaml says {version:?}; make them the same",
                    registration.version
                ),
            ),
            (true, true) => (Verdict::Passed, String::new()),
        };
        report.add(self.terminal, STEPS[5], verdict, detail, started.elapsed());
    }

    /// Init, what it prints meanwhile, and whether it goes on.
    async fn init(
        &self,
        report: &mut Report,
        process: &Process,
        connection: &PluginConnection,
        stub: &Stub,
    ) {
        let started = Instant::now();
        let config = process.config(self.subject);
        let result = self.in_time("Init", connection.init(&config)).await;
        match result {
            Ok(Ok(())) => report.add(
                self.terminal,
                STEPS[6],
                Verdict::Passed,
                "",
                started.elapsed(),
            ),
            // The plugin may need what only a real host has. On a host it must come up.
            Ok(Err(RpcError::Remote(error))) if stub.asked() > 0 => {
                let detail = format!("without a host it answers an error: {error}");
                report.add(
                    self.terminal,
                    STEPS[6],
                    Verdict::Warning,
                    detail,
                    started.elapsed(),
                );
            }
            Ok(Err(error)) => {
                let detail = format!("{}{}", chain(&error), ended(process));
                report.add(
                    self.terminal,
                    STEPS[6],
                    Verdict::Failed,
                    detail,
                    started.elapsed(),
                );
            }
            Err(error) => report.add(
                self.terminal,
                STEPS[6],
                Verdict::Failed,
                error,
                started.elapsed(),
            ),
        }
        let started = Instant::now();
        let is_over = until(SETTLE_TIME, || process.ended()).await;
        let detail = output(process);
        let verdict = if detail.is_empty() {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        report.add(self.terminal, STEPS[7], verdict, detail, Duration::ZERO);
        let alive = match is_over {
            Some(status) => Err(format!(
                "the process ended after Init: {status}{}",
                process.last_words()
            )),
            None => self
                .in_time("a ping", connection.ping())
                .await
                .and_then(|pong| pong.map_err(|error| chain(&error)))
                .map(|()| String::new()),
        };
        self.tell(report, 8, started, &alive);
    }

    /// Checks the answer to a function that the plugin does not have, and to arguments that are not
    /// JSON.
    async fn functions(
        &self,
        report: &mut Report,
        process: &Process,
        connection: &PluginConnection,
    ) {
        let started = Instant::now();
        let call = |function: &'static str, args: &'static str| async move {
            self.in_time(
                "a call",
                connection.call(function, Bytes::from_static(args.as_bytes()), ""),
            )
            .await
        };
        let unknown = match call(UNKNOWN_FUNCTION, "{}").await {
            Ok(Err(FunctionError::Application(error))) => Ok(error),
            Ok(Ok(answer)) => Err(format!(
                "it answers {} instead of an error; end the switch of Call with an error that names the function",
                String::from_utf8_lossy(answer.get(..answer.len().min(80)).unwrap_or_default())
            )),
            Ok(Err(error)) => Err(format!("{}{}", chain(&error), ended(process))),
            Err(error) => Err(error),
        };
        self.tell(report, 9, started, &unknown);
        let started = Instant::now();
        let mut broken = Ok(String::new());
        for args in [
            "",
            "null",
            "[]",
            "\"text\"",
            "{\"unfinished\": ",
            "{\"n\": 1e400}",
        ] {
            match call(UNKNOWN_FUNCTION, args).await {
                // Whatever it answers.
                Ok(Ok(_) | Err(FunctionError::Application(_))) => {}
                Ok(Err(error)) => {
                    broken = Err(format!(
                        "after the arguments {args:?}: {}{}",
                        chain(&error),
                        ended(process)
                    ));
                    break;
                }
                Err(error) => {
                    broken = Err(format!("after the arguments {args:?}: {error}"));
                    break;
                }
            }
        }
        self.tell(report, 10, started, &broken);
    }

    fn shutdown_timeout(&self) -> Duration {
        SHUTDOWN_TIMEOUT.min(self.timeout)
    }

    /// The result of a step within its time.
    async fn in_time<T>(&self, what: &str, step: impl Future<Output = T>) -> Result<T, String> {
        tokio::time::timeout(self.timeout, step)
            .await
            .map_err(|_| format!("{what} does not answer within {:?}", self.timeout))
    }

    /// Checks the end of the process, and what is left of it.
    async fn end(&self, report: &mut Report, process: &mut Process, connection: &PluginConnection) {
        let started = Instant::now();
        let session = process.session();
        let shutdown = tokio::time::timeout(self.shutdown_timeout(), connection.shutdown()).await;
        let result = match shutdown {
            Err(_) => Err(format!(
                "Shutdown does not answer within {:?}",
                self.shutdown_timeout()
            )),
            Ok(Err(RpcError::Remote(error))) => Err(format!("Shutdown answers an error: {error}")),
            Ok(Err(error)) => Err(format!("Shutdown: {}{}", chain(&error), ended(process))),
            Ok(Ok(())) => {
                // The end of the connection together with the process is as it should be.
                let _ = tokio::time::timeout(self.shutdown_timeout(), connection.quit()).await;
                match process.end(self.shutdown_timeout()).await {
                    Some(_) => Ok(String::new()),
                    None => Err(format!(
                        "the process goes on {:?} after Shutdown and Quit; a host kills it then",
                        self.shutdown_timeout()
                    )),
                }
            }
        };
        let is_over = self.tell(report, 11, started, &result);
        let started = Instant::now();
        let left = match is_over {
            true => others(session),
            false => Vec::new(),
        };
        let left = match left.is_empty() {
            true => Ok(String::new()),
            false => Err(format!(
                "it leaves processes behind: {}; end them in Shutdown",
                left.join(", ")
            )),
        };
        if is_over {
            self.tell(report, 12, started, &left);
        }
        process.kill();
    }
}

/// The process's exit status and last output, if it has ended.
fn ended(process: &Process) -> String {
    match process.ended() {
        Some(status) => format!("; the process ended: {status}{}", process.last_words()),
        None => String::new(),
    }
}

/// The problem with the output before the handshake.
fn output(process: &Process) -> String {
    let [out, err] = &process.printed;
    let streams = [
        ("file descriptor 1", &process.stdout),
        ("file descriptor 2", &process.stderr),
        ("stdout", out),
        ("stderr", err),
    ];
    for (name, stream) in streams {
        let longest = said(stream, |said| said.longest);
        if longest > LINE_BYTES_MAX {
            return format!(
                "it writes {longest} bytes to {name} without an end of line; a host cuts such lines, and floods cost other lines of the log"
            );
        }
        if let Some(line) = said(stream, fake_record) {
            return format!(
                "a line on {name} looks like a record of hclog and is none: {line:?}; log through the SDK, or as plain text"
            );
        }
    }
    String::new()
}

/// A line that begins as a structured record, and cannot be read as one.
fn fake_record(said: &Said) -> Option<String> {
    let text = said.text();
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with('{') && line.contains("\"@"));
    let fake = lines.find(|line| {
        let record: Result<serde_json::Value, _> = serde_json::from_str(line);
        let is_text = |record: &serde_json::Value, key: &str| {
            record.get(key).is_some_and(serde_json::Value::is_string)
        };
        !record.is_ok_and(|record| is_text(&record, "@level") && is_text(&record, "@message"))
    });
    fake.map(|line| line.chars().take(120).collect())
}

/// Processes of a session whose first one has ended.
fn others(session: u32) -> Vec<String> {
    let entries = Path::new("/proc")
        .read_dir()
        .into_iter()
        .flatten()
        .flatten();
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // The program's name may hold anything; after it come state, parent, group, session.
        let Some((head, tail)) = stat.rsplit_once(") ") else {
            continue;
        };
        let mut fields = tail.split(' ');
        let state = fields.next().unwrap_or_default();
        let of_session = fields.nth(2).and_then(|field| field.parse::<u32>().ok());
        if of_session == Some(session) && pid != session && state != "Z" {
            let program = head.split_once('(').map_or("", |(_, program)| program);
            found.push(format!("{program} ({pid})"));
        }
    }
    found
}
