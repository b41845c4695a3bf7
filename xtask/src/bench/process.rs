//! Measured programs, which answer lines with JSON lines.
//!
//! They end with their input, and with that their plugins. So they are no part of the terminal's
//! process group: its interrupt would end a host ahead of its plugins, which ignore it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::command;

/// A measured system that waits for lines.
pub(super) struct System {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl System {
    pub(super) fn start(program: &Path, arguments: &[&OsStr]) -> Result<Self> {
        let mut child = command(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no stdout")?;
        Ok(System {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    /// Sends a line and reads the answer.
    pub(super) fn ask(&mut self, line: &str) -> Result<Value> {
        let stdin = self.stdin.as_mut().context("no stdin")?;
        writeln!(stdin, "{line}")?;
        let answer = self.line()?;
        answer.with_context(|| format!("a measured program ended: {:?}", self.child.try_wait()))
    }

    /// The last line of what it prints by itself.
    pub(super) fn last_line(self) -> Result<Value> {
        self.lines()?
            .pop()
            .context("a measured program printed nothing")
    }

    /// All that it prints by itself; an error if it fails.
    pub(super) fn lines(mut self) -> Result<Vec<Value>> {
        self.stdin = None;
        let mut lines = Vec::new();
        while let Some(line) = self.line()? {
            lines.push(line);
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "a measured program failed: {status}");
        Ok(lines)
    }

    fn line(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
        Ok(Some(value))
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // The process ends with its input.
        self.stdin = None;
        let _ = self.child.wait();
    }
}
