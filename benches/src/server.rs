//! Programs that serve HTTP and are measured from outside: `gk-host serve`, and the Go gateway.
//!
//! Whatever becomes of the bench, they end: with a signal when it is dropped, and by the kernel's
//! parent-death signal when it was killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, kill_process, pidfd_open, set_parent_process_death_signal,
};

/// Longest time until a server is up, and until it has ended.
const DEADLINE: Duration = Duration::from_secs(300);

/// Ends this process when the one that started it is gone, so that nothing is left when a run is
/// interrupted.
pub(crate) fn end_with_parent(parent: Option<i32>) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let now = getppid().map(|parent| parent.as_raw_nonzero().get());
    ensure!(
        parent.is_none() || now == parent,
        "the process that started this one is gone"
    );
    Ok(())
}

/// Becomes the program.
pub(crate) fn tied(parent: i32, program: &Path, arguments: &[OsString]) -> Result<()> {
    // The signal stays set across the execution of a program.
    end_with_parent(Some(parent))?;
    #[expect(clippy::disallowed_methods, reason = "a measured program, no plugin")]
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot execute {}", program.display()))
}

/// A running server. Dropping it ends it.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    started: Instant,
    address: String,
    token: String,
    /// Data directory and log of the server.
    directory: tempfile::TempDir,
}

impl Server {
    /// `gk-host serve` as built beside this program, confined as by default, once it listens.
    pub(crate) fn gk_host(plugins_dir: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("data");
        let mut arguments: Vec<OsString> = ["serve", "--listen", "127.0.0.1:0", "--plugins-dir"]
            .map(Into::into)
            .into();
        arguments.extend([plugins_dir.into(), "--data-dir".into(), data.clone().into()]);
        let program = std::env::current_exe()?.with_file_name("gk-host");
        let mut server = Self::start(&program, arguments, None, directory)?;
        let token = fs::read_to_string(data.join("admin.token"))?;
        server.token = token.trim().to_owned();
        Ok(server)
    }

    /// The Go gateway, once it serves.
    pub(crate) fn go(gateway: &Path, plugin: &Path, route: &str) -> Result<Self> {
        // As long as those of gk-host.
        let token = "gk_bench_0123456789_0123456789_0123456789_0123";
        let mut arguments: Vec<OsString> = vec!["-plugin".into(), plugin.into()];
        arguments.extend(["-route".into(), route.into()]);
        let mut server = Self::start(gateway, arguments, Some(token), tempfile::tempdir()?)?;
        server.token = token.to_owned();
        Ok(server)
    }

    fn start(
        program: &Path,
        arguments: Vec<OsString>,
        token: Option<&str>,
        directory: tempfile::TempDir,
    ) -> Result<Self> {
        let log = File::create(directory.path().join("log"))?;
        #[expect(clippy::disallowed_methods, reason = "this program, to become another")]
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("tied")
            .arg(std::process::id().to_string())
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        if let Some(token) = token {
            command.env("GOGATEWAY_TOKEN", token);
        }
        let started = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody waits for a line any more; what is printed is read all the same.
                let _ = sender.send(line);
            }
        });
        let mut server = Self {
            child,
            lines,
            started,
            address: String::new(),
            token: String::new(),
            directory,
        };
        let line = server.printed("listening on http://")?;
        let (_, address) = line.split_once("http://").context("no address")?;
        server.address = address.trim().to_owned();
        Ok(server)
    }

    /// Waits for a line with this text.
    fn printed(&self, text: &str) -> Result<String> {
        loop {
            let left = DEADLINE.saturating_sub(self.started.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(_) => {}
                Err(error) => bail!("{text:?} was not printed ({error}); {}", self.log_end()),
            }
        }
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(10).collect();
        let lines: Vec<_> = lines.into_iter().rev().collect();
        format!("the end of its log:\n{}", lines.join("\n"))
    }

    /// Waits until so many plugins run; how long that took since the process was started.
    pub(crate) fn wait_running(&self, plugins: usize) -> Result<Duration> {
        let line = self.printed("plugins running")?;
        let taken = self.started.elapsed();
        ensure!(
            line.starts_with(&format!("{plugins} plugins running")),
            "{plugins} plugins were to run, but the host says {line:?}; {}",
            self.log_end()
        );
        Ok(taken)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Ends it as an administrator would; how long that took.
    pub(crate) fn stop(mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.end()?;
        Ok(begun.elapsed())
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            bail!("a server ended by itself; {}", self.log_end());
        }
        let pid = Pid::from_child(&self.child);
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        kill_process(pid, Signal::TERM)?;
        let deadline = Timespec::try_from(DEADLINE)?;
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&deadline))?;
        if ended == 0 {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        ensure!(
            ended > 0 && status.success(),
            "a server did not end well: {status}; {}",
            self.log_end()
        );
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error is that of one that has been stopped, or of a run that has failed for another
        // reason.
        let _ = self.end();
    }
}
