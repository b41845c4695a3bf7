//! `gk call --standalone`: a function of a plugin, called without a host.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gk_manifest::Manifest;
use gk_protocol::host::FunctionError;
use serde_json::Value;

use super::inspect;
use super::process::{Starter, Subject, chain, said};
use super::stub::Stub;
use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// Maximum time of each step of a start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time of a call: a host's default.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A plugin's directory, or its binary, as the subject of a probe.
pub(crate) fn subject(path: &Path) -> Result<Subject, Failure> {
    if !path.is_dir() {
        return inspect::subject(path);
    }
    let file = path.join("plugin.yaml");
    let (manifest, _) = Manifest::load(&file)
        .map_err(|error| Failure::new(Exit::Failed, error.to_string(), "gk validate says more"))?;
    let binary = path.join(&manifest.binary);
    if !binary.is_file() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("there is no {}", binary.display()),
            "build it: gk build",
        ));
    }
    let absolute = |path: &Path| {
        path.canonicalize()
            .map_err(|error| Failure::file("read", path, &error))
    };
    Ok(Subject {
        binary: absolute(&binary)?,
        package: absolute(path)?,
        name: manifest.name.to_string(),
    })
}

/// Starts the plugin, calls the function as often as it is asked for, and ends it. Returns the last
/// answer, and how long each call took.
pub(crate) fn call(
    path: &Path,
    function: &str,
    input: &Value,
    repeat: u32,
    terminal: &Terminal,
) -> Result<(Vec<u8>, Vec<Duration>), Failure> {
    let subject = subject(path)?;
    let starter = Starter::plain()?;
    let runtime = crate::client::runtime()?;
    runtime.block_on(async {
        let mut process = starter.start(&subject, true).map_err(failed)?;
        let (handshake, _) = process.handshake(START_TIMEOUT).await.map_err(failed)?;
        let connection = process
            .connect(&handshake, Arc::new(Stub::default()), START_TIMEOUT)
            .await
            .map_err(failed)?;
        let late = |what: &str| failed(format!("{what} does not answer in time"));
        tokio::time::timeout(START_TIMEOUT, connection.register())
            .await
            .map_err(|_| late("GKRegister"))?
            .map_err(|error| failed(chain(&error)))?;
        tokio::time::timeout(START_TIMEOUT, connection.init(&process.config(&subject)))
            .await
            .map_err(|_| late("Init"))?
            .map_err(|error| failed(format!("Init: {}", chain(&error))))?;
        let args = Bytes::from(input.to_string());
        let (mut times, mut answer) = (Vec::new(), Bytes::new());
        for _ in 0..repeat {
            let started = Instant::now();
            let called =
                tokio::time::timeout(CALL_TIMEOUT, connection.call(function, args.clone(), ""));
            answer = match called.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(FunctionError::Application(error))) => {
                    return Err(Failure::new(
                        Exit::Failed,
                        error,
                        "that is the function's own error; what needs a host works in gk dev",
                    ));
                }
                Ok(Err(error)) => {
                    return Err(failed(format!("{}{}", chain(&error), process.last_words())));
                }
                Err(_) => return Err(late(function)),
            };
            times.push(started.elapsed());
        }
        let _ = tokio::time::timeout(START_TIMEOUT, connection.shutdown()).await;
        let _ = tokio::time::timeout(START_TIMEOUT, connection.quit()).await;
        process.kill();
        for stream in &process.printed {
            let text = said(stream, super::process::Said::text);
            for line in text.lines() {
                // For the person at the terminal, as if the plugin had printed it there.
                terminal.report(line);
            }
        }
        Ok((answer.to_vec(), times))
    })
}

fn failed(error: String) -> Failure {
    Failure::new(
        Exit::Failed,
        error,
        "gk test checks the plugin step by step",
    )
}
